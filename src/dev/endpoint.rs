//! An endpoint for messages: an HTTP server that takes POSTs and answers each with the status that its judge gives.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use crate::render::MAX_MESSAGE_BYTES;

/// A message as it came.
pub(crate) struct Posted {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Serves connections until it is dropped.
pub(crate) async fn serve<J>(listener: TcpListener, judge: J)
where
    J: Fn(&Posted) -> StatusCode + Send + Sync + 'static,
{
    let judge = Arc::new(judge);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, judge.clone()))),
            Err(error) => tracing::warn!(%error, "the receiver could not accept a connection"),
        }
    }
}

async fn connection<J: Fn(&Posted) -> StatusCode>(stream: TcpStream, judge: Arc<J>) {
    // Where it fails, answers come later; nothing else depends on it.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| answer(request, judge.as_ref()));
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to the receiver ended");
    }
}

async fn answer<J: Fn(&Posted) -> StatusCode>(
    request: Request<Incoming>,
    judge: &J,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (request, body) = request.into_parts();
    let status = if request.method != Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else if let Ok(body) = Limited::new(body, MAX_MESSAGE_BYTES).collect().await {
        let (path, headers, body) = (request.uri.path().to_owned(), request.headers, body.to_bytes());
        judge(&Posted { path, headers, body })
    } else {
        StatusCode::BAD_REQUEST
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}
