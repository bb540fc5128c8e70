//! Calls through a real proxy that reports the requests it receives.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::super::{Config, Outcome};
use super::calls::{Heard, config, target};
use super::receiver::{Receiver, Reply};

/// How a proxy answers.
#[derive(Clone, Copy)]
enum Says {
    /// It opens the tunnel.
    Yes,
    This(&'static str),
    Nothing,
}

/// A proxy, and the heads of the requests that it receives.
async fn proxy(says: Says) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard_by, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let heard_by = heard_by.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let to = head.split(' ').nth(1).unwrap().to_owned();
                heard_by.send(head).unwrap();
                match says {
                    Says::Yes => {
                        let mut server = TcpStream::connect(to).await.unwrap();
                        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                    Says::This(answer) => client.write_all(answer.as_bytes()).await.unwrap(),
                    Says::Nothing => std::future::pending().await,
                }
            });
        }
    });
    (address, heard)
}

/// Sends calls through the proxy, with user and password.
fn through(proxy: SocketAddr) -> Config {
    let proxy = format!("http://us:s3cret@{proxy}").try_into().unwrap();
    Config { proxy: Some(proxy), retry: vec![], ..config() }
}

#[tokio::test]
async fn proxy_connects_to_the_checked_address() {
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    let (address, mut heard_by_proxy) = proxy(Says::Yes).await;
    let mut heard = Heard::new(through(address));
    heard.offer(&target(&format!("http://localhost:{}/", receiver.address.port())), 1).await;
    assert_eq!(heard.delivered().await, 1);
    let head = heard_by_proxy.recv().await.unwrap();
    assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", receiver.address)), "{head}");
    assert!(head.contains("proxy-authorization: Basic dXM6czNjcmV0\r\n") && !head.contains("localhost"), "{head}");
}

#[tokio::test]
async fn proxy_is_not_asked_for_a_refused_address() {
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    let (address, mut heard_by_proxy) = proxy(Says::Yes).await;
    let mut heard = Heard::new(Config { allow_addresses: vec![], ..through(address) });
    heard.offer(&target(&receiver.url("/")), 1).await;
    assert_eq!(heard.exhausted().await, ("refused_address", 1));
    assert!(heard_by_proxy.try_recv().is_err());
}

#[tokio::test]
async fn no_proxy_hosts_are_dialled_directly() {
    let receiver = Receiver::start(|_| Reply::Status(200)).await;
    let (address, mut heard_by_proxy) = proxy(Says::Yes).await;
    for direct in ["127.0.0.0/8", "localhost"] {
        let mut heard = Heard::new(Config { no_proxy: vec![direct.to_owned().into()], ..through(address) });
        heard.offer(&target(&format!("http://localhost:{}/", receiver.address.port())), 1).await;
        assert_eq!(heard.delivered().await, 1);
    }
    assert!(heard_by_proxy.try_recv().is_err());
}

#[tokio::test]
async fn proxy_failures_name_the_proxy_without_its_password() {
    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
    let early = "HTTP/1.1 200 OK\r\n\r\nSSH-2.0";
    for (says, status, words) in [
        (Says::This(refusal), Some(407), "answered 407 Proxy Authentication Required"),
        (Says::This(early), None, "sent data after its response"),
        (Says::This("nonsense\r\n\r\n"), None, "gave no answer"),
        (Says::Nothing, None, "gave no answer in time"),
    ] {
        let (address, _heard_by_proxy) = proxy(says).await;
        let connect_timeout = std::time::Duration::from_millis(500);
        let mut heard = Heard::new(Config { connect_timeout, ..through(address) });
        heard.offer(&target("http://127.0.0.1:9/"), 1).await;
        let Some(Outcome::Exhausted { cause }) = heard.end().await.outcome else { panic!("delivered") };
        // At the end of the time limit the timeout of the whole connect may be reported instead.
        assert!(["proxy", "connect_timeout"].contains(&cause.class), "{}", cause.text);
        assert!(cause.class != "proxy" || cause.status == status && cause.text.contains(words), "{}", cause.text);
        assert!(!cause.text.contains("s3cret"), "{}", cause.text);
        assert!(!cause.text.contains(&address.to_string()), "clients can see it: {}", cause.text);
    }
}
