//! A connection to an endpoint, and one request on it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::failure::AttemptFailure;
use super::response_progress::ResponseProgress;
use crate::deliver::transport::head_limits::MAX_HEADS;
use crate::deliver::transport::tracked_body::{TakenFlag, TrackedBody};

pub(in crate::deliver) type Body = Full<Bytes>;

/// An open connection. An HTTP/1.1 connection belongs to one worker; an HTTP/2 connection is shared by the lane's
/// workers.
pub(in crate::deliver) enum Connection {
    Http1(Http1),
    Http2(Http2),
}

/// Where a connection was opened to, and when it becomes too old for new requests.
#[derive(Debug, Clone, Copy)]
pub(in crate::deliver) struct ConnectionInfo {
    /// The dialled address. With a proxy, the proxy's address.
    pub peer: Option<SocketAddr>,
    /// None: no age limit.
    pub expires_at: Option<Instant>,
}

/// A shared HTTP/2 connection. Clones refer to the same connection.
#[derive(Clone)]
pub(in crate::deliver) struct Http2 {
    sender: http2::SendRequest<TrackedBody>,
    info: ConnectionInfo,
    state: Arc<ConnectionState>,
    progress: Arc<ResponseProgress>,
}

#[derive(Default)]
struct ConnectionState {
    /// The error that broke the connection, if one did.
    error: OnceLock<hyper::Error>,
    /// No new requests may use the connection, although responses can still arrive: for example after GOAWAY or a
    /// refused request.
    is_retired: AtomicBool,
    /// The connection task has ended: queued requests are no longer sent.
    has_ended: AtomicBool,
    ended_notify: Notify,
}

/// An HTTP/1.1 connection, driven by the task that uses it: a response wakes one task instead of two, and the
/// connection ends with its worker.
pub(in crate::deliver) struct Http1 {
    sender: http1::SendRequest<Body>,
    driver: ConnectionDriver,
    info: ConnectionInfo,
    progress: Arc<ResponseProgress>,
}

enum ConnectionDriver {
    Open(Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>),
    /// With the error, if the connection broke.
    Closed(Option<hyper::Error>),
}

impl ConnectionState {
    /// Resolves when the connection task has ended and nothing more is sent.
    async fn wait_until_ended(&self) {
        let mut end = pin!(self.ended_notify.notified());
        end.as_mut().enable();
        if !self.has_ended.load(Ordering::Acquire) {
            end.await;
        }
    }
}

impl ConnectionInfo {
    fn is_too_old(&self) -> bool {
        self.expires_at.is_some_and(|until| until <= Instant::now())
    }
}

impl Http1 {
    pub fn new(
        sender: http1::SendRequest<Body>,
        connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
        info: ConnectionInfo,
        progress: Arc<ResponseProgress>,
    ) -> Self {
        Self { sender, driver: ConnectionDriver::Open(Box::pin(connection)), info, progress }
    }

    async fn send_request(&mut self, request: Request<Body>) -> Result<Response<Incoming>, AttemptFailure> {
        let Http1 { sender, driver, progress, .. } = self;
        progress.begin_request();
        let answer = match driver.drive_while(sender.ready()).await {
            Ok(()) => {
                let answer = sender.send_request(request);
                driver.drive_while(response_within_limit(answer, progress)).await?
            }
            Err(closed) => Err(closed),
        };
        answer.map_err(|error| failure(&error, driver.error()))
    }
}

impl ConnectionDriver {
    /// Awaits `work` and drives the connection meanwhile.
    async fn drive_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let ConnectionDriver::Open(connection) = self
                && let Poll::Ready(ended) = connection.as_mut().poll(context)
            {
                *self = ConnectionDriver::Closed(ended.err());
            }
            work.as_mut().poll(context)
        })
        .await
    }

    fn is_open(&self) -> bool {
        matches!(self, ConnectionDriver::Open(_))
    }

    fn error(&self) -> Option<&hyper::Error> {
        match self {
            ConnectionDriver::Open(_) => None,
            ConnectionDriver::Closed(broken) => broken.as_ref(),
        }
    }
}

