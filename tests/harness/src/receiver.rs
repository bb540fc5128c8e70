//! A real HTTP server on loopback that plays the endpoints of webhooks.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::error::Error as _;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use standardwebhooks::Webhook;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A server that records requests and answers as configured. The default is 204.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropping it stops the server and resets its open connections.
    _stop: oneshot::Sender<Infallible>,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The path of the URL, which identifies the webhook.
    pub path: String,
    /// The `webhook-id` header.
    pub message_id: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub signature: Signature,
    /// The answer to this request.
    pub answer: Answer,
    pub at: Instant,
}

/// Result of checking a request's signature with the `standardwebhooks` crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    Good,
    Bad(String),
    /// No secret is configured for the path.
    Unchecked,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Status(u16),
    /// A status with one header.
    With(u16, &'static str, String),
    /// A status with a body.
    Body(u16, &'static str),
    /// A status after a delay.
    Late(Duration, u16),
    /// No response; the connection stays open.
    Hang,
    /// No response; the connection is closed.
    Close,
    /// Bytes that are not HTTP, then the connection is closed.
    Garbage,
}

impl Answer {
    /// Whether the answer acknowledges the message.
    pub fn is_success(&self) -> bool {
        match self {
            Self::Status(status) | Self::With(status, ..) | Self::Body(status, _) | Self::Late(_, status) => {
                (200..300).contains(status)
            }
            Self::Hang | Self::Close | Self::Garbage => false,
        }
    }
}

type Observer = Box<dyn Fn(&Request) + Send + Sync>;

struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
    /// Called with each request. If set, requests are not kept.
    observer: Option<Observer>,
}

#[derive(Default)]
struct State {
    endpoints: HashMap<String, Endpoint>,
    kept: Vec<Request>,
}

#[derive(Default)]
struct Endpoint {
    first: VecDeque<Answer>,
    then: Option<Answer>,
    secret: Option<Arc<Webhook>>,
}

impl Receiver {
    /// Starts a receiver that keeps every request.
    pub fn start() -> Receiver {
        Receiver::serve(None)
    }

    /// Starts a receiver that passes each request to `observer` and keeps none, for tests with hundreds of thousands.
    pub fn observed(observer: impl Fn(&Request) + Send + Sync + 'static) -> Receiver {
        Receiver::serve(Some(Box::new(observer)))
    }

    /// Serves in a separate thread, so the receiver answers while a test blocks.
    fn serve(observer: Option<Observer>) -> Receiver {
        let shared = Arc::new(Shared { state: Mutex::default(), arrived: Condvar::new(), observer });
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let address = listener.local_addr().expect("a bound listener has an address");
        let accepting = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("the runtime takes a non-blocking socket");
                tokio::select! {
                    () = accept(listener, accepting) => {}
                    _ = stopped => {}
                }
            });
        });
        Receiver { address, shared, _stop: stop }
    }

    /// The URL of a path: `receiver.url("/orders")`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sets the answer to all requests to a path from now on.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.endpoint(path, |endpoint| endpoint.then = Some(answer));
    }

    /// Sets the answers to the next requests to a path, in order. The answer of [`Receiver::answer`] applies after
    /// them.
    pub fn answer_first(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.endpoint(path, |endpoint| endpoint.first.extend(answers));
    }

    /// Verifies the signatures of a path's requests with a secret, from now on.
    pub fn verify(&self, path: &str, secret: &str) {
        let webhook = Webhook::new(secret).expect("the test's secret is whsec_ and base64");
        self.endpoint(path, |endpoint| endpoint.secret = Some(Arc::new(webhook)));
    }

    fn endpoint(&self, path: &str, change: impl FnOnce(&mut Endpoint)) {
        let mut state = self.shared.state.lock().expect("no holder panics");
        change(state.endpoints.entry(path.to_owned()).or_default());
    }

    /// The requests to a path so far, in order of arrival.
    pub fn requests(&self, path: &str) -> Vec<Request> {
        of_path(&self.shared.state.lock().expect("no holder panics"), path)
    }

    /// Waits until a path has received `count` requests, and returns all it has received.
    ///
    /// # Panics
    /// They do not arrive in time.
    #[track_caller]
    pub fn wait(&self, path: &str, count: usize, within: Duration) -> Vec<Request> {
        let state = self.shared.state.lock().expect("no holder panics");
        let enough = |state: &mut State| state.kept.iter().filter(|request| request.path == path).count() < count;
        let (state, waited) = self.shared.arrived.wait_timeout_while(state, within, enough).expect("no holder panics");
        let had = of_path(&state, path);
        drop(state);
        assert!(!waited.timed_out(), "{path} received {} requests of {count} in {within:?}: {had:#?}", had.len());
        had
    }
}

