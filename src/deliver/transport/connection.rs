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

use super::dial::MAX_HEAD;
use super::failure::AttemptFailure;
use super::response_progress::ResponseProgress;
use super::taken::{Taken, TellingBody};

pub(in crate::deliver) type Body = Full<Bytes>;

/// How much may come before the end of an answer's head: the longest that is taken, and as much of interim ones (RFC
/// 9110, 15.2). An endpoint that never ends those would keep a core busy until the attempt's time is over.
const MAX_HEADS: usize = 2 * MAX_HEAD;

/// An open connection. One of HTTP/1.1 belongs to one worker; one of HTTP/2 is shared by the lane's workers.
pub(in crate::deliver) enum Connection {
    Http1(Http1),
    Http2(Http2),
}

/// What a connection was opened to, and until when new requests go out on it.
#[derive(Debug, Clone, Copy)]
pub(in crate::deliver) struct ConnectionInfo {
    /// With a proxy between, the proxy.
    pub peer: Option<SocketAddr>,
    /// None if it may have any age.
    pub until: Option<Instant>,
}

/// An HTTP/2 connection; every clone is the same one.
#[derive(Clone)]
pub(in crate::deliver) struct Http2 {
    sender: http2::SendRequest<TellingBody>,
    opened: ConnectionInfo,
    state: Arc<ConnectionState>,
    seen: Arc<ResponseProgress>,
}

#[derive(Default)]
struct ConnectionState {
    /// Why it ended, when it has broken.
    broken: OnceLock<hyper::Error>,
    /// It takes no new requests, though answers may come on it still: the endpoint has sent GOAWAY or refused one.
    is_retired: AtomicBool,
    /// Nothing that waits to be sent on it is sent any more.
    has_ended: AtomicBool,
    end: Notify,
}

/// An HTTP/1.1 connection that is driven by the task which uses it: an answer wakes one task, not two, and a
/// connection dies with its worker.
pub(in crate::deliver) struct Http1 {
    sender: http1::SendRequest<Body>,
    driver: Driver,
    opened: ConnectionInfo,
    seen: Arc<ResponseProgress>,
}

enum Driver {
    Open(Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>),
    /// With the reason, if it broke.
    Closed(Option<hyper::Error>),
}

impl ConnectionState {
    /// Resolves when nothing is sent on the connection any more.
    async fn ended(&self) {
        let mut end = pin!(self.end.notified());
        end.as_mut().enable();
        if !self.has_ended.load(Ordering::Acquire) {
            end.await;
        }
    }
}

impl ConnectionInfo {
    fn is_too_old(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl Http1 {
    pub fn new(
        sender: http1::SendRequest<Body>,
        connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
        opened: ConnectionInfo,
        seen: Arc<ResponseProgress>,
    ) -> Self {
        Self { sender, driver: Driver::Open(Box::pin(connection)), opened, seen }
    }

    async fn exchange(&mut self, request: Request<Body>) -> Result<Response<Incoming>, AttemptFailure> {
        let Http1 { sender, driver, seen, .. } = self;
        seen.begin_request();
        let answer = match driver.beside(sender.ready()).await {
            Ok(()) => {
                let answer = sender.send_request(request);
                driver.beside(heads_within(answer, seen)).await?
            }
            Err(closed) => Err(closed),
        };
        answer.map_err(|error| failure(&error, driver.broken()))
    }
}

impl Driver {
    /// Awaits the work while the connection makes progress.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Driver::Open(connection) = self
                && let Poll::Ready(ended) = connection.as_mut().poll(context)
            {
                *self = Driver::Closed(ended.err());
            }
            work.as_mut().poll(context)
        })
        .await
    }

    fn is_open(&self) -> bool {
        matches!(self, Driver::Open(_))
    }

    fn broken(&self) -> Option<&hyper::Error> {
        match self {
            Driver::Open(_) => None,
            Driver::Closed(broken) => broken.as_ref(),
        }
    }
}

