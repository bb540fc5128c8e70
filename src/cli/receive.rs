//! `outhook receive`: a local endpoint that prints messages, for users who have no endpoint yet.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use http::StatusCode;
use outhook_dev::endpoint::{self, Posted};
use standardwebhooks::{HEADER_WEBHOOK_ID, Webhook as Verifier};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::CommandFailure;
use super::text::{WRITE_EXPECT, lines, printable};
use crate::definition::{BadSecret, Secret, SecretError, SecretReference, redact_secrets};
use crate::render::MAX_MESSAGE_BYTES;

/// Receives messages and prints them: a local endpoint to try webhooks with.
///
/// It accepts a POST to any path, verifies the signature if --secret is set, prints the message, and responds with
/// 204, or with 401 if the signature is invalid. Secrets in a body are printed as whsec_…. Ctrl-C stops it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The address and port to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8484")]
    listen: SocketAddr,
    /// The webhook's secret: whsec_…, '${NAME}' for an environment variable that holds it, or '${file:/path}' for a
    /// file that holds it. Can be repeated: a message is good if one of the secrets has signed it.
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// Response status for good messages. Try 503 to see retries, or 410 to see the webhook disabled.
    #[arg(long, value_name = "CODE", default_value = "204", value_parser = clap::value_parser!(u16).range(200..=599))]
    status: u16,
}

const EXAMPLES: &str = "\
Outhook sends to this endpoint only if its configuration allows it:
  [delivery]
  allow_http = true
  allow_addresses = [\"127.0.0.0/8\"]

Then, with OutgoingUrls: [http://127.0.0.1:8484/anything] in webhooks.yaml:
  outhook receive --secret whsec_…

`outhook apply` prints the secret of each webhook that it creates.";

/// Why messages can't be received.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error("--secret can't be read: {0}")]
    SecretReference(#[from] SecretError),
    #[error("--secret: {0}, as `outhook apply` prints it")]
    Secret(#[from] BadSecret),
    #[error("can't listen on --listen {address}: {reason}; choose another address or port")]
    Listen { address: SocketAddr, reason: io::Error },
    #[error("the output can't be written: {0}")]
    Output(io::Error),
}

pub(super) async fn run(args: Args) -> Result<ExitCode, CommandFailure> {
    let verifiers = args.secrets.iter().map(|secret| verifier(secret)).collect::<Result<Vec<_>, _>>()?;
    let status = StatusCode::from_u16(args.status).expect("clap takes only codes from 200 to 599");
    let unbound = |reason| ReceiveError::Listen { address: args.listen, reason };
    let listener = TcpListener::bind(args.listen).await.map_err(unbound)?;
    let address = listener.local_addr().map_err(unbound)?;
    eprintln!("listening on http://{address} for messages to any path; Ctrl-C stops");

    let (failed, mut failure) = mpsc::channel(1);
    let judge = move |message: &Posted| {
        let signature = SignatureVerdict::check(message, &verifiers);
        let status = if matches!(signature, SignatureVerdict::Bad(_)) { StatusCode::UNAUTHORIZED } else { status };
        if let Err(error) = print(&message_text(message, &signature, status)) {
            // The first error is enough.
            let _ = failed.try_send(error);
        }
        status
    };
    tokio::select! {
        never = endpoint::serve(listener, MAX_MESSAGE_BYTES, judge) => match never {},
        Some(error) = failure.recv() => Err(ReceiveError::Output(error).into()),
    }
}

/// Verifier of the signatures that a secret makes.
fn verifier(secret: &str) -> Result<Verifier, ReceiveError> {
    let found = SecretReference::of(secret).map(super::read_secret).transpose()?;
    let secret = Secret::try_from(found.unwrap_or_else(|| secret.to_owned()))?;
    Verifier::new(secret.expose()).map_err(|_| BadSecret.into())
}

/// Result of the check of a message's signature.
#[derive(Debug, PartialEq, Eq)]
enum SignatureVerdict {
    Good,
    Bad(String),
    /// There is no secret to check it with.
    Unchecked,
}

impl SignatureVerdict {
    fn check(message: &Posted, verifiers: &[Verifier]) -> Self {
        let mut signature = Self::Unchecked;
        for verifier in verifiers {
            match message.verify(verifier) {
                Ok(()) => return Self::Good,
                Err(error) => signature = Self::Bad(error.to_string()),
            }
        }
        signature
    }
}

/// Message as text: a line with path, id, signature and status, then the body.
fn message_text(message: &Posted, signature: &SignatureVerdict, status: StatusCode) -> String {
    let id = message.headers.get(HEADER_WEBHOOK_ID).and_then(|id| id.to_str().ok()).unwrap_or("missing");
    let signature = match signature {
        SignatureVerdict::Good => "good",
        SignatureVerdict::Bad(reason) => &format!("BAD ({reason}; no --secret has signed it)"),
        SignatureVerdict::Unchecked => "not checked",
    };
    let mut text = String::new();
    let (path, id) = (printable(&message.path), printable(id));
    writeln!(text, "POST {path}  webhook-id {id}  signature {signature}  answered {}", status.as_u16())
        .expect(WRITE_EXPECT);
    // Indented: a line of a body can't pass for the first line of another message.
    for line in lines(&redact_secrets(&String::from_utf8_lossy(&message.body))).trim_end().lines() {
        writeln!(text, "  {line}").expect(WRITE_EXPECT);
    }
    text.push('\n');
    text
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SECOND: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn signed(secret: &str, body: &'static str) -> Posted {
        let now = jiff::Timestamp::now().as_second();
        let signature = Verifier::new(secret).unwrap().sign("m1", now, body.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "m1".parse().unwrap());
        headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        Posted { path: "/crm".to_owned(), headers, body: body.into() }
    }

    #[test]
    fn signature_of_any_given_secret_is_good_and_unchecked_without_secrets() {
        let known = [FIRST, SECOND].map(|secret| verifier(secret).unwrap());
        let message = signed(SECOND, "{}");
        assert_eq!(SignatureVerdict::check(&message, &known), SignatureVerdict::Good);
        assert!(matches!(SignatureVerdict::check(&message, &known[..1]), SignatureVerdict::Bad(_)));
        assert_eq!(SignatureVerdict::check(&message, &[]), SignatureVerdict::Unchecked);
    }

    #[test]
    fn body_is_printed_without_secrets_and_terminal_control_codes() {
        let message = signed(FIRST, "{\"secret\":\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\",\n\"a\":\"\u{1b}[2J\"}\n");
        assert_eq!(
            message_text(&message, &SignatureVerdict::Good, StatusCode::NO_CONTENT),
            "POST /crm  webhook-id m1  signature good  answered 204\n  {\"secret\":\"whsec_…\",\n  \"a\":\" [2J\"}\n\n"
        );
    }

    #[test]
    fn invalid_secret_is_rejected_and_not_printed() {
        assert!(verifier("").is_err() && verifier("whsec_").is_err(), "anybody could sign with it");
        let error = verifier("whsec_not base64").err().unwrap().to_string();
        assert!(error.contains("--secret") && !error.contains("not base64"), "{error}");
        let error = verifier("${OUTHOOK_NO_SUCH_VARIABLE}").err().unwrap().to_string();
        assert!(error.contains("OUTHOOK_NO_SUCH_VARIABLE"), "{error}");
    }
}
