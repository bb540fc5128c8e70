//! Child processes that never outlive the test process, however it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Reads the pipe from the test process. A line means that the child has been seen to; the end of the pipe
/// without one means that the test process is gone, by whatever cause: then the child goes too, and its
/// directory with it.
const WATCH: &str = r#"read -r _ && exit; kill -9 "$1"; rm -rf "$2""#;

/// How much of what a process said is shown where a test fails.
const LAST_LINES: usize = 60;

/// A running child process with its watcher.
pub(crate) struct Process {
    child: Child,
    watcher: Child,
    said: Said,
}

/// How a process ended, and all it said.
#[derive(Debug)]
pub struct Ended {
    /// None when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// Starts a command. `directory` is what its watcher removes should the test process be killed.
    ///
    /// # Panics
    /// The program can't be started.
    pub fn spawn(command: &mut Command, directory: &Path) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
        let watcher = Command::new("sh")
            .args(["-c", WATCH, "watch", &child.id().to_string()])
            .arg(directory)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("every Unix has sh");
        let said = Said::default();
        said.collect(child.stdout.take().expect("stdout is piped"), |said| &mut said.0);
        said.collect(child.stderr.take().expect("stderr is piped"), |said| &mut said.1);
        Self { child, watcher, said }
    }

    /// Whether it runs still.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours to wait for").is_none()
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.said.lines.lock().expect("no reader panics").0.clone()
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.said.lines.lock().expect("no reader panics").1.clone()
    }

    /// Sends a signal by its name: `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "kill", name, &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "process {pid} can't be sent SIG{name}");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It has not ended in time; the message has what it said last.
    #[track_caller]
    pub fn wait(mut self, within: Duration) -> Ended {
        let deadline = Instant::now() + within;
        while self.is_running() {
            assert!(Instant::now() < deadline, "still running after {within:?}; it said:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.end()
    }

    /// Kills it with -9.
    pub fn kill(mut self) -> Ended {
        self.end()
    }

    fn end(&mut self) -> Ended {
        let status = self.reap();
        let (stdout, stderr) = self.said.all();
        Ended { code: status.code(), signal: status.signal(), stdout, stderr }
    }

    /// Ends the child, then its watcher: in this order the watcher never kills a pid that is another's by now.
    fn reap(&mut self) -> ExitStatus {
        // A child that has ended by itself can't be killed; its status tells.
        let _ = self.child.kill();
        let status = self.child.wait().expect("the child is ours to wait for");
        if let Some(mut pipe) = self.watcher.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.watcher.wait();
        status
    }
}

impl Drop for Process {
    /// Of a test that fails, what its processes said last is most of the story.
    fn drop(&mut self) {
        self.reap();
        if std::thread::panicking() {
            let (stdout, stderr) = self.said.all();
            let pid = self.child.id();
            eprintln!("process {pid} said last:\n{}{}", last_lines(&stdout), last_lines(&stderr));
        }
    }
}

fn last_lines(text: &str) -> &str {
    let before = text.rmatch_indices('\n').nth(LAST_LINES);
    before.map_or(text, |(end, _)| &text[end + 1..])
}

/// What a process said on stdout and stderr, read as it comes so that it never blocks on a full pipe.
#[derive(Clone, Default)]
struct Said {
    lines: Arc<Mutex<(String, String)>>,
    readers: Arc<Mutex<Vec<std::thread::JoinHandle<()>>>>,
}

impl Said {
    fn collect(&self, pipe: impl Read + Send + 'static, place: fn(&mut (String, String)) -> &mut String) {
        let lines = self.lines.clone();
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                place(&mut lines.lock().expect("no reader panics")).push_str(&text);
                line.clear();
            }
        });
        self.readers.lock().expect("no reader panics").push(reader);
    }

    /// All of it, once the process has ended.
    fn all(&self) -> (String, String) {
        for reader in self.readers.lock().expect("no reader panics").drain(..) {
            let _ = reader.join();
        }
        self.lines.lock().expect("no reader panics").clone()
    }
}