impl Http2 {
    /// Serves the connection until its last sender is gone, or it breaks.
    pub fn serve(
        sender: http2::SendRequest<TellingBody>,
        mut connection: impl Future<Output = hyper::Result<()>> + Send + Unpin + 'static,
        opened: ConnectionInfo,
        seen: Arc<ResponseProgress>,
    ) -> Self {
        let state = Arc::<ConnectionState>::default();
        let told = state.clone();
        tokio::spawn(async move {
            // Senders see the end of a connection when it is dropped, so that the reason has to be there before.
            if let Err(reason) = (&mut connection).await {
                let _ = told.broken.set(reason);
            }
            drop(connection);
            told.has_ended.store(true, Ordering::Release);
            told.end.notify_waiters();
        });
        Self { sender, opened, state, seen }
    }

    /// Whether new requests may go out on it.
    pub fn is_ready(&self) -> bool {
        !self.sender.is_closed() && !self.state.is_retired.load(Ordering::Relaxed) && !self.opened.is_too_old()
    }

    async fn exchange(&mut self, request: Request<Body>) -> Result<Response<Incoming>, AttemptFailure> {
        let taken = Taken::default();
        let request = request.map(|body| TellingBody::new(body, taken.clone()));
        let mut answer = pin!(self.sender.send_request(request));
        let answered = tokio::select! {
            biased;
            answered = &mut answer => Some(answered),
            // What was taken may be answered still: GOAWAY lets the requests before it end.
            () = self.state.ended() => if taken.is_set() { Some(answer.await) } else { None },
        };
        let failure = match answered {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) => http2_failure(&error, self.state.broken.get()),
            None => AttemptFailure::Unprocessed("the connection ended before the request was sent".to_owned()),
        };
        if !matches!(failure, AttemptFailure::Reset(_)) {
            // What is sent next, be it this request once more, goes out on another one.
            self.state.is_retired.store(true, Ordering::Relaxed);
        }
        Err(failure)
    }
}

impl Connection {
    /// What was dialled: with a proxy between, the proxy.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Connection::Http1(http1) => http1.opened.peer,
            Connection::Http2(http2) => http2.opened.peer,
        }
    }

    /// Whether another request can be sent now.
    pub async fn is_ready(&mut self) -> bool {
        match self {
            Connection::Http1(Http1 { sender, driver, opened, .. }) => {
                driver.beside(async {}).await;
                driver.is_open() && sender.is_ready() && !opened.is_too_old()
            }
            Connection::Http2(http2) => http2.is_ready(),
        }
    }

    /// Awaits the work while the connection makes progress, so that its closing is noticed.
    pub async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        match self {
            Connection::Http1(http1) => http1.driver.beside(work).await,
            Connection::Http2(_) => work.await,
        }
    }

    /// Sends a request and awaits the head of its answer.
    ///
    /// # Errors
    /// [`AttemptFailure::Broken`] when the connection closed before an answer began, [`AttemptFailure::Tls`] when TLS was the reason,
    /// [`AttemptFailure::Protocol`] when what came is no answer; on HTTP/2 also [`AttemptFailure::Unprocessed`], [`AttemptFailure::Reset`] and
    /// [`AttemptFailure::Http1Required`].
    pub async fn exchange(&mut self, request: Request<Body>) -> Result<Response<Incoming>, AttemptFailure> {
        let (answer, seen) = match self {
            Connection::Http1(http1) => (http1.exchange(request).await, &http1.seen),
            Connection::Http2(http2) => (http2.exchange(request).await, &http2.seen),
        };
        answer.map_err(|failure| match seen.tls_error() {
            Some(reason) => AttemptFailure::Tls(io::Error::other(reason.clone())),
            None => failure,
        })
    }

    /// The status of an answer whose head did not come whole, or can't be read: on HTTP/1 its line stands before all
    /// else.
    pub fn status_seen(&self) -> Option<u16> {
        match self {
            Connection::Http1(http1) => http1.seen.status(),
            Connection::Http2(_) => None,
        }
    }
}

