//! Connects to the first address of a name that answers (RFC 8305, "Happy Eyeballs"), so that a dead one costs little.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// Time for which an address is tried alone before the next one is tried in parallel (RFC 8305, 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Why none of the addresses was reached.
pub(in crate::deliver) enum ConnectError<E> {
    /// All failed. Holds the last failure.
    Failed(E),
    /// The deadline passed. Holds an address that was tried and had not answered; there may be others.
    NoAnswer(SocketAddr),
}

/// Connects to the first address that answers before the deadline. The next address is tried when one has failed, or
/// has not answered for a while. When one is reached, the other attempts are dropped.
///
/// # Errors
/// No address was reached.
///
/// # Panics
/// `addresses` is empty.
pub(in crate::deliver) async fn connect_first<T, E, F>(
    addresses: Vec<SocketAddr>,
    deadline: Instant,
    reach: impl Fn(SocketAddr) -> F,
) -> Result<T, ConnectError<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut left = interleave_families(addresses).into_iter();
    let mut under_way: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    loop {
        if let Some(address) = left.next() {
            under_way.push((address, Box::pin(reach(address))));
        }
        let alone = Instant::now() + ATTEMPT_DELAY;
        let until = if left.len() == 0 { deadline } else { deadline.min(alone) };
        match timeout_at(until, next_finished(&mut under_way)).await {
            Ok(Ok(reached)) => return Ok(reached),
            Ok(Err(failure)) if under_way.is_empty() && left.len() == 0 => return Err(ConnectError::Failed(failure)),
            Ok(Err(_)) => {}
            Err(_) if until == deadline => return Err(ConnectError::NoAnswer(under_way[0].0)),
            Err(_) => {}
        }
    }
}

/// Awaits the first attempt that ends, and removes it.
async fn next_finished<T, F: Future<Output = T>>(under_way: &mut Vec<(SocketAddr, Pin<Box<F>>)>) -> T {
    poll_fn(|context| {
        for index in 0..under_way.len() {
            if let Poll::Ready(ended) = under_way[index].1.as_mut().poll(context) {
                under_way.remove(index);
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

/// In the resolver's order, but alternating between IPv6 and IPv4 (RFC 8305, 4): if one family does not work, the
/// second address is of the other.
fn interleave_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first = addresses.first().map(SocketAddr::is_ipv4);
    let (first_family, other_family): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| Some(address.is_ipv4()) == is_first);
    let (mut first_family, mut other_family) = (first_family.into_iter(), other_family.into_iter());
    let mut all = Vec::with_capacity(first_family.len() + other_family.len());
    while first_family.len() + other_family.len() > 0 {
        all.extend(first_family.next());
        all.extend(other_family.next());
    }
    all
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn address_families_alternate() {
        let given = addresses(&["[2001:db8::1]:1", "[2001:db8::2]:1", "1.1.1.1:1", "[2001:db8::3]:1"]);
        let expected = addresses(&["[2001:db8::1]:1", "1.1.1.1:1", "[2001:db8::2]:1", "[2001:db8::3]:1"]);
        assert_eq!(interleave_families(given), expected);
        assert_eq!(interleave_families(Vec::new()), []);
    }

    #[tokio::test]
    async fn unresponsive_address_costs_little_time() {
        let both = addresses(&["1.1.1.1:1", "1.1.1.2:1"]);
        let (started, dead) = (Instant::now(), both[0]);
        let reach = |address| async move { if address == dead { pending().await } else { Ok::<_, ()>(address) } };
        let reached = connect_first(both.clone(), started + Duration::from_secs(60), reach).await.ok();
        assert_eq!(reached, Some(both[1]));
        let took = started.elapsed();
        assert!(took >= ATTEMPT_DELAY && took < ATTEMPT_DELAY * 20, "{took:?}");
    }

    #[tokio::test]
    async fn failing_addresses_cost_no_delay_and_the_last_failure_is_returned() {
        let (started, tried) = (Instant::now(), Cell::new(0));
        let reach = |address| {
            tried.set(tried.get() + 1);
            ready(Err::<(), _>(address))
        };
        let all = addresses(&["1.1.1.1:1", "1.1.1.2:1", "1.1.1.3:1"]);
        let Err(ConnectError::Failed(last)) =
            connect_first(all.clone(), started + Duration::from_secs(60), reach).await
        else {
            panic!("it was reached")
        };
        assert_eq!((last, tried.get()), (all[2], 3));
        assert!(started.elapsed() < ATTEMPT_DELAY, "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn deadline_ends_all_connects() {
        let both = addresses(&["1.1.1.1:1", "1.1.1.2:1"]);
        let reach = |_| pending::<Result<(), ()>>();
        let unreached = connect_first(both.clone(), Instant::now() + Duration::from_millis(20), reach).await;
        assert!(matches!(unreached, Err(ConnectError::NoAnswer(address)) if address == both[0]));
    }
}
