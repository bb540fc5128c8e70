//! The whole pipeline, compared with its floor: the same records, read from the same broker, posted unchanged by
//! rdkafka and hyper-util's pooled client, without parsing, retries and settling.
//!
//! Each side runs as a separate process, one after the other, pinned to the first core if `taskset` exists. Broker
//! and sink get the second core. Absolute numbers depend on the machine; the two ratios depend on Outhook. The sink
//! counts posts, so a side that loses a record fails the bench.

#[path = "pipeline/floor.rs"]
mod floor;
#[path = "pipeline/sink.rs"]
mod sink;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::Broker;

/// Records that a side must deliver in a full run, and in a `--test` run.
const RECORDS: [usize; 2] = [300_000, 5_000];
const ROUNDS: [usize; 2] = [3, 1];
const PARTITIONS: i32 = 4;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("sink") => sink::run(),
        Some("floor") => floor::run(&args[2], &args[3], &args[4], args[5].parse().expect("a number of records")),
        _ => compare(usize::from(args.iter().any(|arg| arg == "--test"))),
    }
}

/// Throughput and CPU of one side.
struct Measured {
    per_second: f64,
    cpu_micros: f64,
}

fn compare(size: usize) {
    let (records, rounds) = (RECORDS[size], ROUNDS[size]);
    let broker = Broker::get();
    let topic = broker.unique("bench");
    broker.create_topic(&topic, PARTITIONS, &[]);
    broker.produce(&topic, (0..records).map(|n| (format!("{n}"), update(n))));
    let (mut floors, mut wholes) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let floor = measure(records, |url| floor_process(broker.bootstrap(), &topic, url, records));
        let whole = measure(records, |url| outhook_process(broker, &topic, url));
        println!(
            "round {round}: floor {:.0}/s {:.1} µs CPU; outhook {:.0}/s {:.1} µs CPU per delivery",
            floor.per_second, floor.cpu_micros, whole.per_second, whole.cpu_micros
        );
        floors.push(floor);
        wholes.push(whole);
    }
    let (floor, whole) = (median(floors), median(wholes));
    println!(
        "pipeline/floor: {:.2} of the deliveries per second, {:.2} of the CPU per delivery ({records} records, \
         median of {rounds})",
        whole.per_second / floor.per_second,
        whole.cpu_micros / floor.cpu_micros,
    );
}

/// A row update of about 600 bytes in the `outhook` format.
fn update(number: usize) -> String {
    let row = |visits: usize| {
        format!(
            r#"{{"id":{number},"email":"customer-{number}@example.com","first_name":"Ada","last_name":"Lovelace","status":"active","credit":12.50,"visits":{visits},"vip":true,"city":"London","notes":"prefers calls in the morning","updated_at":"2026-11-23T10:00:00Z"}}"#
        )
    };
    format!(
        r#"{{"id":"c-{number}","table":"customers","operation":"update","time":"2026-11-23T10:00:00.123456Z","before":{},"after":{}}}"#,
        row(number),
        row(number + 1)
    )
}

/// Starts a sink and the side under test, waits until the sink has all records, and reads throughput and CPU.
fn measure(records: usize, start: impl FnOnce(&str) -> Side) -> Measured {
    let (sink, port) = sink_process();
    let side = start(&format!("http://127.0.0.1:{port}/hook"));
    let deadline = Instant::now() + Duration::from_secs(120);
    let seconds = loop {
        let (count, seconds) = sink_count(port);
        assert!(count <= records as u64, "the sink got {count} posts for {records} records");
        if count == records as u64 {
            break seconds;
        }
        assert!(Instant::now() < deadline, "the sink got {count} of {records} records in 120 s");
        std::thread::sleep(Duration::from_millis(100));
    };
    let cpu = cpu_seconds(side.process.0.id());
    drop((sink, side));
    Measured { per_second: records as f64 / seconds, cpu_micros: cpu * 1e6 / records as f64 }
}

/// A process under test, and the files it needs while it runs.
struct Side {
    process: Killed,
    _files: Option<tempfile::TempDir>,
}

/// Kills its process on drop.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command pinned to a core, if `taskset` and the core exist.
fn pinned(core: &str, program: &str) -> Command {
    if Command::new("taskset")
        .args(["-c", core, "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
    {
        let mut command = Command::new("taskset");
        command.args(["-c", core, program]);
        command
    } else {
        Command::new(program)
    }
}

fn this_program() -> String {
    std::env::current_exe().expect("the bench's own path").to_string_lossy().into_owned()
}

fn sink_process() -> (Killed, u16) {
    use std::io::BufRead;
    let mut sink = pinned("1", &this_program()).arg("sink").stdout(Stdio::piped()).spawn().expect("the sink starts");
    let mut port = String::new();
    let stdout = sink.stdout.take().expect("piped");
    std::io::BufReader::new(stdout).read_line(&mut port).expect("the sink prints its port");
    (Killed(sink), port.trim().parse().expect("a port"))
}

fn floor_process(brokers: &str, topic: &str, url: &str, records: usize) -> Side {
    let mut command = pinned("0", &this_program());
    let process = command.args(["floor", brokers, topic, url, &records.to_string()]).spawn().expect("the floor starts");
    Side { process: Killed(process), _files: None }
}

fn outhook_process(broker: &Broker, topic: &str, url: &str) -> Side {
    let files = tempfile::tempdir().expect("a temporary folder");
    let definitions = broker.unique("definitions");
    let (config, webhooks) = (files.path().join("outhook.toml"), files.path().join("webhooks.yaml"));
    std::fs::write(&config, config_text(broker, topic, &definitions)).expect("the config is written");
    std::fs::write(
        &webhooks,
        format!(
            "Webhooks:\n- Account: bench\n  Name: bench\n  OutgoingUrls: [\"{url}\"]\n  Events:\n  - EventType: table.recordUpdate\n    ObjectName: customers\n"
        ),
    )
    .expect("the definitions are written");
    let outhook = env!("CARGO_BIN_EXE_outhook");
    for args in [vec!["topics", "create"], vec!["apply", "-f", webhooks.to_str().expect("UTF-8")]] {
        let done = Command::new(outhook).args(args).arg("--config").arg(&config).output().expect("outhook runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let process = pinned("0", outhook).args(["run", "--config"]).arg(&config).spawn().expect("outhook starts");
    Side { process: Killed(process), _files: Some(files) }
}

fn config_text(broker: &Broker, topic: &str, definitions: &str) -> String {
    format!(
        r#"
[kafka]
brokers = "{}"
group = "{}"
[[sources]]
topics = ["{topic}"]
format = "outhook"
account = "bench"
[definitions]
topic = "{definitions}"
[dead_letters]
topic = "{definitions}-dead"
[delivery]
allow_http = true
allow_addresses = ["127.0.0.0/8"]
concurrency = 64
[listen]
address = "127.0.0.1:0"
[log]
level = "warn"
"#,
        broker.bootstrap(),
        broker.unique("group"),
    )
}

fn sink_count(port: u16) -> (u64, f64) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the sink listens");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: sink\r\nconnection: close\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    let (count, seconds) = body.split_once(' ').expect("count and seconds");
    (count.parse().expect("a count"), seconds.parse().expect("seconds"))
}

/// User and system time of a process so far, from /proc (in ticks of 1/100 s on Linux).
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process lives");
    let after_name = stat.rsplit_once(") ").expect("a name in brackets").1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("ticks");
    (ticks(11) + ticks(12)) / 100.0
}

fn median(mut of: Vec<Measured>) -> Measured {
    of.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    of.swap_remove(of.len() / 2)
}
