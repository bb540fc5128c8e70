//! One installation of the built program: dedicated topics and a group, a configuration, any number of instances.

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use toml::{Table, Value};

use crate::api::{Api, Credentials};
use crate::process::{Ended, Process};
use crate::{Broker, eventually, free_port};

/// Timeout of a command, a start or a stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// An installation on a broker, with one source of the `outhook` format.
pub struct Site {
    program: &'static str,
    broker: &'static Broker,
    settings: Table,
    directory: TempDir,
    files: AtomicUsize,
    /// The topic of row changes.
    pub changes: String,
    pub definitions: String,
    pub dead_letters: String,
    pub stats: String,
    pub message_log: String,
    /// Prefix of the names of the retry topics.
    pub retries: String,
    pub overflow: String,
    pub row_order: String,
    pub group: String,
}

/// A running command of a site.
pub struct Running(Process);

/// A running instance of a site.
pub struct Instance {
    process: Process,
    address: SocketAddr,
}

impl Site {
    /// Creates topics and configuration for `program`, which is `env!("CARGO_BIN_EXE_outhook")` of the test.
    pub fn new(program: &'static str, partitions: i32) -> Site {
        Site::on(Broker::get(), program, partitions)
    }

    /// Creates a site on another broker than the shared one.
    pub fn on(broker: &'static Broker, program: &'static str, partitions: i32) -> Site {
        let directory = tempfile::Builder::new().prefix("outhook-site-").tempdir().expect("a temporary directory");
        let mut site = Site {
            program,
            broker,
            settings: Table::new(),
            directory,
            files: AtomicUsize::new(0),
            changes: broker.unique("changes"),
            definitions: broker.unique("definitions"),
            dead_letters: broker.unique("dead-letters"),
            stats: broker.unique("stats"),
            message_log: broker.unique("deliveries"),
            retries: broker.unique("retry"),
            overflow: broker.unique("overflow"),
            row_order: broker.unique("row-order"),
            group: broker.unique("group"),
        };
        broker.create_topic(&site.changes, partitions, &[]);
        broker.create_topic(&site.definitions, 1, &[("cleanup.policy", "compact")]);
        broker.create_topic(&site.dead_letters, 1, &[]);
        broker.create_topic(&site.stats, 1, &[("cleanup.policy", "compact,delete")]);
        let source: Table = [
            ("topics", Value::from(vec![site.changes.clone()])),
            ("format", "outhook".into()),
            ("account", "acme".into()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        site.set("kafka.brokers", broker.bootstrap());
        site.set("kafka.group", site.group.clone());
        site.set("sources", vec![source]);
        site.set("definitions.topic", site.definitions.clone());
        site.set("dead_letters.topic", site.dead_letters.clone());
        site.set("stats.topic", site.stats.clone());
        site.set("operator_events.topic", broker.unique("operator-events"));
        site.set("message_log.topic", site.message_log.clone());
        site.set("message_log.partitions", 2);
        // Few retry topics and partitions, because each instance checks all of them at its start.
        site.set("retries.topic", site.retries.clone());
        site.set("retries.tiers", vec!["200ms", "1s"]);
        site.set("retries.partitions", 2);
        site.set("overflow.topic", site.overflow.clone());
        site.set("overflow.partitions", 2);
        site.set("row_order.topic", site.row_order.clone());
        site.set("row_order.partitions", 2);
        site.set("delivery.allow_http", true);
        site.set("delivery.allow_addresses", vec!["127.0.0.0/8"]);
        site
    }

    /// Sets a key, such as `delivery.retry`, for every instance and command from now on.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        let (sections, name) = key.rsplit_once('.').unwrap_or(("", key));
        let mut table = &mut self.settings;
        for section in sections.split('.').filter(|section| !section.is_empty()) {
            let entry = table.entry(section).or_insert_with(|| Table::new().into());
            table = entry.as_table_mut().expect("the key's parents are sections");
        }
        table.insert(name.to_owned(), value.into());
    }

    /// Produces row changes, as `(key, value)`, and waits until they are acknowledged.
    pub fn produce<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, records: impl IntoIterator<Item = (K, V)>) {
        self.broker.produce(&self.changes, records);
    }

    /// Waits until the group has committed every row change.
    #[track_caller]
    pub fn await_settled(&self, within: Duration) {
        self.broker.await_committed(&self.group, &self.changes, within);
    }

    /// Applies webhooks, given as YAML.
    ///
    /// # Panics
    /// They are rejected.
    #[track_caller]
    pub fn apply(&self, webhooks: &str) -> Ended {
        let file = self.file("yaml", webhooks);
        let ended = self.run(&["apply", "-f", &file.display().to_string()]);
        assert_eq!(ended.code, Some(0), "apply has failed:\n{}{}", ended.stdout, ended.stderr);
        ended
    }

