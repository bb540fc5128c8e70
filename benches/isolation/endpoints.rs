//! The endpoints: healthy ones on one port, which count messages and measure latency, and those in trouble on
//! another.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

/// What is wrong with the endpoints on the second port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// They accept no connections.
    Refuses,
    /// They accept the request and never answer.
    Hangs,
    /// They answer one byte per second.
    Trickles,
    /// They work, but each answer takes 200 ms.
    Slow,
}

/// What the healthy endpoints got so far. Latencies are from the producer, of messages sent after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// All messages, and distinct messages.
    pub count: usize,
    pub distinct: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub longest: Duration,
}

#[derive(Default)]
struct Seen {
    numbers: HashSet<u64>,
    repeated: usize,
    /// When the first of them was sent.
    began: Option<u64>,
    micros: Vec<u64>,
}

/// Accept queue, as large as that of ninety machines together: with less, a burst to all of them would be refused.
const BACKLOG: u32 = 4096;

/// Microseconds for the first connections of the producer, the group and a hundred endpoints.
const WARM_UP: u64 = 1_000_000;

static RECOVERED: Notify = Notify::const_new();

static SEEN: Mutex<Option<Seen>> = Mutex::new(None);

/// Answer time of a slow endpoint.
const SLOW: Duration = Duration::from_millis(200);

/// Whether answered messages of the second port count too. They do not if the healthy endpoints are measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Sound,
    All,
}

/// Serves on two free ports, which it prints, until it is killed.
pub fn run(trouble: Trouble, counted: Counted) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let sound = free_socket().listen(BACKLOG).expect("a bound socket can listen");
        let socket = free_socket();
        let port = |address: std::io::Result<std::net::SocketAddr>| address.expect("a bound address").port();
        println!("{} {}", port(sound.local_addr()), port(socket.local_addr()));
        let of_troubled = counted == Counted::All;
        tokio::join!(serve(&sound, Trouble::None, true), async {
            // Until a bound socket listens, connections to it are refused.
            if trouble == Trouble::Refuses {
                RECOVERED.notified().await;
            }
            let troubled = socket.listen(BACKLOG).expect("a bound socket can listen");
            if trouble != Trouble::Refuses {
                tokio::select! {
                    () = serve(&troubled, trouble, of_troubled) => {}
                    () = RECOVERED.notified() => {}
                }
            }
            serve(&troubled, Trouble::None, of_troubled).await;
        });
    });
}

fn free_socket() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    socket
}

async fn serve(listener: &TcpListener, trouble: Trouble, counts: bool) {
    let wait = if trouble == Trouble::Slow { SLOW } else { Duration::ZERO };
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("nodelay");
        match trouble {
            Trouble::None | Trouble::Refuses | Trouble::Slow => {
                let service = service_fn(move |request| answer(request, counts, wait));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
            Trouble::Hangs => drop(tokio::spawn(hang(stream))),
            Trouble::Trickles => drop(tokio::spawn(trickle(stream))),
        }
    }
}

async fn hang(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

async fn trickle(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    let _ = stream.read(&mut buffer).await;
    for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
    }
}

async fn answer(request: Request<Incoming>, counts: bool, wait: Duration) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::GET {
        if request.uri().path() == "/recover" {
            RECOVERED.notify_one();
        }
        return Ok(Response::new(Full::from(report().to_string())));
    }
    let body = request.into_body().collect().await;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    if let Ok(body) = body
        && counts
    {
        note(&body.to_bytes());
    }
    Ok(Response::new(Full::default()))
}

fn note(body: &[u8]) {
    let now = now_micros();
    let message: serde_json::Value = serde_json::from_slice(body).expect("a message is JSON");
    let row = &message["data"][0];
    let number = |name: &str| row[name].as_u64().expect("a row has its number and its moment");
    let mut seen = SEEN.lock().expect("nothing panics while it is held");
    let seen = seen.get_or_insert_default();
    if seen.numbers.insert(number("id")) {
        if number("sent") >= *seen.began.get_or_insert(number("sent")) + WARM_UP {
            seen.micros.push(now.saturating_sub(number("sent")));
        }
    } else {
        seen.repeated += 1;
    }
}

fn report() -> Report {
    let mut seen = SEEN.lock().expect("nothing panics while it is held");
    let seen = seen.get_or_insert_default();
    let mut micros = seen.micros.clone();
    micros.sort_unstable();
    let part = |part: f64| {
        let place = ((micros.len() as f64 * part) as usize).min(micros.len().saturating_sub(1));
        Duration::from_micros(micros.get(place).copied().unwrap_or(0))
    };
    let distinct = seen.numbers.len();
    let count = distinct + seen.repeated;
    Report { count, distinct, p50: part(0.5), p99: part(0.99), longest: part(1.0) }
}

/// Microseconds since 1970: all processes of a machine share a clock.
pub fn now_micros() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since_1970| since_1970.as_micros() as u64)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = [self.p50, self.p99, self.longest].map(|latency| latency.as_micros());
        write!(f, "{} {} {} {} {}", self.count, self.distinct, micros[0], micros[1], micros[2])
    }
}

impl FromStr for Report {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let number = |place: usize| numbers.get(place).copied().unwrap_or(0);
        let [p50, p99, longest] = [2, 3, 4].map(|place| Duration::from_micros(number(place)));
        Ok(Self { count: number(0) as usize, distinct: number(1) as usize, p50, p99, longest })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Refuses => "refuses",
            Self::Hangs => "hangs",
            Self::Trickles => "trickles",
            Self::Slow => "slow",
        })
    }
}

impl FromStr for Trouble {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::None, Self::Refuses, Self::Hangs, Self::Trickles, Self::Slow];
        all.into_iter()
            .find(|trouble| trouble.to_string() == text)
            .ok_or_else(|| format!("unknown kind of trouble: {text}"))
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::All { "all" } else { "sound" })
    }
}

impl FromStr for Counted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let both = [Self::Sound, Self::All];
        both.into_iter().find(|counted| counted.to_string() == text).ok_or_else(|| format!("unknown choice: {text}"))
    }
}
