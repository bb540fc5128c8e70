//! `outhook receive`: an endpoint for first experiments.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use harness::{SECRET, Site, inserted_orders, order};

use crate::{OUTHOOK, SOON};

/// A running `outhook receive`. Dropping it kills the process.
struct Receiving {
    child: Child,
    /// `http://127.0.0.1:12345`
    base: String,
    shown: mpsc::Receiver<String>,
    _stderr: BufReader<ChildStderr>,
}

impl Receiving {
    /// Starts it on a free port, with the secret in the environment.
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(OUTHOOK);
        command.args(["receive", "--listen", "127.0.0.1:0", "--secret", "${CRM_SECRET}"]).args(arguments);
        command.env("CRM_SECRET", SECRET).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("can't start {OUTHOOK}: {error}"));
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let (show, shown) = mpsc::channel();
        // The thread ends with the pipe.
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| show.send(line)));
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut greeting = String::new();
        stderr.read_line(&mut greeting).expect("its output is UTF-8");
        let address = greeting.split_whitespace().find(|word| word.starts_with("http://"));
        let base = address.unwrap_or_else(|| panic!("no address in: {greeting}")).to_owned();
        Self { child, base, shown, _stderr: stderr }
    }

    /// The output for the next message: head and body.
    fn message(&self) -> (String, String) {
        let line = || self.shown.recv_timeout(SOON).expect("a message is printed");
        let message = (line(), line());
        assert_eq!(line(), "");
        message
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // It may already have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn message_is_printed_with_verified_signature_and_hidden_secret() {
    let receiving = Receiving::start(&[]);
    let site = Site::new(OUTHOOK, 1);
    site.apply(&inserted_orders("CRM", &[format!("{}/crm", receiving.base)]));
    let _instance = site.start();
    site.produce([order(7)]);
    let (head, body) = receiving.message();
    assert!(head.starts_with("POST /crm  webhook-id "), "{head}");
    assert!(head.ends_with("  signature good  answered 204"), "{head}");
    assert!(body.contains(r#""item":"Café au lait \"grande\"""#) && body.contains(r#""secret":"whsec_…""#), "{body}");
    assert!(!body.contains(SECRET), "{body}");
}

#[test]
fn unsigned_message_is_rejected_and_a_signed_one_gets_the_set_status() {
    let receiving = Receiving::start(&["--status", "503"]);
    let forged = harness::api::request("POST", &format!("{}/crm", receiving.base), &[], b"{\"a\":1}");
    assert_eq!(forged.status, 401);
    let (head, body) = receiving.message();
    assert!(head.starts_with("POST /crm  webhook-id missing  signature BAD (") && head.ends_with("401"), "{head}");
    assert_eq!(body, "  {\"a\":1}");

    let site = Site::new(OUTHOOK, 1);
    site.apply(&inserted_orders("CRM", &[format!("{}/crm", receiving.base)]));
    let _instance = site.start();
    site.produce([order(7)]);
    let heads = [receiving.message().0, receiving.message().0];
    assert!(heads[0].ends_with("  signature good  answered 503"), "{heads:?}");
    assert_eq!(heads[0], heads[1], "the retry has the same id");
}