fn of_path(state: &State, path: &str) -> Vec<Request> {
    state.kept.iter().filter(|request| request.path == path).cloned().collect()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        // A connection that is gone before it is accepted is not the receiver's problem.
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(connection(stream, shared.clone()));
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| Box::pin(receive(request, &shared)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // The error is a killed client, or an answer that closes the connection.
    let Err(error) = poll_fn(|context| connection.poll_without_shutdown(context)).await else { return };
    if let Some(Closed(last_words)) = error.source().and_then(|source| source.downcast_ref()) {
        let _ = connection.into_parts().io.into_inner().write_all(last_words).await;
    }
}

/// Last bytes before the connection closes. For hyper, closing the connection is an error.
#[derive(Debug)]
struct Closed(&'static [u8]);

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the test closes this connection")
    }
}

impl std::error::Error for Closed {}

async fn receive(request: http::Request<Incoming>, shared: &Shared) -> Result<Response<Full<Bytes>>, Closed> {
    let (head, body) = request.into_parts();
    // An incomplete body is not a request: its client was killed while sending.
    let body = body.collect().await.map_err(|_| Closed(b""))?.to_bytes();
    match shared.record(head, body) {
        Answer::Status(status) => Ok(response(status)),
        Answer::With(status, name, value) => {
            let mut response = response(status);
            response.headers_mut().insert(name, value.parse().expect("the test's header value is valid"));
            Ok(response)
        }
        Answer::Body(status, body) => Ok(response(status).map(|_| Full::from(body))),
        Answer::Late(wait, status) => {
            tokio::time::sleep(wait).await;
            Ok(response(status))
        }
        Answer::Hang => std::future::pending().await,
        Answer::Close => Err(Closed(b"")),
        Answer::Garbage => Err(Closed(b"\x16\x03\x01 HTP/1.l 2OO 0K\n\n\0{]")),
    }
}

fn response(status: u16) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::default()).expect("the test's status is valid")
}

impl Shared {
    fn record(&self, head: http::request::Parts, body: Bytes) -> Answer {
        let path = head.uri.path();
        let (answer, secret) = {
            let mut state = self.state.lock().expect("no holder panics");
            match state.endpoints.get_mut(path) {
                Some(endpoint) => {
                    let answer = endpoint.first.pop_front().or_else(|| endpoint.then.clone());
                    (answer, endpoint.secret.clone())
                }
                None => (None, None),
            }
        };
        let signature = match secret.map(|secret| secret.verify(&body, &head.headers)) {
            None => Signature::Unchecked,
            Some(Ok(())) => Signature::Good,
            Some(Err(error)) => Signature::Bad(error.to_string()),
        };
        let answer = answer.unwrap_or(Answer::Status(204));
        let id = head.headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        self.keep(Request {
            path: path.to_owned(),
            message_id: id.to_owned(),
            headers: head.headers,
            body,
            signature,
            answer: answer.clone(),
            at: Instant::now(),
        });
        answer
    }

    fn keep(&self, request: Request) {
        if let Some(observer) = &self.observer {
            return observer(&request);
        }
        self.state.lock().expect("no holder panics").kept.push(request);
        self.arrived.notify_all();
    }
}
