//! Calls over TLS, with a certificate authority made for the test.

use std::sync::Arc;

use http::Version;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

use super::super::Config;
use super::calls::{Heard, SECRET, config, target};
use super::receiver::{Receiver, Reply};
use crate::definition::{Endpoint, HiddenText, TlsSettings};
use crate::rules::{Authorization, Target};

/// A certificate authority made for the test.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Authorities are distinguished by their names.
        params.distinguished_name.push(DnType::CommonName, format!("{:x?}", &key.public_key_raw()[..16]));
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for these names. Also returns its key.
    pub fn signs(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        (self.signs_params(CertificateParams::new(names).unwrap(), &key), key)
    }

    pub fn signs_params(&self, params: CertificateParams, key: &KeyPair) -> Certificate {
        params.signed_by(key, &self.0).unwrap()
    }

    /// The server's side of TLS for loopback. Requires client certificates of the clients' authority, if there is one.
    pub fn serves(&self, protocols: &[&str], clients: Option<&Authority>) -> TlsAcceptor {
        let (certificate, key) = self.signs(&["localhost", "127.0.0.1"]);
        acceptor(certificate, &key, protocols, clients)
    }
}

/// The server's side of TLS with this certificate.
pub fn acceptor(
    certificate: Certificate,
    key: &KeyPair,
    protocols: &[&str],
    clients: Option<&Authority>,
) -> TlsAcceptor {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let believed = Arc::new(crate::definition::authorities(clients.pem().as_bytes()).unwrap());
            let verifier = WebPkiClientVerifier::builder_with_provider(believed, provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut server = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(server))
}

/// The server's side of TLS, and the file with the authority that signed its certificate.
fn tls(protocols: &[&str]) -> (TlsAcceptor, NamedTempFile) {
    let authority = Authority::new();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.pem()).unwrap();
    (authority.serves(protocols, None), file)
}

/// A webhook at the URL with these TLS settings.
pub fn with_tls(url: &str, ca: Option<&Authority>, identity: Option<(Certificate, KeyPair)>) -> Arc<Target> {
    let (certificate, key) = identity.map(|(certificate, key)| (certificate.pem(), key.serialize_pem())).unzip();
    let settings = TlsSettings {
        ca_certificates: ca.map(Authority::pem),
        client_certificate: certificate,
        client_key: key.map(HiddenText),
    };
    let tls = Arc::new(settings.compile().unwrap());
    let mut target = Arc::into_inner(target(url)).unwrap();
    target.endpoints = [Arc::new(Endpoint::parse(url).unwrap().with_tls(Some(tls)))].into();
    Arc::new(target)
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
    // As many concurrent calls as allowed, before the first is answered.
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
async fn http1_has_one_connection_per_worker() {
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
fn ca_file_without_certificates_is_rejected_by_name() {
    let file = NamedTempFile::new().unwrap();
    let config = Config { ca_file: Some(file.path().to_owned()), ..config() };
    let error = crate::deliver::transport::tls::TlsConnectors::new(&config).err().unwrap().to_string();
    assert!(error.contains(&file.path().display().to_string()) && error.contains("no certificate"), "{error}");
}

#[tokio::test]
async fn webhook_trusts_only_its_own_authority() {
    let (its, other) = (Authority::new(), Authority::new());
    let receiver = Receiver::start_with(Some(its.serves(&["h2"], None)), |_| Reply::Status(200)).await;
    let url = format!("https://{}/", receiver.address);
    let mut heard = Heard::new(Config { retry: vec![], ..config() });
    heard.offer(&with_tls(&url, Some(&its), None), 1).await;
    assert_eq!(heard.delivered().await, 1);
    // A webhook at the same URL that does not trust the authority does not use the open connection.
    heard.offer(&with_tls(&url, Some(&other), None), 2).await;
    assert_eq!(heard.exhausted().await, ("tls", 1));
    heard.offer(&target(&url), 3).await;
    assert_eq!(heard.exhausted().await, ("tls", 1));
    heard.offer(&with_tls(&url, Some(&its), None), 4).await;
    assert_eq!(heard.delivered().await, 1);
    assert_eq!(receiver.connections(), 3, "the same settings share a connection");
}

#[tokio::test]
async fn client_certificate_is_not_shared_by_webhooks_with_the_same_url() {
    let (servers, clients) = (Authority::new(), Authority::new());
    for protocols in [["h2"], ["http/1.1"]] {
        let acceptor = servers.serves(&protocols, Some(&clients));
        let receiver = Receiver::start_with(Some(acceptor), |_| Reply::Status(200)).await;
        let url = format!("https://{}/", receiver.address);
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), servers.pem()).unwrap();
        let ca_file = Some(file.path().to_owned());
        let mut heard = Heard::new(Config { retry: vec![], ca_file, ..config() });
        // The installation's authorities are trusted if the webhook has none.
        for ca in [None, Some(&servers)] {
            heard.offer(&with_tls(&url, ca, Some(clients.signs(&["us"]))), 1).await;
            assert_eq!(heard.delivered().await, 1);
        }
        for stranger in [target(&url), with_tls(&url, None, Some(servers.signs(&["us"])))] {
            heard.offer(&stranger, 2).await;
            let (class, _) = heard.exhausted().await;
            // On TLS 1.3 a client receives the refusal only after the handshake.
            assert!(["tls", "broken"].contains(&class), "{class}");
        }
    }
}

#[tokio::test]
async fn tokens_are_fetched_with_the_webhooks_own_tls() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let token = r#"{"access_token":"one","token_type":"bearer"}"#;
    let acceptor = servers.serves(&["h2"], Some(&clients));
    let tokens = Receiver::start_with(Some(acceptor), move |_| Reply::Text(200, token)).await;
    let mut receiver = Receiver::start(|_| Reply::Status(200)).await;
    let mut heard = Heard::new(Config { retry: vec![], ..config() });
    let mut target =
        Arc::into_inner(with_tls(&receiver.url("/"), Some(&servers), Some(clients.signs(&["us"])))).unwrap();
    let token_url = format!("https://{}/token", tokens.address);
    let oauth = serde_json::json!({"OAuth2": {"TokenUrl": token_url, "ClientId": "us", "ClientSecret": "s3cret"}});
    let authentication = serde_json::from_value(oauth).unwrap();
    target.authorization = Some(Authorization::compile(&authentication, target.endpoints[0].tls.clone()).unwrap());
    heard.offer(&Arc::new(target), 1).await;
    assert_eq!(heard.delivered().await, 1);
    assert_eq!(receiver.heard().await.head.headers["authorization"], "Bearer one");
}
