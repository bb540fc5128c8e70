//! A connection to an endpoint, and one request on it.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};

use super::failure::Failure;

pub(super) type Body = Full<Bytes>;

/// An open connection. One of HTTP/1.1 belongs to one worker; one of HTTP/2 is shared by the lane's workers.
pub(super) enum Connection {
    Http1(Http1),
    Http2(Http2),
}

/// An HTTP/2 connection; every clone is the same one.
#[derive(Clone)]
pub(super) struct Http2 {
    pub sender: http2::SendRequest<Body>,
    pub peer: Option<SocketAddr>,
}

/// An HTTP/1.1 connection that is driven by the task which uses it: an answer wakes one task, not two, and a
/// connection dies with its worker.
pub(super) struct Http1 {
    sender: http1::SendRequest<Body>,
    driver: Driver,
    peer: Option<SocketAddr>,
}

/// None when the connection is closed.
struct Driver(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Http1 {
    pub fn new(
        sender: http1::SendRequest<Body>,
        connection: impl Future<Output = hyper::Result<()>> + Send + 'static,
        peer: Option<SocketAddr>,
    ) -> Self {
        // Why a connection ended is told to the request on it; on an idle one it matters to nobody.
        let connection = async { drop(connection.await) };
        Self { sender, driver: Driver(Some(Box::pin(connection))), peer }
    }
}

impl Driver {
    /// Awaits the work while the connection makes progress.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Some(connection) = &mut self.0
                && connection.as_mut().poll(context).is_ready()
            {
                self.0 = None;
            }
            work.as_mut().poll(context)
        })
        .await
    }
}

impl Connection {
    /// What was dialled: with a proxy between, the proxy.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Connection::Http1(http1) => http1.peer,
            Connection::Http2(http2) => http2.peer,
        }
    }

    /// Whether another request can be sent now.
    pub async fn is_ready(&mut self) -> bool {
        match self {
            Connection::Http1(Http1 { sender, driver, .. }) => {
                driver.beside(async {}).await;
                driver.0.is_some() && sender.is_ready()
            }
            Connection::Http2(http2) => !http2.sender.is_closed(),
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
    /// [`Failure::Broken`] when the connection closed before an answer began, [`Failure::Protocol`] when what
    /// came is no answer.
    pub async fn exchange(&mut self, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        let answer = match self {
            Connection::Http1(Http1 { sender, driver, .. }) => {
                driver.beside(sender.ready()).await.map_err(|error| failure(&error))?;
                let answer = sender.send_request(request);
                driver.beside(answer).await
            }
            Connection::Http2(http2) => http2.sender.send_request(request).await,
        };
        answer.map_err(|error| failure(&error))
    }
}

fn failure(error: &hyper::Error) -> Failure {
    let text = with_causes(error);
    // What can't be parsed is the endpoint's fault; all else that goes wrong before a status line is the
    // connection's.
    if error.is_parse() || error.is_parse_status() || error.is_parse_too_large() {
        Failure::Protocol(text)
    } else {
        Failure::Broken(text)
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
