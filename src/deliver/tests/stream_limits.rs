//! Limits of concurrent requests on an HTTP/2 connection: servers that announce a limit late, or lower it later. They
//! refuse requests above it (RFC 9113, 5.1.2).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::super::Config;
use super::calls::{Heard, config, target};
use super::http2::{ACK, DATA, END_HEADERS, Frame, HEADERS, PING, RST_STREAM, SETTINGS, STATUS_200};
use super::http2::{file, frame, read_frame, read_preface};
use super::tls::Authority;

/// Time between two responses on a connection.
const TICK: Duration = Duration::from_millis(2);
/// Ticks from the first request to a late limit.
const LATE: usize = 50;

/// Limit of concurrent requests on a connection.
#[derive(Clone, Copy)]
enum Limit {
    Told(usize),
    /// Announced late. Before that nothing is answered.
    Late(usize),
    /// No limit until `at` requests are under way.
    Lowered {
        at: usize,
        to: usize,
    },
}

/// What happened to a connection's requests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Counts {
    answered: usize,
    refused: usize,
    /// Refused requests that arrived after the client had acknowledged the limit.
    against_the_limit: usize,
}

/// The server's side of a connection.
struct Served {
    limit: Limit,
    /// The announced limit.
    most: Option<usize>,
    /// The client has acknowledged the limit.
    is_known: bool,
    /// Complete requests without a response yet.
    open: VecDeque<u32>,
    ticks: usize,
    counts: Counts,
}

impl Served {
    fn new(limit: Limit) -> Self {
        Self { limit, most: None, is_known: false, open: VecDeque::new(), ticks: 0, counts: Counts::default() }
    }

    /// The first frames to send.
    fn begin(&mut self) -> Vec<u8> {
        match self.limit {
            Limit::Told(most) => self.tell(most),
            Limit::Late(_) => vec![],
            Limit::Lowered { .. } => frame(SETTINGS, 0, 0, &[]),
        }
    }

    /// Announces a limit, and refuses the requests above it.
    fn tell(&mut self, most: usize) -> Vec<u8> {
        /// The id of the setting (RFC 9113, 6.5.2).
        const MAX_CONCURRENT_STREAMS: u16 = 3;
        (self.most, self.is_known) = (Some(most), false);
        let setting = [&MAX_CONCURRENT_STREAMS.to_be_bytes()[..], &(most as u32).to_be_bytes()].concat();
        [frame(SETTINGS, 0, 0, &setting), self.refuse()].concat()
    }

    fn refuse(&mut self) -> Vec<u8> {
        let reason = u32::from(h2::Reason::REFUSED_STREAM).to_be_bytes();
        let above = self.open.split_off(self.most.unwrap_or(usize::MAX).min(self.open.len()));
        self.counts.refused += above.len();
        self.counts.against_the_limit += if self.is_known { above.len() } else { 0 };
        above.into_iter().flat_map(|stream| frame(RST_STREAM, 0, stream, &reason)).collect()
    }

    /// Handles a frame. Returns the frames to send.
    fn came(&mut self, came: Frame) -> Vec<u8> {
        match came.kind {
            SETTINGS if came.flags & ACK != 0 => {
                self.is_known = self.most.is_some();
                vec![]
            }
            SETTINGS => frame(SETTINGS, ACK, 0, &[]),
            PING if came.flags & ACK == 0 => frame(PING, ACK, 0, &came.payload),
            HEADERS | DATA if came.flags & ACK != 0 => {
                self.open.push_back(came.stream);
                match self.limit {
                    Limit::Lowered { at, to } if self.most.is_none() && self.open.len() == at => self.tell(to),
                    _ => self.refuse(),
                }
            }
            _ => vec![],
        }
    }

    /// Returns the frames to send at a tick.
    fn tick(&mut self) -> Vec<u8> {
        if let Limit::Late(most) = self.limit
            && self.most.is_none()
        {
            self.ticks += usize::from(!self.open.is_empty());
            return if self.ticks == LATE { self.tell(most) } else { vec![] };
        }
        let Some(stream) = self.open.pop_front() else { return vec![] };
        self.counts.answered += 1;
        frame(HEADERS, ACK | END_HEADERS, stream, &[STATUS_200])
    }
}

struct Server {
    address: SocketAddr,
    authority: NamedTempFile,
    connections: Arc<Mutex<Vec<Arc<Mutex<Served>>>>>,
}

impl Server {
    /// `limit` returns the limit of the n-th connection, counted from 0.
    async fn start(limit: impl Fn(usize) -> Limit + Send + 'static) -> Self {
        let authority = Authority::new();
        let acceptor = authority.serves(&["h2"], None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Mutex<Vec<_>>>::default();
        let opened = connections.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                let stream = acceptor.accept(tcp).await.unwrap();
                let served = Arc::new(Mutex::new(Served::new(limit(number))));
                opened.lock().unwrap().push(served.clone());
                // The client decides how it ends.
                tokio::spawn(async move { drop(serve(stream, &served).await) });
            }
        });
        Self { address, authority: file(&authority), connections }
    }

    /// Delivers this many calls, each in its only attempt. Returns the counts of each connection.
    async fn takes(&self, calls: u32) -> Vec<Counts> {
        let (ca_file, queue_wait) = (Some(self.authority.path().to_owned()), Duration::from_secs(60));
        let mut heard = Heard::new(Config { ca_file, retry: vec![], queue_wait, ..config() });
        heard.offer_all(&target(&format!("https://{}/", self.address)), 0..calls).await;
        for _ in 0..calls {
            assert_eq!(heard.delivered().await, 1);
        }
        self.connections.lock().unwrap().iter().map(|served| served.lock().unwrap().counts.clone()).collect()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    served: &Mutex<Served>,
) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    read_preface(&mut reader).await?;
    let (frames, mut came) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok(frame) = read_frame(&mut reader).await
            && frames.send(frame).await.is_ok()
        {}
    });
    let mut ticks = interval(TICK);
    let mut answer = served.lock().unwrap().begin();
    loop {
        writer.write_all(&answer).await?;
        writer.flush().await?;
        answer = tokio::select! {
            frame = came.recv() => match frame {
                Some(frame) => served.lock().unwrap().came(frame),
                None => return Ok(()),
            },
            _ = ticks.tick() => served.lock().unwrap().tick(),
        };
    }
}

#[tokio::test]
async fn late_stream_limit_is_respected_from_the_first_request() {
    const CALLS: u32 = 200;
    for most in [1, 2] {
        let server = Server::start(move |_| Limit::Late(most)).await;
        let all = Counts { answered: CALLS as usize, ..Counts::default() };
        assert_eq!(server.takes(CALLS).await, [all], "at most {most}");
    }
}

#[tokio::test]
async fn requests_refused_by_a_lowered_limit_are_resent_in_the_same_attempt() {
    const CALLS: u32 = 500;
    let lowered = Limit::Lowered { at: 12, to: 2 };
    let server = Server::start(move |number| if number == 0 { lowered } else { Limit::Told(2) }).await;
    let connections = server.takes(CALLS).await;
    let answered: usize = connections.iter().map(|counts| counts.answered).sum();
    assert_eq!(answered, CALLS as usize, "{connections:?}");
    let [first, second] = &connections[..] else { panic!("{connections:?}") };
    assert!(first.refused >= 10 && first.against_the_limit == 0, "{first:?}");
    assert_eq!(second.refused, 0, "{second:?}");
}
