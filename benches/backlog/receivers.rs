//! Client side of the endpoint process, for the bench that starts it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::spec::{Endpoint, Report};

/// Poll interval, long enough to cost the process little.
const PERIOD: Duration = Duration::from_millis(50);

/// The endpoint process. It is killed on drop.
pub struct Receivers {
    process: Child,
    control: u16,
    ports: Vec<u16>,
}

impl Receivers {
    pub fn start(endpoints: &[Endpoint]) -> Self {
        let this = std::env::current_exe().expect("the bench's own path");
        let described = serde_json::to_string(endpoints).expect("endpoints are JSON");
        let mut command = Command::new(this);
        let mut process =
            command.args(["receivers", &described]).stdout(Stdio::piped()).spawn().expect("the receivers start");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the receivers print their ports");
        let mut ports = line.split_whitespace().map(|port| port.parse().expect("a port"));
        Self { process, control: ports.next().expect("a port for reports"), ports: ports.collect() }
    }

    pub fn url(&self, number: usize) -> String {
        format!("http://127.0.0.1:{}/hook", self.ports[number])
    }

    pub fn report(&self) -> Report {
        self.get("/")
    }

    /// Makes endpoints that were away work from now on.
    pub fn recover(&self) {
        self.get("/recover");
    }

    /// Waits until `is_so` returns true, or until `patience` ends. It does not fail: the caller checks the report, so
    /// one missing message does not stop the bench.
    pub fn wait_for(&self, patience: Duration, is_so: impl Fn(&Report) -> bool) -> Report {
        let deadline = Instant::now() + patience;
        loop {
            let report = self.report();
            if is_so(&report) || Instant::now() > deadline {
                return report;
            }
            thread::sleep(PERIOD);
        }
    }

    fn get(&self, path: &str) -> Report {
        let url = format!("http://127.0.0.1:{}{path}", self.control);
        serde_json::from_str(&harness::api::request("GET", &url, &[], b"").text).expect("a report")
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
