//! The receiving end: answers every POST with 200 and counts it. `GET /` returns the count and the seconds between
//! the first and the last POST.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

#[derive(Default)]
struct Seen {
    count: u64,
    first: Option<Instant>,
    last: Option<Instant>,
}

static SEEN: Mutex<Seen> = Mutex::new(Seen { count: 0, first: None, last: None });

/// Serves on a free port, which it prints, until it is killed.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("a bound address").port());
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("nodelay");
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
}

async fn answer(request: Request<hyper::body::Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::GET {
        let seen = SEEN.lock().expect("nothing panics while it is held");
        let seconds = match (seen.first, seen.last) {
            (Some(first), Some(last)) => last.duration_since(first).as_secs_f64(),
            _ => 0.0,
        };
        return Ok(Response::new(Full::from(format!("{} {seconds}", seen.count))));
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes());
    if body.is_ok_and(|body| body.len() > 400) {
        let mut seen = SEEN.lock().expect("nothing panics while it is held");
        seen.count += 1;
        let now = Instant::now();
        seen.first.get_or_insert(now);
        seen.last = Some(now);
    }
    Ok(Response::new(Full::default()))
}
