//! The process that runs the endpoints, one port each.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

use crate::knee::Knee;
use crate::spec::{Endpoint, Report, Taken, Trouble};

/// Accept queue of a port: a burst must not be refused.
const BACKLOG: u32 = 4096;

/// Serves until it is killed. Prints its ports: first the port of reports, then one per endpoint.
pub fn run(endpoints: &str) {
    let endpoints: Vec<Endpoint> = serde_json::from_str(endpoints).expect("the bench describes endpoints");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (recover, recovered) = watch::channel(false);
        let control = free_socket();
        let sockets: Vec<_> = endpoints.iter().map(|_| free_socket()).collect();
        let all = std::iter::once(&control).chain(&sockets);
        let ports: Vec<_> = all.map(|socket| socket.local_addr().expect("bound").port().to_string()).collect();
        let desk = Arc::new(Desk(Mutex::new(Books::new(&endpoints))));
        for (number, (socket, endpoint)) in sockets.into_iter().zip(endpoints).enumerate() {
            if endpoint.trouble == Trouble::Away {
                tokio::spawn(serve_late(socket, number, desk.clone(), recovered.clone()));
            } else {
                tokio::spawn(serve(listen(socket), number, desk.clone()));
            }
        }
        let control = listen(control);
        // Printed last: a reader of the ports may connect immediately.
        println!("{}", ports.join(" "));
        control_on(control, &desk, &recover).await;
    });
}

fn free_socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    socket
}

fn listen(socket: TcpSocket) -> TcpListener {
    socket.listen(BACKLOG).expect("a bound socket can listen")
}

/// Listens only after `recovered`. Until a bound socket listens, connections to it are refused.
async fn serve_late(socket: TcpSocket, number: usize, desk: Arc<Desk>, mut recovered: watch::Receiver<bool>) {
    let _ = recovered.wait_for(|recovered| *recovered).await;
    serve(listen(socket), number, desk).await;
}

async fn serve(listener: TcpListener, number: usize, desk: Arc<Desk>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("nodelay");
        let desk = desk.clone();
        let service = service_fn(move |request| answer(request, number, desk.clone()));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    number: usize,
    desk: Arc<Desk>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // A body that ends early does not count: its client was killed while sending.
    let Ok(body) = request.into_body().collect().await else { return Ok(Response::new(Full::default())) };
    let id = id(&body.to_bytes());
    let (mut due, refuses) = desk.books().arrive(number, id);
    // A request that was in service when a stall began is answered after the stall, too.
    while let Some(wait) = due.checked_sub(now()).filter(|wait| !wait.is_zero()) {
        tokio::time::sleep(wait).await;
        due = desk.books().endpoints[number].knee.awake(due);
    }
    desk.books().answered(number, id, refuses);
    let status = if refuses { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT };
    Ok(Response::builder().status(status).body(Full::default()).expect("a status and nothing else"))
}

async fn control_on(listener: TcpListener, desk: &Arc<Desk>, recover: &watch::Sender<bool>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let (desk, recover) = (desk.clone(), recover.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            if request.uri().path() == "/recover" {
                desk.books().recovered = Some(now());
                recover.send_replace(true);
            }
            let report = serde_json::to_string(&desk.books().report()).expect("a report is JSON");
            async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(report))) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// The row number in a message.
fn id(body: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Message {
        data: [Row; 1],
    }
    #[derive(Deserialize)]
    struct Row {
        id: u64,
    }
    serde_json::from_slice::<Message>(body).expect("a message has a row with its number").data[0].id
}

/// Time since 1970.
fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().expect("it is later than 1970")
}

/// Shared state of all endpoints.
struct Desk(Mutex<Books>);

impl Desk {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

/// Requests and answers of all endpoints.
struct Books {
    endpoints: Vec<Book>,
    recovered: Option<Duration>,
    /// Times of first answers to a message, in order.
    answers: Vec<u64>,
    before_well: usize,
}

struct Book {
    trouble: Trouble,
    knee: Knee,
    requests: usize,
    /// Messages that arrived and were not refused, and those of them that were answered.
    came: HashSet<u64>,
    answered: HashSet<u64>,
    taken: Taken,
}

impl Books {
    fn new(endpoints: &[Endpoint]) -> Self {
        let book = |endpoint: &Endpoint| Book {
            trouble: endpoint.trouble,
            knee: Knee::new(endpoint.delay, endpoint.at_once),
            requests: 0,
            came: HashSet::new(),
            answered: HashSet::new(),
            taken: Taken::default(),
        };
        let endpoints = endpoints.iter().map(book).collect();
        Self { endpoints, recovered: None, answers: Vec::new(), before_well: 0 }
    }

    /// Admits a request now; returns when to answer it, and whether with 503.
    fn arrive(&mut self, number: usize, id: u64) -> (Duration, bool) {
        let now = now();
        let book = &mut self.endpoints[number];
        if let (None, Trouble::Stalls { after, lasting }) = (book.taken.first, book.trouble) {
            book.knee.stall(now + after, now + after + lasting);
        }
        let first = *book.taken.first.get_or_insert(micros(now));
        book.requests += 1;
        let due = book.knee.admit(now);
        if let Trouble::Unavailable { lasting } = book.trouble
            && now < Duration::from_micros(first) + lasting
        {
            self.before_well = self.answers.len();
            if book.requests.is_multiple_of(10) {
                return (due, true);
            }
        }
        book.taken.repeated += usize::from(!book.came.insert(id));
        (due, false)
    }

    fn answered(&mut self, number: usize, id: u64, refuses: bool) {
        let taken = &mut self.endpoints[number].taken;
        if refuses {
            taken.refused += 1;
        } else if self.endpoints[number].answered.insert(id) {
            let now = micros(now());
            let taken = &mut self.endpoints[number].taken;
            taken.distinct += 1;
            taken.last = Some(now);
            self.answers.push(now);
        }
    }

    fn report(&self) -> Report {
        let at = |place: usize| self.answers.get(place).or(self.answers.last()).copied().unwrap_or(0);
        Report {
            endpoints: self.endpoints.iter().map(|book| book.taken).collect(),
            recovered: self.recovered.map(micros),
            second: at(1),
            half: at(self.answers.len() / 2),
            nearly_all: at(self.answers.len() * 99 / 100),
            before_well: self.before_well,
        }
    }
}

fn micros(since_1970: Duration) -> u64 {
    since_1970.as_micros() as u64
}
