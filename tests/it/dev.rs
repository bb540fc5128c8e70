//! `outhook dev` for a program that starts it: JSON lines, exit codes, a broker for everybody.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

use crate::{OUTHOOK, SOON};

/// A running `outhook dev --json`. Dropping it kills the process.
struct Dev {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Dev {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(OUTHOOK);
        let command = command.args(["dev", "--json"]).args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("can't start {OUTHOOK}: {error}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        Self { child, lines: BufReader::new(stdout).lines() }
    }

    /// The next line. `None` at the end.
    fn line(&mut self) -> Option<Value> {
        let line = self.lines.next()?.expect("its output is UTF-8");
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "the process has already ended");
    }

    /// The last line and the exit code.
    fn end(mut self) -> (Value, Option<i32>) {
        let mut last = Value::Null;
        while let Some(line) = self.line() {
            last = line;
        }
        (last, self.child.wait().expect("the child belongs to this process").code())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn dev_run_prints_its_addresses_and_succeeds() {
    let mut dev = Dev::start(&["--for", "2s", "--rate", "500"]);
    let ready = dev.line().unwrap();
    assert_eq!((&ready["ready"], &ready["changes_topic"]), (&true.into(), &"changes".into()));
    for address in ["broker", "api", "metrics", "receiver"] {
        assert!(ready[address].as_str().is_some_and(|address| address.contains("127.0.0.1:")), "{ready}");
    }
    let (summary, code) = dev.end();
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!(summary["ok"], true);
    assert!(summary["changes"].as_u64() > Some(50), "{summary}");
    assert!(summary["delivered"].as_u64() > Some(20), "{summary}");
}

#[test]
fn foreign_change_is_sent_and_counted_separately() {
    let mut dev = Dev::start(&["--rate", "0"]);
    let ready = dev.line().unwrap();
    let change = r#"{"table":"Orders","operation":"insert","after":{"Order_ID":7}}"#;
    let broker = ready["broker"].as_str().unwrap();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", broker).create().unwrap();
    producer.send(BaseRecord::<(), str>::to("changes").payload(change)).unwrap();
    producer.flush(SOON).unwrap();

    while dev.line().expect("it runs until SIGINT")["others"] == 0 {}
    dev.interrupt();
    let (summary, code) = dev.end();
    assert_eq!((code, &summary["others"], &summary["delivered"]), (Some(0), &1.into(), &0.into()), "{summary}");
}

#[test]
fn printed_commands_get_and_apply_webhooks() {
    let mut dev = Dev::start(&["--rate", "0"]);
    let ready = dev.line().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let outhook = |arguments: &[&str]| {
        let broker = ready["broker"].as_str().unwrap();
        let mut command = Command::new(OUTHOOK);
        command.args(arguments).current_dir(&directory);
        command.env("OUTHOOK__KAFKA__BROKERS", broker).env("OUTHOOK__DELIVERY__ALLOW_HTTP", "true");
        command.env("OUTHOOK__DELIVERY__ALLOW_ADDRESSES", r#"["127.0.0.0/8"]"#);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let webhooks = outhook(&["get"]);
    assert!(webhooks.contains("MyCustomers"), "{webhooks}");
    std::fs::write(directory.path().join("webhooks.yaml"), webhooks.replace("MyCustomers", "TheirCustomers")).unwrap();
    let applied = outhook(&["apply", "-f", "webhooks.yaml"]);
    assert!(applied.contains("TheirCustomers") && applied.contains("applied: "), "{applied}");
}

#[test]
fn a_pipe_gets_no_escape_codes() {
    let output = Command::new(OUTHOOK).args(["dev", "--for", "1s", "--rate", "100"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("kcat -P -b 127.0.0.1:") && text.contains("Every message arrived once"), "{text}");
    assert!(!text.contains('\x1b'), "{text}");
}

/// The visible text, without escape codes.
fn visible(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, part| {
        shown + part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, rest)| rest)
    })
}

#[test]
fn display_fits_a_terminal_of_80_columns_and_24_rows() {
    let dev = format!("stty cols 80 rows 24 && {OUTHOOK} dev --for 3s --rate 200");
    let mut script = Command::new("script");
    script.args(["-qec", &dev, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null());
    let Ok(output) = script.output() else {
        eprintln!("NOT SHOWN without script, of util-linux: what a terminal shows");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in visible(&text).lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let frames: Vec<String> = text.split("\x1b[?2026h").skip(1).map(visible).collect();
    assert!(frames.len() >= 2, "{text}");
    // The last frame contains the summary. Log lines may be above the block.
    let last = frames[frames.len() - 2].as_str();
    let last = &last[last.find("── ").expect("the block begins with its rule")..];
    for address in ["  broker    127.0.0.1:", "  api       http://", "  metrics   http://", "  receiver  http://"] {
        assert!(last.contains(address), "{address} is not in\n{last}");
    }
    assert!(last.lines().count() < 24, "{last}");
    // The lines above the block that are still within the 24 rows. The cursor occupies one row.
    let above = visible(text.split("\x1b[?2026h").next().unwrap_or_default());
    let rows = 23 - last.lines().count();
    let in_sight: Vec<&str> = above.lines().rev().take(rows).collect();
    for line in ["  api=http://127.0.0.1:", "  secret=", "  token=$(curl -s $api", "  curl -s $api"] {
        assert!(in_sight.iter().any(|found| found.starts_with(line)), "{line} is not in\n{in_sight:#?}");
    }
    // A truncated line, which would otherwise have wrapped.
    assert!(last.lines().any(|line| line.chars().count() == 80), "{last}");
}

#[test]
fn error_names_a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(OUTHOOK).args(["dev", "--ports", &port]).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&port) && text.contains("--ports"), "{text}");
}
