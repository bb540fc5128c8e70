//! Requests that find their connection gone.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::{Instant, sleep};

use super::super::connection::Connection;
use super::super::dial::Dialer;
use super::super::resolve::Resolver;
use super::super::route::in_origin_form;
use super::calls::config;
use super::receiver::{Receiver, Reply};
use super::tls::{Authority, with_tls};
use crate::definition::Endpoint;

/// Why a request fails that goes out on a connection which nobody has looked at for a while.
async fn late_request(endpoint: &Endpoint) -> String {
    let dialer = Dialer::new(&config(), Resolver::system()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut connection = dialer.dial(endpoint, &dialer.connector(endpoint), deadline).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    let mut request = Request::post(&endpoint.uri).body(Full::new(Bytes::from("{}"))).unwrap();
    if let Connection::Http1(_) = connection {
        in_origin_form(endpoint, &mut request);
    }
    connection.exchange(request).await.unwrap_err().to_string()
}

/// On TLS 1.3 the refusal of a certificate comes after the handshake, and so may be there before the request is.
#[tokio::test]
async fn they_say_what_broke_it() {
    let (servers, clients) = (Authority::new(), Authority::new());
    for protocol in ["h2", "http/1.1"] {
        let acceptor = servers.serves(&[protocol], Some(&clients));
        let receiver = Receiver::start_with(Some(acceptor), |_| Reply::Status(200)).await;
        let target = with_tls(&format!("https://{}/", receiver.address), Some(&servers), None);
        let failure = late_request(&target.endpoints[0]).await;
        assert!(failure.contains("CertificateRequired"), "{protocol}: {failure}");
    }
}
