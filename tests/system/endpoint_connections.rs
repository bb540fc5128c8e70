//! Connections to endpoints: with the TLS settings of a webhook, and through a proxy.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Heard, channel};
use std::thread;

use harness::{Broker, Receiver, Site, order};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::{OUTHOOK, SOON};

const LIST: &str = "/v3/outgoingWebhooks";

type Authority = CertifiedIssuer<'static, KeyPair>;

#[test]
fn webhook_uses_its_own_authority_and_client_certificate() {
    let ours = authority();
    let (address, heard) = endpoint_that_requires_certificates(&ours);
    let (certificate, key) = signed(&ours, "outhook");
    let mut site = Site::new(OUTHOOK, 1);
    site.set("definitions.secret_keys", vec!["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]);
    // One attempt, then a dead letter.
    site.set("delivery.retry", Vec::<String>::new());
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let own = json!({"CaCertificates": ours.pem(), "ClientCertificate": certificate, "ClientKey": key});
    for (name, tls) in [
        ("with-both", own),
        ("without-certificate", json!({"CaCertificates": ours.pem()})),
        ("of-another-authority", json!({"CaCertificates": authority().pem()})),
    ] {
        let url = format!("https://{address}/{name}");
        let made = api.post(LIST, &json!({"Name": name, "OutgoingUrls": [url], "Tls": tls}));
        assert_eq!(made.status, 201, "{made:?}");
        assert!(!made.text.contains("PRIVATE KEY"), "no response contains the key");
        let event = json!({"EventType": "table.recordInsert", "ObjectName": "orders"});
        assert_eq!(api.post(&format!("{LIST}/{}/events", made.text("Id")), &event).status, 201);
    }
    site.produce([order(7)]);
    assert_eq!(heard.recv_timeout(SOON).expect("a request in time"), "POST /with-both HTTP/1.1");
    site.await_settled(SOON);
    let letters = Broker::get().read_all(&site.dead_letters);
    let causes: Vec<_> = letters.iter().filter_map(|letter| letter.header("outhook-cause")).collect();
    for expected in ["Tls.CaCertificates", "Tls.ClientCertificate"] {
        assert!(causes.iter().any(|cause| cause.contains(expected)), "{causes:?}");
    }
    assert!(heard.try_recv().is_err(), "the endpoint rejected the others");
}

#[test]
fn endpoints_are_checked_and_then_reached_through_the_proxy() {
    let (proxy, asked) = proxy();
    let receiver = Receiver::start();
    let mut site = Site::new(OUTHOOK, 1);
    site.set("delivery.proxy", format!("http://us:s3cret@{proxy}"));
    site.set("delivery.retry", Vec::<String>::new());
    let denied = receiver.url("/denied").replace("127.0.0.1", "127.0.0.2");
    let event = "EventType: table.recordInsert, ObjectName: orders";
    site.apply(&harness::webhooks(&[
        ("through", &[receiver.url("/through")], &[event]),
        ("denied", &[denied], &[event]),
    ]));
    // Set after the webhook exists, because a webhook with such a URL is rejected.
    site.set("delivery.deny_addresses", vec!["127.0.0.2/32"]);
    let instance = site.start();
    site.produce([order(7)]);
    receiver.wait("/through", 1, SOON);
    let head = asked.recv_timeout(SOON).expect("the proxy is asked in time");
    let address = receiver.url("");
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    assert!(head.starts_with(&format!("CONNECT {address} HTTP/1.1\r\n")), "{head}");
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic dxm6cznjcmv0"), "{head}");
    site.await_settled(SOON);
    let [letter] = Broker::get().read_all(&site.dead_letters).try_into().expect("one URL is denied");
    assert_eq!(letter.header("outhook-class"), Some("refused_address"));
    assert!(asked.try_recv().is_err(), "the proxy gets no request for a denied URL");
    assert!(!instance.said().contains("s3cret"));
}

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A certificate for a name, and its key, as PEM.
fn signed(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// An endpoint that accepts only client certificates of the authority. Returns its URL, and the first lines of the
/// requests that it answers.
fn endpoint_that_requires_certificates(authority: &Authority) -> (String, Heard<String>) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let mut believed = RootCertStore::empty();
    believed.add(authority.der().clone()).expect("an authority");
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(believed.into(), provider.clone()).build().expect("a verifier");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("a certificate and its key");
    let config = Arc::new(config);
    listen(move |stream| {
        let connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        let head = head(&mut stream)?;
        stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")?;
        Ok(head.lines().next().unwrap_or_default().to_owned())
    })
}

/// A proxy that opens tunnels to any target. Returns its URL, and the heads of the CONNECT requests.
fn proxy() -> (String, Heard<String>) {
    listen(|mut client| {
        let head = head(&mut client)?;
        let mut server = TcpStream::connect(head.split(' ').nth(1).unwrap_or_default())?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
        thread::spawn(move || io::copy(&mut from_server, &mut to_client));
        thread::spawn(move || io::copy(&mut client, &mut server));
        Ok(head)
    })
}

/// Serves each connection in a separate thread, and sends the results of the successful ones.
fn listen(serve: impl Fn(TcpStream) -> io::Result<String> + Send + Sync + 'static) -> (String, Heard<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound address").to_string();
    let (tell, heard) = channel();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (serve, tell) = (serve.clone(), tell.clone());
            thread::spawn(move || serve(stream).is_ok_and(|told| tell.send(told).is_ok()));
        }
    });
    (address, heard)
}

/// Reads the head of a request, without its body.
fn head(stream: &mut impl Read) -> io::Result<String> {
    let (mut reader, mut head) = (BufReader::with_capacity(1, stream), String::new());
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}
