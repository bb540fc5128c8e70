//! Child processes that always end with the test process, however it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Shell script of the watcher, which reads a pipe from the test process. A line means that the child has been
/// reaped. The end of the pipe without a line means that the test process is gone, for whatever reason: the watcher
/// then kills the child and removes its directory.
const WATCH: &str = r#"read -r _ && exit; kill -9 "$1"; rm -rf "$2""#;

/// Max lines of a process's output that a failed test shows.
const LAST_LINES: usize = 60;

/// A running child process with its watcher.
pub(crate) struct Process {
    child: Child,
    watcher: Child,
    said: Said,
}

/// Exit status and complete output of a process.
#[derive(Debug)]
pub struct Ended {
    /// `None` if a signal ended the process.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// Starts a command. The watcher removes `directory` if the test process is killed.
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
            .unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
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

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child belongs to this process").is_none()
    }

    /// Its output on stdout so far.
    pub fn stdout(&self) -> String {
        self.said.lines.lock().expect("no reader panics").0.clone()
    }

    /// Its output on stderr so far.
    pub fn stderr(&self) -> String {
        self.said.lines.lock().expect("no reader panics").1.clone()
    }

    /// Sends a signal by name: `TERM`, `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", r#"kill -s "$1" "$2""#, "kill", name, &pid]).status();
        assert!(status.is_ok_and(|status| status.success()), "can't send SIG{name} to process {pid}");
    }

    /// Waits until the process has ended.
    ///
    /// # Panics
    /// The process has not ended in time. The message contains its output on stderr.
    #[track_caller]
    pub fn wait(mut self, within: Duration) -> Ended {
        let deadline = Instant::now() + within;
        while self.is_running() {
            assert!(
                Instant::now() < deadline,
                "still running after {within:?}; its output on stderr:\n{}",
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        self.end()
    }

    /// Kills the process with SIGKILL.
    pub fn kill(mut self) -> Ended {
        self.end()
    }

    fn end(&mut self) -> Ended {
        let status = self.reap();
        let (stdout, stderr) = self.said.all();
        Ended { code: status.code(), signal: status.signal(), stdout, stderr }
    }

    /// Reaps the child, then its watcher. In this order the watcher never kills a reused pid.
    fn reap(&mut self) -> ExitStatus {
        // A child that has already ended can't be killed. Its status says how it ended.
        let _ = self.child.kill();
        let status = self.child.wait().expect("the child belongs to this process");
        if let Some(mut pipe) = self.watcher.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.watcher.wait();
        status
    }
}

impl Drop for Process {
    /// Prints the last output of the process when a test fails, because it usually explains the failure.
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

/// Output of a process on stdout and stderr. It is read continuously, so the process never blocks on a full pipe.
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

    /// The complete output, once the process has ended.
    fn all(&self) -> (String, String) {
        for reader in self.readers.lock().expect("no reader panics").drain(..) {
            let _ = reader.join();
        }
        self.lines.lock().expect("no reader panics").clone()
    }
}
