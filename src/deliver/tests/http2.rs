//! HTTP/2 servers that drain their connections and refuse requests, frame by frame (RFC 9113), so that each test
//! defines the bytes on the wire.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::super::Config;
use super::calls::{Heard, config, target};
use super::receiver::{Receiver, Reply};
use super::tls::Authority;
use crate::rules::Target;

/// What the server does with a request.
#[derive(Clone, Copy)]
enum Act {
    Answer,
    /// Answers it, and announces that it processes no later request.
    AnswerLast,
    Reset(h2::Reason),
}

/// Types and flags of frames (RFC 9113, 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Also the flag END_STREAM.
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// `:status: 200` (RFC 7541, appendix A).
pub const STATUS_200: u8 = 0x88;

struct Server {
    address: SocketAddr,
    authority: NamedTempFile,
    connections: Arc<AtomicUsize>,
    /// Requests that were processed, or refused by a reset.
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// `act` decides what the server does with a request. Its arguments are the number of the connection and of the
    /// request on it, counted from 1. An HTTP/1.1 client gets 200.
    async fn start(act: impl Fn(usize, usize) -> Act + Copy + Send + Sync + 'static) -> Self {
        let authority = Authority::new();
        let acceptor = authority.serves(&["h2", "http/1.1"], None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (opened, heard) = (connections.clone(), requests.clone());
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let (acceptor, heard) = (acceptor.clone(), heard.clone());
                let connection = opened.fetch_add(1, Ordering::SeqCst) + 1;
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                        // The client decides how it ends.
                        let _ = serve(stream, |n| act(connection, n), &heard).await;
                    } else {
                        serve_http1(stream, &heard).await;
                    }
                });
            }
        });
        Self { address, authority: file(&authority), connections, requests }
    }

    fn target(&self) -> Arc<Target> {
        target(&format!("https://{}/", self.address))
    }

    /// Without retries, so that a failed attempt becomes a dead letter.
    fn heard(&self) -> Heard {
        let queue_wait = Duration::from_secs(60);
        Heard::new(Config { ca_file: Some(self.authority.path().to_owned()), retry: vec![], queue_wait, ..config() })
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

pub fn file(authority: &Authority) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.pem()).unwrap();
    file
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    act: impl Fn(usize) -> Act,
    heard: &AtomicUsize,
) -> std::io::Result<()> {
    read_preface(&mut stream).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let (mut requests, mut last) = (0, u32::MAX);
    loop {
        let Frame { kind, flags, stream: id, payload } = read_frame(&mut stream).await?;
        match kind {
            SETTINGS | PING if flags & ACK == 0 => {
                let payload = if kind == PING { payload } else { vec![] };
                stream.write_all(&frame(kind, ACK, 0, &payload)).await?;
            }
            // A request is complete. Requests after the last one are ignored, as nginx does.
            HEADERS | DATA if flags & ACK != 0 && id <= last => {
                requests += 1;
                heard.fetch_add(1, Ordering::SeqCst);
                let answer = frame(HEADERS, ACK | END_HEADERS, id, &[STATUS_200]);
                let frames = match act(requests) {
                    Act::Answer => answer,
                    Act::AnswerLast => {
                        last = id;
                        let no_error = [id.to_be_bytes(), 0_u32.to_be_bytes()].concat();
                        [answer, frame(GOAWAY, 0, 0, &no_error)].concat()
                    }
                    Act::Reset(reason) => frame(RST_STREAM, 0, id, &u32::from(reason).to_be_bytes()),
                };
                stream.write_all(&frames).await?;
            }
            _ => {}
        }
        stream.flush().await?;
    }
}

/// A received frame.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Reads the preface that a client sends before its first frame.
pub async fn read_preface(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await.map(drop)
}

pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await?;
    let [_, _, _, kind, flags, id @ ..] = head;
    Ok(Frame { kind, flags, stream: u32::from_be_bytes(id), payload })
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

