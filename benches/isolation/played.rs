//! Client side of the endpoint process, for the bench that starts it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use harness::Instance;

use crate::endpoints::{Counted, Report, Trouble};
use crate::feed;

/// Definitions of `count` webhooks, one per endpoint, each for the inserts of its own table.
pub fn webhooks(endpoints: &Endpoints, count: usize) -> String {
    let webhook = |number| {
        let event = format!("EventType: table.recordInsert, ObjectName: {}", feed::table(number));
        (format!("endpoint {number}"), [endpoints.url(number)], event)
    };
    let named: Vec<_> = (0..count).map(webhook).collect();
    let events: Vec<_> = named.iter().map(|(_, _, event)| [event.as_str()]).collect();
    let all = named.iter().zip(&events).map(|((name, url, _), event)| (name.as_str(), &url[..], &event[..]));
    harness::webhooks(&all.collect::<Vec<_>>())
}

/// Attempts, deferrals and memory of the program in a run.
pub fn told(instance: &Instance) -> String {
    let metric = |name| instance.metric(name);
    format!(
        "{:.0} attempts, {:.0} calls deferred, {:.0} MiB resident",
        metric("outhook_attempts_total"),
        metric("outhook_calls_deferred_total"),
        metric("process_resident_memory_bytes") / f64::from(1 << 20),
    )
}

/// The endpoint process. It is killed on drop.
pub struct Endpoints {
    process: Child,
    sound: u16,
    troubled: u16,
    /// Number of endpoints in trouble. They have the lowest numbers.
    in_trouble: usize,
}

impl Endpoints {
    /// Starts the process with the first `in_trouble` endpoints in trouble. `counted` selects whose messages are
    /// reported.
    pub fn start(trouble: Trouble, in_trouble: usize, counted: Counted) -> Self {
        let this = std::env::current_exe().expect("the bench's own path");
        let mut command = Command::new(this);
        let mut process = command
            .args(["endpoints", &trouble.to_string(), &counted.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the endpoints start");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the endpoints print their ports");
        let (sound, troubled) = line.trim().split_once(' ').expect("two ports");
        let port = |text: &str| text.parse().expect("a port");
        Self { process, sound: port(sound), troubled: port(troubled), in_trouble }
    }

    /// The URL of an endpoint.
    pub fn url(&self, number: usize) -> String {
        let port = if number < self.in_trouble { self.troubled } else { self.sound };
        format!("http://127.0.0.1:{port}/{number}")
    }

    pub fn report(&self) -> Report {
        self.get("/").parse().expect("a report")
    }

    /// Requests a path: `/` returns a report, and `/recover` ends the trouble.
    pub fn get(&self, path: &str) -> String {
        harness::api::request("GET", &format!("http://127.0.0.1:{}{path}", self.sound), &[], b"").text
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