    /// Runs a command of the program with the site's configuration to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ended {
        self.begin(arguments).wait()
    }

    /// Writes the site's configuration for a command that the test starts itself.
    pub fn configuration(&self) -> PathBuf {
        self.config(free_port())
    }

    /// Starts a command of the program with the site's configuration, without waiting.
    pub fn begin(&self, arguments: &[&str]) -> Running {
        let config = self.configuration();
        let mut command = Command::new(self.program);
        command.args(arguments).arg("--config").arg(config);
        Running(Process::spawn(&mut command, self.directory.path()))
    }

    /// Creates an API client, with further options of `outhook clients create`.
    ///
    /// # Panics
    /// The command fails.
    #[track_caller]
    pub fn client(&self, options: &[&str]) -> Credentials {
        let made = self.run(&[&["clients", "create", "--name", "John Doe (john.doe@acme.com)"], options].concat());
        assert_eq!(made.code, Some(0), "{}{}", made.stdout, made.stderr);
        let value = |name: &str| {
            let line =
                made.stdout.lines().find(|line| line.starts_with(name)).expect("the command prints id and secret");
            line[name.len()..].trim().to_owned()
        };
        Credentials { id: value("client_id"), secret: value("client_secret") }
    }

    /// Starts an instance and waits until it is ready.
    ///
    /// # Panics
    /// The instance ends or does not become ready. The message contains its output.
    #[track_caller]
    pub fn start(&self) -> Instance {
        let mut instance = self.launch();
        instance.await_ready();
        instance
    }

    /// Starts an instance without waiting.
    pub fn launch(&self) -> Instance {
        let port = free_port();
        let mut command = Command::new(self.program);
        command.args(["run", "--config"]).arg(self.config(port));
        let process = Process::spawn(&mut command, self.directory.path());
        Instance { process, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }

    /// Writes a file to the site's directory and returns its path.
    pub fn file(&self, extension: &str, text: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.path().join(format!("{number}.{extension}"));
        fs::write(&path, text).unwrap_or_else(|error| panic!("can't write {}: {error}", path.display()));
        path
    }

    fn config(&self, port: u16) -> PathBuf {
        let mut settings = self.settings.clone();
        let listen: Table = [("address".to_owned(), Value::from(format!("127.0.0.1:{port}")))].into_iter().collect();
        settings.insert("listen".to_owned(), listen.into());
        self.file("toml", &settings.to_string())
    }
}

impl Running {
    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.0.signal("INT");
    }

    /// Waits until the command has ended.
    ///
    /// # Panics
    /// The command has not ended in time.
    #[track_caller]
    pub fn wait(self) -> Ended {
        self.0.wait(PATIENCE)
    }
}

/// Sets a flag when it is dropped.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Instance {
    /// Waits until the instance is ready.
    ///
    /// # Panics
    /// The instance ends or does not become ready. The message contains its output.
    #[track_caller]
    pub fn await_ready(&mut self) {
        let ready = self.is_ready_before_it_ends();
        assert!(ready, "the instance has ended:\n{}", self.said());
    }

    /// Waits until the instance is ready. Returns false if it ends first; its output then contains the reason.
    ///
    /// # Panics
    /// Neither happens in time.
    #[track_caller]
    pub fn is_ready_before_it_ends(&mut self) -> bool {
        eventually("the instance is ready", PATIENCE, || {
            if self.process.is_running() { self.is_ready().then_some(true) } else { Some(false) }
        })
    }

    /// URL of the listener: `http://127.0.0.1:12345`.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of the instance's API, once the instance has read the definitions.
    ///
    /// # Panics
    /// The credentials are rejected, or the instance does not answer.
    #[track_caller]
    pub fn api(&self, credentials: &Credentials) -> Api {
        eventually("the API returns a token", PATIENCE, || Api::try_connect(&self.base(), credentials).ok())
    }

    /// Whether the instance reports that it is ready.
    pub fn is_ready(&self) -> bool {
        self.get("/health/ready").is_some_and(|(status, _)| status == 200)
    }

    /// The body of the readiness response.
    #[track_caller]
    pub fn readiness(&self) -> String {
        self.get("/health/ready").expect("the instance answers").1
    }

    /// All series of /metrics by name and labels, as in Prometheus's text format.
    #[track_caller]
    pub fn metrics(&self) -> HashMap<String, f64> {
        let (status, text) = self.get("/metrics").expect("the instance serves its metrics");
        assert_eq!(status, 200, "{text}");
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// The sum of a metric over all label values.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let of_name = |series: &str| series.split('{').next() == Some(name);
        self.metrics().iter().filter(|(series, _)| of_name(series)).map(|(_, value)| value).sum()
    }

    /// Its output on stdout and stderr so far.
    pub fn said(&self) -> String {
        self.process.stdout() + &self.process.stderr()
    }

    /// Alternately pauses and continues the process during `work`, as a busy machine or a container's CPU quota does.
    pub fn pausing<T>(&self, run: Duration, pause: Duration, work: impl FnOnce() -> T) -> T {
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    self.process.signal("STOP");
                    thread::sleep(pause);
                    self.process.signal("CONT");
                    thread::sleep(run);
                }
            });
            // Sets the flag even if `work` panics: the scope waits for the thread.
            let _done = Done(&is_done);
            work()
        })
    }

    /// Sends SIGTERM.
    pub fn ask_to_stop(&self) {
        self.process.signal("TERM");
    }

    /// Waits until the instance has ended.
    ///
    /// # Panics
    /// It has not ended in time.
    #[track_caller]
    pub fn wait(self) -> Ended {
        self.process.wait(PATIENCE)
    }

    /// Sends SIGTERM and waits until the instance has ended.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.ask_to_stop();
        self.wait()
    }

    /// Kills the instance with SIGKILL.
    pub fn kill(self) -> Ended {
        self.process.kill()
    }

    /// Sends a GET and returns status and body; `None` if no response arrives. HTTP/1.0 has no chunked encoding and
    /// the response ends with the connection, so this code suffices.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.address).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }
}
