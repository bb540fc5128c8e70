//! A real HTTP server that answers as each test defines, and reports its requests.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;

/// How the receiver answers a request.
#[derive(Clone, Copy)]
pub enum Reply {
    Status(u16),
    RetryAfter(u16, &'static str),
    /// Never answers.
    Silence,
    /// A head and an endless body.
    EndlessBody(u16),
    /// A head and a body of this many bytes.
    Body(u16, usize),
    /// This many headers.
    Headers(u16, usize),
    /// A body with this text.
    Text(u16, &'static str),
    /// Answers when [`Receiver::release`] allows one more.
    Held(u16),
    /// The same with a text as the body.
    HeldText(u16, &'static str),
}

pub struct Heard {
    pub head: Parts,
    pub body: Bytes,
    pub at: Instant,
}

pub struct Receiver {
    pub address: SocketAddr,
    heard: mpsc::UnboundedReceiver<Heard>,
    closed: mpsc::UnboundedReceiver<()>,
    connections: Arc<AtomicUsize>,
    permits: Arc<Semaphore>,
}

/// State that the connections of one receiver share.
#[derive(Clone)]
struct Script {
    reply: Arc<dyn Fn(usize) -> Reply + Send + Sync>,
    requests: Arc<AtomicUsize>,
    heard: mpsc::UnboundedSender<Heard>,
    permits: Arc<Semaphore>,
}

impl Receiver {
    /// Answers the request with number n, counted from 0, with `reply(n)`.
    pub async fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, reply).await
    }

    pub async fn start_with(tls: Option<TlsAcceptor>, reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", tls, reply).await
    }

    /// The same at a chosen address and port.
    pub async fn start_at(
        address: &str,
        tls: Option<TlsAcceptor>,
        reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard_by, heard) = mpsc::unbounded_channel();
        let (closed_by, closed) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let permits = Arc::new(Semaphore::new(0));
        let script =
            Script { reply: Arc::new(reply), requests: Arc::default(), heard: heard_by, permits: permits.clone() };
        let opened = connections.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                opened.fetch_add(1, Ordering::SeqCst);
                let (script, tls, closed) = (script.clone(), tls.clone(), closed_by.clone());
                tokio::spawn(async move {
                    match tls {
                        None => script.serve(tcp, false).await,
                        Some(tls) => {
                            // A client that does not trust the certificate ends the handshake.
                            let Ok(stream) = tls.accept(tcp).await else { return };
                            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                            script.serve(stream, h2).await;
                        }
                    }
                    let _ = closed.send(());
                });
            }
        });
        Self { address, heard, closed, connections, permits }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Awaits the next request.
    pub async fn heard(&mut self) -> Heard {
        self.heard.recv().await.unwrap()
    }

    /// Returns whether no further request has arrived.
    pub fn not_heard(&mut self) -> bool {
        self.heard.try_recv().is_err()
    }

    /// Awaits the end of a connection.
    pub async fn closed(&mut self) {
        self.closed.recv().await.unwrap();
    }

    /// Releases this many held responses.
    pub fn release(&self, answers: usize) {
        self.permits.add_permits(answers);
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Script {
    async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(self, stream: S, h2: bool) {
        let service = service_fn(move |request| {
            let script = self.clone();
            async move { Ok::<_, Infallible>(script.answer(request).await) }
        });
        let io = TokioIo::new(stream);
        // The client decides how a connection ends.
        let _ = if h2 {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
        } else {
            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
        };
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let reply = (self.reply)(self.requests.fetch_add(1, Ordering::SeqCst));
        let _ = self.heard.send(Heard { head, body, at: Instant::now() });
        let answer = |status| Response::builder().status::<u16>(status);
        let full = |size| Full::new(Bytes::from(vec![b'x'; size])).boxed();
        match reply {
            Reply::Status(status) => answer(status).body(full(0)).unwrap(),
            Reply::RetryAfter(status, after) => answer(status).header("retry-after", after).body(full(0)).unwrap(),
            Reply::Silence => pending().await,
            Reply::EndlessBody(status) => answer(status).body(Endless.boxed()).unwrap(),
            Reply::Body(status, size) => answer(status).body(full(size)).unwrap(),
            Reply::Headers(status, count) => {
                let headers = (0..count).map(|n| format!("x-{n}"));
                let answer = headers.fold(answer(status), |answer, name| answer.header(name, "1"));
                answer.body(full(0)).unwrap()
            }
            Reply::Text(status, text) => answer(status).body(Full::new(Bytes::from(text)).boxed()).unwrap(),
            Reply::Held(status) => {
                self.permits.acquire().await.unwrap().forget();
                answer(status).body(full(0)).unwrap()
            }
            Reply::HeldText(status, text) => {
                self.permits.acquire().await.unwrap().forget();
                answer(status).body(Full::new(Bytes::from(text)).boxed()).unwrap()
            }
        }
    }
}

struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}