impl Http2 {
    /// Serves the connection in a task until its last sender is dropped or it breaks.
    pub fn serve(
        sender: http2::SendRequest<TrackedBody>,
        mut connection: impl Future<Output = hyper::Result<()>> + Send + Unpin + 'static,
        info: ConnectionInfo,
        progress: Arc<ResponseProgress>,
    ) -> Self {
        let state = Arc::<ConnectionState>::default();
        let task_state = state.clone();
        tokio::spawn(async move {
            // Senders notice the end when the connection is dropped, so the reason must be stored before.
            if let Err(reason) = (&mut connection).await {
                let _ = task_state.error.set(reason);
            }
            drop(connection);
            task_state.has_ended.store(true, Ordering::Release);
            task_state.ended_notify.notify_waiters();
        });
        Self { sender, info, state, progress }
    }

    /// Returns whether new requests may use the connection.
    pub fn is_ready(&self) -> bool {
        !self.sender.is_closed() && !self.state.is_retired.load(Ordering::Relaxed) && !self.info.is_too_old()
    }

    async fn send_request(&mut self, request: Request<Body>) -> Result<Response<Incoming>, AttemptFailure> {
        let taken = TakenFlag::default();
        let request = request.map(|body| TrackedBody::new(body, taken.clone()));
        let mut answer = pin!(self.sender.send_request(request));
        let answered = tokio::select! {
            biased;
            answered = &mut answer => Some(answered),
            // A taken request may still be answered: GOAWAY lets earlier requests finish.
            () = self.state.wait_until_ended() => if taken.is_set() { Some(answer.await) } else { None },
        };
        let failure = match answered {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) => http2_failure(&error, self.state.error.get()),
            None => AttemptFailure::Unprocessed("the connection ended before the request was sent".to_owned()),
        };
        if !matches!(failure, AttemptFailure::Reset(_)) {
            // Later requests, including a repeat of this one, need another connection.
            self.state.is_retired.store(true, Ordering::Relaxed);
        }
        Err(failure)
    }
}

impl Connection {
    /// The dialled address. With a proxy, the proxy's address.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Connection::Http1(http1) => http1.info.peer,
            Connection::Http2(http2) => http2.info.peer,
        }
    }

    /// Returns whether another request can be sent now.
    pub async fn is_ready(&mut self) -> bool {
        match self {
            Connection::Http1(Http1 { sender, driver, info, .. }) => {
                driver.drive_while(async {}).await;
                driver.is_open() && sender.is_ready() && !info.is_too_old()
            }
            Connection::Http2(http2) => http2.is_ready(),
        }
    }

    /// Awaits `work` and drives the connection meanwhile, so that its closing is noticed.
    pub async fn drive_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        match self {
            Connection::Http1(http1) => http1.driver.drive_while(work).await,
            Connection::Http2(_) => work.await,
        }
    }

    /// Sends a request and awaits the head of its response.
    ///
    /// # Errors
    /// [`AttemptFailure::Broken`] when the connection closed before a response began, [`AttemptFailure::Tls`] when TLS
    /// was the reason, [`AttemptFailure::Protocol`] when the received bytes are not a response. On HTTP/2 also
    /// [`AttemptFailure::Unprocessed`], [`AttemptFailure::Reset`] and [`AttemptFailure::Http1Required`].
    pub async fn send_request(&mut self, request: Request<Body>) -> Result<Response<Incoming>, AttemptFailure> {
        let (answer, progress) = match self {
            Connection::Http1(http1) => (http1.send_request(request).await, &http1.progress),
            Connection::Http2(http2) => (http2.send_request(request).await, &http2.progress),
        };
        answer.map_err(|failure| match progress.tls_error() {
            Some(reason) => AttemptFailure::Tls(io::Error::other(reason.clone())),
            None => failure,
        })
    }

    /// The status of a response whose head is incomplete or unreadable. Known on HTTP/1 only, where the status line
    /// comes first.
    pub fn received_status(&self) -> Option<u16> {
        match self {
            Connection::Http1(http1) => http1.progress.status(),
            Connection::Http2(_) => None,
        }
    }
}