async fn serve_http1(stream: impl AsyncRead + AsyncWrite + Unpin, heard: &AtomicUsize) {
    let service = service_fn(|request: Request<Incoming>| async move {
        request.into_body().collect().await.unwrap();
        heard.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_drains_under_load_cost_no_attempt() {
    const AT_ONCE: u32 = 1000;
    let server = Server::start(|_, n| if n == 100 { Act::AnswerLast } else { Act::Answer }).await;
    let mut heard = server.heard();
    let target = server.target();
    for round in 0..5 {
        heard.offer_all(&target, round * AT_ONCE..(round + 1) * AT_ONCE).await;
        for _ in 0..AT_ONCE {
            assert_eq!(heard.delivered().await, 1);
        }
    }
    assert_eq!(server.requests(), 5 * AT_ONCE as usize, "each was processed once");
    // Some connections process a few more than 100: earlier requests that were complete only after the 100th.
    assert!(server.connections() >= 25, "{} connections", server.connections());
}

#[tokio::test]
async fn connection_ended_while_idle_is_not_reused() {
    let server = Server::start(|_, _| Act::AnswerLast).await;
    let mut heard = server.heard();
    for n in 0..20 {
        heard.offer(&server.target(), n).await;
        assert_eq!(heard.delivered().await, 1);
    }
    assert_eq!((server.requests(), server.connections()), (20, 20));
}

#[tokio::test]
async fn refused_request_is_sent_again_on_another_connection() {
    let refuse = |connection, _| if connection <= 3 { Act::Reset(h2::Reason::REFUSED_STREAM) } else { Act::Answer };
    let server = Server::start(refuse).await;
    let mut heard = server.heard();
    heard.offer(&server.target(), 1).await;
    assert_eq!(heard.delivered().await, 1);
    assert_eq!((server.requests(), server.connections()), (4, 4));
}

#[tokio::test]
async fn attempt_fails_after_several_refused_requests() {
    let server = Server::start(|_, _| Act::Reset(h2::Reason::REFUSED_STREAM)).await;
    let mut heard = server.heard();
    heard.offer(&server.target(), 1).await;
    assert_eq!(heard.exhausted().await, ("broken", 1));
    assert_eq!((server.requests(), server.connections()), (9, 9));
}

#[tokio::test]
async fn request_that_may_have_been_processed_is_not_sent_again() {
    let reset = |_, n| if n == 2 { Act::Reset(h2::Reason::INTERNAL_ERROR) } else { Act::Answer };
    let server = Server::start(reset).await;
    let mut heard = server.heard();
    heard.offer(&server.target(), 1).await;
    heard.delivered().await;
    heard.offer(&server.target(), 2).await;
    assert_eq!(heard.exhausted().await, ("broken", 1));
    heard.offer(&server.target(), 3).await;
    heard.delivered().await;
    assert_eq!((server.requests(), server.connections()), (3, 1), "the connection still works, and is used again");
}

#[tokio::test]
async fn http1_requirement_is_met_in_the_same_attempt_and_remembered() {
    let server = Server::start(|_, _| Act::Reset(h2::Reason::HTTP_1_1_REQUIRED)).await;
    let mut heard = server.heard();
    for n in 0..3 {
        heard.offer(&server.target(), n).await;
        assert_eq!(heard.delivered().await, 1);
    }
    assert_eq!((server.requests(), server.connections()), (1 + 3, 2), "one on HTTP/2");
}

#[tokio::test]
async fn connection_is_replaced_at_its_max_age() {
    for protocol in ["h2", "http/1.1"] {
        let authority = Authority::new();
        let receiver = Receiver::start_with(Some(authority.serves(&[protocol], None)), |_| Reply::Status(200)).await;
        let (file, target) = (file(&authority), target(&format!("https://{}/", receiver.address)));
        let ca_file = Some(file.path().to_owned());
        let aged = Config { max_connection_age: Duration::from_millis(50), ca_file, concurrency: 1, ..config() };
        let mut heard = Heard::new(aged.clone());
        let calls = async {
            for n in 0.. {
                heard.offer(&target, n).await;
                assert_eq!(heard.delivered().await, 1);
                if receiver.connections() == 3 {
                    break;
                }
            }
        };
        timeout(Duration::from_secs(30), calls).await.expect("connections are replaced");
        let mut heard = Heard::new(Config { max_connection_age: Duration::ZERO, ..aged });
        for n in 0..20 {
            heard.offer(&target, n).await;
            heard.delivered().await;
        }
        assert_eq!(receiver.connections(), 4, "without a limit one is enough");
    }
}
