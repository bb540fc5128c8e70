//! Drains of Node's HTTP/2 server, which reports the requests that it took and refused.

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::super::Config;
use super::calls::{Heard, config, target};
use super::tls::Authority;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/deliver/tests/node.mjs");

struct Node {
    process: Child,
    output: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Node {
    /// None if Node is not installed.
    fn start(directory: &Path, authority: &Authority) -> Option<Self> {
        let (certificate, key) = authority.signs(&["127.0.0.1"]);
        let file = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = [file("certificate.pem", certificate.pem()), file("key.pem", key.serialize_pem())];
        let output = directory.join("output");
        let [stdout, stderr] = ["output", "errors"].map(|name| File::create(directory.join(name)).unwrap());
        let mut node = Command::new("node");
        node.arg(SCRIPT).args(files).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        Some(Self { process: node.spawn().ok()?, output })
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap()
    }

    /// The rest of each line that begins with this word.
    fn told(&self, word: &str) -> Vec<String> {
        let said = self.said();
        said.lines().filter_map(|line| Some(line.strip_prefix(word)?.trim().to_owned())).collect()
    }

    async fn port(&self) -> Option<u16> {
        let port = async {
            loop {
                if let Some((port, _)) = self.said().split_once('\n') {
                    break port.parse().unwrap();
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), port).await.ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_that_drains_its_sessions_under_load_costs_no_attempt() {
    const AT_ONCE: u32 = 1000;
    const ROUNDS: u32 = 5;
    let (directory, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let Some(node) = Node::start(directory.path(), &authority) else {
        eprintln!("NOT SHOWN without node: that its drains cost no attempt");
        return;
    };
    let errors = || std::fs::read_to_string(directory.path().join("errors")).unwrap();
    let port = node.port().await.unwrap_or_else(|| panic!("node does not listen: {}", errors()));
    let ca_file = directory.path().join("authority.pem");
    std::fs::write(&ca_file, authority.pem()).unwrap();
    let queue_wait = Duration::from_secs(60);
    let mut heard = Heard::new(Config { ca_file: Some(ca_file), retry: vec![], queue_wait, ..config() });
    let target = target(&format!("https://127.0.0.1:{port}/"));
    for round in 0..ROUNDS {
        heard.offer_all(&target, round * AT_ONCE..(round + 1) * AT_ONCE).await;
        for _ in 0..AT_ONCE {
            assert_eq!(heard.delivered().await, 1, "{}", errors());
        }
    }
    let (took, refused, sessions) = (node.told("took"), node.told("refused"), node.told("session").len());
    println!("{} taken, {} refused, {sessions} sessions", took.len(), refused.len());
    let different: HashSet<_> = took.iter().collect();
    assert_eq!((different.len(), took.len()), ((ROUNDS * AT_ONCE) as usize, (ROUNDS * AT_ONCE) as usize));
    assert!(sessions >= (ROUNDS * AT_ONCE) as usize / 100, "{sessions} sessions");
    assert!(refused.len() >= 100, "{} were refused", refused.len());
}
