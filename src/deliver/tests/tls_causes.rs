//! Causes of failed TLS handshakes in the message log, and so in the REST API.

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::Config;
use super::calls::{Heard, config, target};
use super::receiver::{Receiver, Reply};
use super::tls::{Authority, acceptor};

/// The server's side of TLS with a certificate of the authority, changed by `change`.
fn with(authority: &Authority, change: impl Fn(&mut CertificateParams)) -> TlsAcceptor {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    acceptor(authority.signs_params(params, &key), &key, &["h2"], None)
}

/// A server that sends this to each client, and closes.
async fn says(words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Unread bytes would end the connection before the server has sent anything.
            let mut hello = Vec::with_capacity(64 * 1024);
            let _ = stream.read_buf(&mut hello).await;
            let _ = stream.write_all(words).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

/// The logged cause of a call to the address, if this authority is trusted.
async fn told(address: SocketAddr, authority: &Authority) -> String {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.pem()).unwrap();
    let mut heard = Heard::new(Config { retry: vec![], ca_file: Some(file.path().to_owned()), ..config() });
    heard.offer(&target(&format!("https://{address}/token/s3cret")), 1).await;
    let entry = heard.entry().await;
    assert_eq!(entry.class.as_deref(), Some("tls"));
    let cause = entry.cause.unwrap().into_string();
    assert!(cause.starts_with(&format!("https://{address}: ")) && !cause.contains("s3cret"), "{cause}");
    cause
}

#[tokio::test]
async fn refused_certificate_is_reported_with_the_fix() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (acceptor, words) in [
        (with(&other, |_| {}), "Tls.CaCertificates"),
        (with(&other, |_| {}), "intermediate certificate"),
        (
            with(&authority, |params| params.not_after = date_time_ymd(2020, 2, 3)),
            "has expired 2020-02-03T00:00:00Z: renew it",
        ),
        (with(&authority, |params| params.not_before = date_time_ymd(2090, 2, 3)), "not valid yet"),
        (
            with(&authority, |params| *params = CertificateParams::new(["internal.corp.example".to_owned()]).unwrap()),
            "not for the URL's host",
        ),
        (with(&authority, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "that of an authority"),
        (
            with(&authority, |params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth]),
            "not for servers",
        ),
    ] {
        let receiver = Receiver::start_with(Some(acceptor), |_| Reply::Status(200)).await;
        let cause = told(receiver.address, &authority).await;
        assert!(cause.contains(words), "{words}: {cause}");
        assert!(!cause.contains("corp.example"), "other names of a certificate are not shown: {cause}");
    }
}

#[tokio::test]
async fn missing_tls_and_unsupported_versions_are_reported_as_such() {
    for (words, told_as) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "answers without TLS"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "answers without TLS"),
        // Alerts of level fatal (RFC 8446, 6).
        (b"\x15\x03\x01\x00\x02\x02\x46", "neither TLS 1.2 nor TLS 1.3"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "Tls.ClientCertificate"),
        (b"\x15\x03\x03\x00\x02\x02\x74", "requires a client certificate"),
        (b"\x15\x03\x03\x00\x02\x02\x70", "does not serve this host name"),
        (b"\x15\x03\x03\x00\x02\x02\x78", "neither HTTP/2 nor HTTP/1.1"),
        (b"\x15\x03\x03\x00\x02\x02\x50", "the alert InternalError"),
        // A server hello of TLS 1.1.
        (
            b"\x16\x03\x02\x00\x2c\x02\x00\x00\x28\x03\x02\
              0123456789abcdef0123456789abcdef\x00\xc0\x13\x00\x00\x00",
            "neither TLS 1.2 nor TLS 1.3",
        ),
        (b"", "closed the connection during the TLS handshake"),
    ] {
        let cause = told(says(words).await, &Authority::new()).await;
        assert!(cause.contains(told_as), "{told_as}: {cause}");
    }
}

#[tokio::test]
async fn missing_client_certificate_is_reported_after_the_handshake() {
    let (authority, clients) = (Authority::new(), Authority::new());
    for protocol in ["http/1.1", "h2"] {
        let acceptor = authority.serves(&[protocol], Some(&clients));
        let receiver = Receiver::start_with(Some(acceptor), |_| Reply::Status(200)).await;
        let cause = told(receiver.address, &authority).await;
        assert!(cause.contains("requires a client certificate"), "{cause}");
    }
}
