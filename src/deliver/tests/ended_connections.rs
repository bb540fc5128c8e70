//! Requests on connections that have ended.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::calls::{config, target};
use super::receiver::{Receiver, Reply};
use super::tls::{Authority, with_tls};
use crate::definition::Endpoint;
use crate::deliver::transport::connection::Connection;
use crate::deliver::transport::dial::{AlpnOffer, Dialer};
use crate::deliver::transport::resolve::Resolver;
use crate::deliver::transport::route::to_origin_form;

async fn dialled(endpoint: &Endpoint) -> Connection {
    let dialer = Dialer::new(&config(), Resolver::system()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    dialer.dial(endpoint, &dialer.connector(endpoint), AlpnOffer::Both, deadline).await.unwrap()
}

/// Returns why a request fails on a connection that was not polled for a while.
async fn late_failure(endpoint: &Endpoint, connection: &mut Connection) -> String {
    sleep(Duration::from_millis(300)).await;
    connection.send_request(request(endpoint, connection)).await.unwrap_err().to_string()
}

fn request(endpoint: &Endpoint, connection: &Connection) -> Request<Full<Bytes>> {
    let mut request = Request::post(&endpoint.uri).body(Full::new(Bytes::from("{}"))).unwrap();
    if let Connection::Http1(_) = connection {
        to_origin_form(endpoint, &mut request);
    }
    request
}

/// On TLS 1.3 the refusal of a certificate comes after the handshake, so it can arrive before the request is sent.
#[tokio::test]
async fn request_on_a_broken_connection_fails_with_the_cause() {
    let (servers, clients) = (Authority::new(), Authority::new());
    for protocol in ["h2", "http/1.1"] {
        let acceptor = servers.serves(&[protocol], Some(&clients));
        let receiver = Receiver::start_with(Some(acceptor), |_| Reply::Status(200)).await;
        let target = with_tls(&format!("https://{}/", receiver.address), Some(&servers), None);
        let endpoint = &target.endpoints[0];
        let failure = late_failure(endpoint, &mut dialled(endpoint).await).await;
        assert!(failure.contains("CertificateRequired"), "{protocol}: {failure}");
    }
}

#[tokio::test]
async fn request_on_a_closed_connection_says_that_the_endpoint_closed_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(&format!("http://{}/", listener.local_addr().unwrap()));
    let endpoint = &target.endpoints[0];
    // Answers the first request, then closes the connection without notice.
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"{}") {
            stream.read_buf(&mut read).await.unwrap();
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    });
    let mut connection = dialled(endpoint).await;
    connection.send_request(request(endpoint, &connection)).await.unwrap();
    let failure = late_failure(endpoint, &mut connection).await;
    assert_eq!(failure, "the connection broke before a response came: the endpoint closed it");
}
