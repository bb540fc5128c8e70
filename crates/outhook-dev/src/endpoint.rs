//! An HTTP server for messages: takes POSTs and answers each with the status that `judge` returns.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use standardwebhooks::{HEADER_WEBHOOK_TIMESTAMP, Webhook, WebhookError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Max concurrent connections.
const CONNECTIONS: usize = 1000;
/// Timeout of a request head and of a body, and idle timeout of a connection. It is longer than Outhook keeps an idle
/// connection.
const ARRIVAL: Duration = Duration::from_secs(60);
/// Pause after a failed accept. The cause may be the limit of open files, and then the next accept would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A received message.
pub struct Posted {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Posted {
    /// Verifies the signature.
    ///
    /// # Errors
    /// The signature does not match the verifier's secret, or its time is not recent.
    pub fn verify(&self, verifier: &Webhook) -> Result<(), WebhookError> {
        // The library does arithmetic on the timestamp before it checks the signature, and a negative one could
        // overflow.
        let time = self.headers.get(HEADER_WEBHOOK_TIMESTAMP).and_then(|time| time.to_str().ok());
        if time.is_some_and(|time| time.starts_with('-')) {
            return Err(WebhookError::InvalidTimestamp);
        }
        verifier.verify(&self.body, &self.headers)
    }
}

/// Serves connections until the future is dropped. A body may have `max_bytes`.
pub async fn serve<J>(listener: TcpListener, max_bytes: usize, judge: J) -> Infallible
where
    J: Fn(&Posted) -> StatusCode + Send + Sync + 'static,
{
    let (judge, permits) = (Arc::new(judge), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, max_bytes, judge.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the receiver could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<J: Fn(&Posted) -> StatusCode>(stream: TcpStream, max_bytes: usize, judge: Arc<J>) {
    // An error only delays answers.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, max_bytes, judge.as_ref()));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(ARRIVAL);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the receiver ended");
    }
}

async fn answer<J: Fn(&Posted) -> StatusCode>(
    request: Request<Incoming>,
    max_bytes: usize,
    judge: &J,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (request, body) = request.into_parts();
    let status = if request.method != Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if let Ok(Ok(body)) = timeout(ARRIVAL, Limited::new(body, max_bytes).collect()).await {
        let (path, headers, body) = (request.uri.path().to_owned(), request.headers, body.to_bytes());
        judge(&Posted { path, headers, body })
    } else {
        StatusCode::BAD_REQUEST
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}
