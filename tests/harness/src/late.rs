//! A TCP proxy that delays the bytes of its clients.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::Duration;

/// Starts a proxy to `port` and returns the proxy's port. Each chunk to `port` is delayed by a pseudorandom time in
/// the range. Bytes back are passed on immediately. The proxy runs until the process ends.
pub fn heard_late(port: u16, late: Range<Duration>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let own = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
            let pair = client.try_clone().and_then(|back| Ok((back, server.try_clone()?)));
            let Ok((client_again, server_again)) = pair else { continue };
            let late = late.clone();
            thread::spawn(move || pass(client, server, move |piece| thread::sleep(within(&late, piece))));
            thread::spawn(move || pass(server_again, client_again, |_| ()));
        }
    });
    own
}

/// Copies until one side has ended.
fn pass(mut from: TcpStream, mut to: TcpStream, before: impl Fn(u64)) {
    let _ = to.set_nodelay(true);
    let mut copy = || -> io::Result<()> {
        let mut buffer = [0; 64 * 1024];
        for piece in 0.. {
            let read = from.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            before(piece);
            to.write_all(&buffer[..read])?;
        }
        Ok(())
    };
    // Closes the other side, whichever side has gone.
    let _ = copy();
    let _ = to.shutdown(Shutdown::Write);
}

fn within(range: &Range<Duration>, number: u64) -> Duration {
    let micros = u64::try_from((range.end - range.start).as_micros()).unwrap_or(u64::MAX).max(1);
    let chance = BuildHasherDefault::<DefaultHasher>::new().hash_one(number);
    range.start + Duration::from_micros(chance % micros)
}
