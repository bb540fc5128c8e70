//! Calls over TLS, with a certificate authority made for the test.

use std::sync::Arc;

use http::Version;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

use super::super::Config;
use super::calls::{Heard, SECRET, config, target};
use super::receiver::{Receiver, Reply};

/// A server's side of TLS for `localhost`, and the file with the authority that signed it.
fn tls(protocols: &[&str]) -> (TlsAcceptor, NamedTempFile) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &authority).unwrap();

    let mut server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.pem()).unwrap();
    (TlsAcceptor::from(Arc::new(server)), file)
}

async fn deliver(protocols: &[&str], calls: u32) -> (Receiver, Version) {
    let (acceptor, authority) = tls(protocols);
    let mut receiver = Receiver::start_with(Some(acceptor), |_| Reply::Held(200)).await;
    let mut heard = Heard::new(Config {
        allow_http: false,
        ca_file: Some(authority.path().to_owned()),
        concurrency: 4,
        ..config()
    });
    let target = target(&format!("https://{}/hook", receiver.address));
    heard.offer_all(&target, 0..calls).await;
    let verifier = standardwebhooks::Webhook::new(SECRET).unwrap();
    let mut version = Version::HTTP_10;
    // As many at once as allowed, before the first is answered.
    for _ in 0..calls {
        let request = receiver.heard().await;
        verifier.verify(&request.body, &request.head.headers).unwrap();
        version = request.head.version;
        receiver.release(1);
    }
    for _ in 0..calls {
        assert_eq!(heard.delivered().await, 1);
    }
    (receiver, version)
}

#[tokio::test]
async fn http2_shares_one_connection() {
    let (receiver, version) = deliver(&["h2", "http/1.1"], 8).await;
    assert_eq!((version, receiver.connections()), (Version::HTTP_2, 1));
}

#[tokio::test]
async fn http1_has_a_connection_a_worker() {
    let (receiver, version) = deliver(&["http/1.1"], 8).await;
    assert_eq!(version, Version::HTTP_11);
    assert!((1..=4).contains(&receiver.connections()), "{} connections", receiver.connections());
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (acceptor, _) = tls(&["h2"]);
    let (_, other_authority) = tls(&["h2"]);
    let receiver = Receiver::start_with(Some(acceptor), |_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { ca_file: Some(other_authority.path().to_owned()), ..config() });
    heard.offer(&target(&format!("https://{}/", receiver.address)), 1).await;
    assert_eq!(heard.exhausted().await, ("tls", 3));
}

#[test]
fn a_file_without_certificates_is_named() {
    let file = NamedTempFile::new().unwrap();
    let config = Config { ca_file: Some(file.path().to_owned()), ..config() };
    let error = super::super::tls::connector(&config).err().unwrap();
    assert!(error.contains(&file.path().display().to_string()) && error.contains("no certificate"), "{error}");
}
