//! Responses with malformed heads: the status line decides, and nothing behind it costs an attempt.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::Config;
use super::calls::{Heard, config, target};
use super::receiver::{Receiver, Reply};
use super::tls::Authority;

/// What the server does after its response.
#[derive(Clone, Copy)]
enum Then {
    /// It keeps the connection open.
    Stays,
    Closes,
}
use Then::{Closes, Stays};

/// Sends the response to each request that ends with the call's 7-byte body.
async fn serve(answer: Vec<u8>, then: Then) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"{\"n\":1}") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let _ = stream.write_all(&answer).await;
                if let Stays = then {
                    let _ = stream.read_buf(&mut request).await;
                }
            });
        }
    });
    address
}

fn many_headers(count: usize) -> String {
    let headers: String = (0..count).map(|n| format!("x-{n}: 1\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\n\r\n")
}

/// Class and status of the only attempt in the message log.
async fn told(answer: &[u8], then: Then) -> (String, Option<u16>) {
    let mut heard = Heard::new(Config { retry: vec![], ..config() });
    let address = serve(answer.to_vec(), then).await;
    heard.offer(&target(&format!("http://{address}/")), 1).await;
    let entry = heard.entry().await;
    let code = entry.attempt.unwrap().code;
    (entry.class.unwrap().into_owned(), code)
}

#[tokio::test]
async fn status_line_decides_despite_malformed_headers() {
    let (hundred_and_one, thousand) = (many_headers(101), many_headers(1000));
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(100_000));
    for (headers, then) in [
        (&*hundred_and_one, Stays),
        (&*thousand, Stays),
        (&*long, Stays),
        ("HTTP/1.1 200 OK\r\nx-folded: a\r\n b\r\n\tc\r\ncontent-length: 0\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\r\n folded: first\r\ncontent-length: 0\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\r\nx-space : a\r\ncontent-length : 0\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\ncontent-length: 0\n\n", Stays),
        ("HTTP/1.1 200 OK\r\nx-control: a\u{1}b\r\ncontent-length: 0\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\r\nx-zero: a\0b\r\ncontent-length: 0\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\r\nx name: a\r\nx-näme: b\r\ncontent-length: 0\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\r\nno colon\r\n: no name\r\ncontent-length: 0\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\r\nx-return: a\rb\r\ncontent-length: 0\r\n\r\n", Stays),
        ("HTTP/1.1 200 O\u{1}K\r\ncontent-length: 0\r\n\r\n", Stays),
        ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\r\ncontent-length: none\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Stays),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: rot13\r\n\r\n", Closes),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno number\r\n", Stays),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", Closes),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Closes),
        ("HTTP/1.1 200 OK\r\nx-cut: ", Closes),
        ("HTTP/1.1 200 OK\r\n", Closes),
        ("HTTP/1.1 103 Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: none\r\n\r\n", Stays),
    ] {
        for (status, class) in
            [("200", "status_2xx"), ("204", "status_2xx"), ("500", "status_5xx"), ("302", "status_3xx")]
        {
            let answer = headers.replacen(" 200", &format!(" {status}"), 1);
            let shown = &answer[..answer.len().min(80)];
            assert_eq!(told(answer.as_bytes(), then).await, (class.to_owned(), status.parse().ok()), "{shown:?}");
        }
    }
}

#[tokio::test]
async fn response_without_a_status_line_is_a_failure() {
    for (answer, then, class) in [
        ("SSH-2.0-OpenSSH_9.2p1\r\n", Stays, "protocol"),
        ("HTTP/2.0 200 OK\r\n\r\n", Stays, "protocol"),
        ("HTTP/1.1 99 OK\r\n\r\n", Stays, "protocol"),
        ("{\"ok\":true}", Closes, "protocol"),
        ("HTTP/1.1 200", Closes, "broken"),
        ("HTTP/1.1 100 Continue\r\n\r\n", Closes, "broken"),
        ("", Closes, "broken"),
    ] {
        assert_eq!(told(answer.as_bytes(), then).await, (class.to_owned(), None), "{answer:?}");
    }
}

#[tokio::test]
async fn http2_takes_as_many_headers_as_http1() {
    let authority = Authority::new();
    let receiver = Receiver::start_with(Some(authority.serves(&["h2"], None)), |_| Reply::Headers(200, 1500)).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.pem()).unwrap();
    let mut heard = Heard::new(Config { retry: vec![], ca_file: Some(file.path().to_owned()), ..config() });
    heard.offer(&target(&format!("https://{}/", receiver.address)), 1).await;
    assert_eq!(heard.delivered().await, 1);
}