/// Awaits an answer before which no more bytes may come than [`MAX_HEADS`].
async fn heads_within<T>(answer: impl Future<Output = T>, seen: &ResponseProgress) -> Result<T, AttemptFailure> {
    let before = seen.bytes();
    let mut answer = pin!(answer);
    poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
        Poll::Pending if seen.bytes().wrapping_sub(before) > MAX_HEADS => {
            let text = format!("interim answers (1xx) of more than {} KiB came, and no final one", MAX_HEADS / 1024);
            Poll::Ready(Err(AttemptFailure::Protocol(text)))
        }
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Why there is no answer on HTTP/2, and whether the endpoint has surely not processed the request (RFC 9113, 8.7).
fn http2_failure(error: &hyper::Error, broken: Option<&hyper::Error>) -> AttemptFailure {
    let Some(why) = h2_error(error) else {
        // The first is said of a request that found the connection gone, the other of one that waited for it to allow
        // one more: neither was sent.
        return match failure(error, broken) {
            AttemptFailure::Broken(text) if error.is_canceled() || error.is_user() => AttemptFailure::Unprocessed(text),
            other => other,
        };
    };
    match why.reason() {
        Some(h2::Reason::HTTP_1_1_REQUIRED) if why.is_remote() => AttemptFailure::Http1Required,
        Some(h2::Reason::REFUSED_STREAM) if why.is_remote() => AttemptFailure::Unprocessed(with_causes(error)),
        // A GOAWAY is said of those requests alone that are above its last one; others go on.
        _ if why.is_remote() && why.is_go_away() => AttemptFailure::Unprocessed(with_causes(error)),
        _ if why.is_remote() => AttemptFailure::Reset(with_causes(error)),
        // This side ends a stream or a connection on which comes what is no HTTP/2.
        _ if why.is_library() => AttemptFailure::Protocol(with_causes(error)),
        _ => failure(error, broken),
    }
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Why there is no answer. A request that finds its connection gone is told no more than that; the connection was told
/// why.
fn failure(error: &hyper::Error, broken: Option<&hyper::Error>) -> AttemptFailure {
    // The last of these is said of a request that waited for the connection to allow one more.
    let found_it_gone = error.is_closed() || error.is_canceled() || error.is_user();
    // That it could not be shut down is what came of its end.
    match broken.filter(|why| !why.is_shutdown()) {
        Some(why) if found_it_gone => AttemptFailure::Broken(with_causes(why)),
        None if error.is_closed() || error.is_user() => AttemptFailure::Broken("the endpoint closed it".to_owned()),
        // What can't be parsed is the endpoint's fault; all else that goes wrong before a status line is the
        // connection's.
        _ if error.is_parse() => AttemptFailure::Protocol(with_causes(error)),
        _ => AttemptFailure::Broken(with_causes(error)),
    }
}

/// An error's text with those of its causes, which hyper leaves out.
fn with_causes(error: &dyn std::error::Error) -> String {
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
    async fn a_request_that_stays_in_the_queue_of_an_ended_connection_was_not_processed() {
        let (ours, _theirs) = tokio::io::duplex(4096);
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(ours)).await;
        // Nobody polls it, so the queue is neither read nor closed.
        let (sender, _connection) = handshake.unwrap();
        let state = Arc::new(ConnectionState { has_ended: true.into(), ..ConnectionState::default() });
        let opened = ConnectionInfo { peer: None, until: None };
        let mut http2 = Http2 { sender, opened, state, seen: Arc::default() };
        let answer = timeout(Duration::from_secs(5), http2.exchange(Request::new(Body::default()))).await;
        let failure = answer.expect("it does not wait").unwrap_err();
        assert!(matches!(failure, AttemptFailure::Unprocessed(_)), "{failure:?}");
        assert!(!http2.is_ready());
    }
}