/// Awaits a response. Fails when more than [`MAX_HEADS`] bytes arrive before it.
async fn response_within_limit<T>(
    answer: impl Future<Output = T>,
    progress: &ResponseProgress,
) -> Result<T, AttemptFailure> {
    let before = progress.bytes();
    let mut answer = pin!(answer);
    poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
        Poll::Pending if progress.bytes().wrapping_sub(before) > MAX_HEADS => {
            let text = format!("more than {} KiB of interim responses (1xx) came, and no final one", MAX_HEADS / 1024);
            Poll::Ready(Err(AttemptFailure::Protocol(text)))
        }
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Why a request on HTTP/2 got no response, and whether the endpoint certainly did not process it (RFC 9113, 8.7).
fn http2_failure(error: &hyper::Error, broken: Option<&hyper::Error>) -> AttemptFailure {
    let Some(why) = h2_error(error) else {
        // `is_canceled`: the request found the connection closed. `is_user`: it waited for the connection to allow one
        // more stream. Neither was sent.
        return match failure(error, broken) {
            AttemptFailure::Broken(text) if error.is_canceled() || error.is_user() => AttemptFailure::Unprocessed(text),
            other => other,
        };
    };
    match why.reason() {
        Some(h2::Reason::HTTP_1_1_REQUIRED) if why.is_remote() => AttemptFailure::Http1Required,
        Some(h2::Reason::REFUSED_STREAM) if why.is_remote() => AttemptFailure::Unprocessed(error_chain_text(error)),
        // A GOAWAY fails only requests after the last one that it names. Earlier ones complete.
        _ if why.is_remote() && why.is_go_away() => AttemptFailure::Unprocessed(error_chain_text(error)),
        _ if why.is_remote() => AttemptFailure::Reset(error_chain_text(error)),
        // This side ends a stream or a connection that receives invalid HTTP/2.
        _ if why.is_library() => AttemptFailure::Protocol(error_chain_text(error)),
        _ => failure(error, broken),
    }
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Why a request got no response. The error of a request on a closed connection has no cause; the error of the
/// connection has one.
fn failure(error: &hyper::Error, broken: Option<&hyper::Error>) -> AttemptFailure {
    // `is_user`: the request waited for the connection to allow one more stream.
    let was_closed = error.is_closed() || error.is_canceled() || error.is_user();
    // A failed shutdown is a consequence of the end, not its cause.
    match broken.filter(|why| !why.is_shutdown()) {
        Some(why) if was_closed => AttemptFailure::Broken(error_chain_text(why)),
        None if error.is_closed() || error.is_user() => AttemptFailure::Broken("the endpoint closed it".to_owned()),
        // A parse error is the endpoint's fault. Any other error before a status line is the connection's.
        _ if error.is_parse() => AttemptFailure::Protocol(error_chain_text(error)),
        _ => AttemptFailure::Broken(error_chain_text(error)),
    }
}

/// An error's text with the texts of its causes, which hyper omits.
fn error_chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn request_left_queued_on_an_ended_connection_is_unprocessed() {
        let (ours, _theirs) = tokio::io::duplex(4096);
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(ours)).await;
        // Not polled, so the queue is neither read nor closed.
        let (sender, _connection) = handshake.unwrap();
        let state = Arc::new(ConnectionState { has_ended: true.into(), ..ConnectionState::default() });
        let info = ConnectionInfo { peer: None, expires_at: None };
        let mut http2 = Http2 { sender, info, state, progress: Arc::default() };
        let answer = timeout(Duration::from_secs(5), http2.send_request(Request::new(Body::default()))).await;
        let failure = answer.expect("it does not wait").unwrap_err();
        assert!(matches!(failure, AttemptFailure::Unprocessed(_)), "{failure:?}");
        assert!(!http2.is_ready());
    }
}
