//! Whether more calls came in a second than may come.

use std::time::{Duration, Instant};

/// No shorter time than this may bring a call more than a second may.
///
/// It is short of a second by how long a busy machine may hold up a call, or the receiver that looks at the clock:
/// instances, brokers and the receiver share few cores. What is sent is 1.05 s apart, less the 45 ms by which a call
/// may go out late. Yet one call too many shows where few may come: of three a second, three slots are 1.05 s, and two
/// of them are 0.7 s.
const SHORTEST: Duration = Duration::from_millis(850);

/// When calls came to a path that may have only so many in a second.
pub struct Pace {
    calls_a_second: usize,
    arrivals: Vec<Instant>,
}

/// What was seen of a pace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    pub calls_a_second: usize,
    pub calls: usize,
    /// How many came in the fullest second.
    pub fullest_second: usize,
    /// The shortest time that brought one call more than a second may.
    pub one_more_within: Option<Duration>,
}

impl Pace {
    pub fn new(calls_a_second: usize) -> Self {
        Self { calls_a_second, arrivals: Vec::new() }
    }

    /// Every attempt counts, whatever it is answered.
    pub fn arrived(&mut self, at: Instant) {
        self.arrivals.push(at);
    }

    pub fn seen(&self, path: &str) -> Seen {
        let Self { calls_a_second, .. } = *self;
        let mut arrivals = self.arrivals.clone();
        arrivals.sort();
        let within_a_second = |(from, at): (usize, &Instant)| {
            arrivals[from..].partition_point(|other| *other - *at < Duration::from_secs(1))
        };
        let took = |calls: &[Instant]| calls[calls_a_second] - calls[0];
        Seen {
            path: path.to_owned(),
            calls_a_second,
            calls: arrivals.len(),
            fullest_second: arrivals.iter().enumerate().map(within_a_second).max().unwrap_or(0),
            one_more_within: arrivals.windows(calls_a_second + 1).map(took).min(),
        }
    }
}

impl Seen {
    pub fn is_too_fast(&self) -> bool {
        self.one_more_within.is_some_and(|time| time < SHORTEST)
    }

    /// Whether calls ever came as fast as they may: a pace that nothing presses for shows nothing.
    pub fn is_full(&self) -> bool {
        self.fullest_second >= self.calls_a_second
    }
}

#[test]
fn one_call_too_many_is_seen() {
    let start = Instant::now();
    let seen = |offsets: &[u64]| {
        let mut pace = Pace::new(3);
        offsets.iter().for_each(|ms| pace.arrived(start + Duration::from_millis(*ms)));
        pace.seen("/a")
    };
    let even = seen(&[0, 350, 700, 1050, 2100, 2450, 1750, 1400]);
    assert_eq!((even.calls, even.fullest_second), (8, 3));
    assert_eq!(even.one_more_within, Some(Duration::from_millis(1050)), "in whatever order they are told");
    assert!(!even.is_too_fast() && even.is_full());
    let held_up = seen(&[100, 350, 700, 1050]);
    assert!(!held_up.is_too_fast(), "the machine was busy: {held_up:?}");
    assert_eq!(held_up.fullest_second, 4, "but it is told");
    let one_more = seen(&[0, 350, 700, 700, 1050]);
    assert!(one_more.is_too_fast(), "a slot was used twice: {one_more:?}");
    let few = seen(&[0, 900]);
    assert!(!few.is_full() && few.one_more_within.is_none());
}
