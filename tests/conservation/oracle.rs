//! Compares the requests and dead letters with the expected calls.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use harness::pace::{Pace, Seen};
use harness::{Request, Signature, Stored};
use jiff::Timestamp;
use serde_json::Value;

use crate::crashes::{Again, Crash};
use crate::permanent_webhooks::{Resident, row_of};
use crate::verdict::Verdict;

/// One call for the oracle: a path, and the row change that is sent to it.
pub type Call<'a> = (&'a str, usize);

/// Records all requests and all dead letters. A long run has millions of them, so the oracle keeps only a few values
/// of each.
#[derive(Default)]
pub struct Oracle {
    paths: HashMap<String, Path>,
    delivered: usize,
    dead_letters: usize,
    badly_signed: usize,
    out_of_order: Vec<Behind>,
    causeless: usize,
    uncalled_for: Vec<String>,
    crashes: Vec<Crash>,
}

/// The expectation for a path, and its requests.
#[derive(Default)]
struct Path {
    table: &'static str,
    silent: bool,
    /// Returns the row of a change. Set if the path expects row order.
    row_of: Option<fn(usize) -> usize>,
    /// The newest change that has arrived, and when, by row.
    newest: HashMap<usize, (usize, Instant)>,
    /// Set if the path has a limit of calls per second.
    pace: Option<Pace>,
    /// The calls that were seen, by row change.
    heard: HashMap<usize, Heard>,
    /// The calls that were delivered more than once, by row change.
    again: HashMap<usize, Again>,
    delivered: usize,
    /// Delivered or dead-lettered.
    settled: usize,
}

/// A call that arrived for the first time after a call of a later change of its row.
struct Behind {
    path: String,
    change: usize,
    made: Instant,
    at: Instant,
    newest: (usize, Instant),
}

/// State of one call.
struct Heard {
    /// A hash of the message id.
    message: u64,
    /// Number of successful attempts.
    taken: u32,
    /// Time of the first success.
    first: Option<Instant>,
    came: bool,
    /// Number of dead letters.
    letters: u32,
    /// When the first dead letter was written.
    dead_lettered: Option<Instant>,
    renamed: bool,
}

impl Oracle {
    /// Allows inserts of a table on a path from now on.
    pub fn expect(&mut self, path: &str, table: &'static str) {
        self.paths.insert(path.to_owned(), Path { table, ..Path::default() });
    }

    /// Allows the messages of a permanent webhook, and checks its row order and its pace.
    pub fn expect_resident(&mut self, resident: &Resident) {
        self.expect(resident.path, resident.table);
        let path = self.path(resident.path);
        path.row_of = resident.in_row_order.then_some(row_of);
        path.pace = resident.calls_a_second.map(Pace::new);
    }

    /// Allows no further requests to a path.
    pub fn silence(&mut self, path: &str) {
        self.path(path).silent = true;
    }

    fn path(&mut self, path: &str) -> &mut Path {
        self.paths.get_mut(path).expect("the path was announced by `expect`")
    }

    pub fn arrived(&mut self, request: &Request) {
        let message: Value = serde_json::from_slice(&request.body).expect("a message's body is JSON");
        let change = change_of(&message);
        self.badly_signed += usize::from(request.signature != Signature::Good);
        let Some(path) = self.paths.get_mut(&request.path) else {
            return self.uncalled_for.push(format!("{} got {change}: {}", request.path, message["objectName"]));
        };
        if path.silent {
            self.uncalled_for.push(format!("{} got {change}, too late", request.path));
        } else if message["objectName"] != path.table {
            self.uncalled_for.push(format!("{} got {change}: {}", request.path, message["objectName"]));
        }
        if let Some(pace) = &mut path.pace {
            pace.arrived(request);
        }
        let heard = path.hear(change, &request.message_id);
        let is_first = !std::mem::replace(&mut heard.came, true);
        if request.answer.is_success() {
            heard.taken += 1;
            let first = *heard.first.get_or_insert(request.at);
            if heard.taken > 1 {
                let new = Again { made: made(&message, request.at), first, last: first };
                path.again.entry(change).or_insert(new).last = request.at;
            } else {
                path.settled += usize::from(heard.letters == 0);
                path.delivered += 1;
                self.delivered += 1;
            }
        }
        if let Some(newest) = path.newer(change, request.at).filter(|_| is_first) {
            let (path, at, made) = (request.path.clone(), request.at, made(&message, request.at));
            self.out_of_order.push(Behind { path, change, made, at, newest });
        }
    }

    /// Records that a call became a dead letter.
    pub fn died(&mut self, letter: &Stored) {
        let (path, change) = call_of(letter);
        self.dead_letters += 1;
        self.causeless += usize::from(!says_why(letter));
        let Some(path) = self.paths.get_mut(&path) else {
            return self.uncalled_for.push(format!("a dead letter of {change} for {path}"));
        };
        let heard = path.hear(change, letter.header("outhook-message").unwrap_or_default());
        heard.letters += 1;
        if heard.letters == 1 {
            let written = Timestamp::from_millisecond(letter.timestamp_ms).expect("the broker stores valid timestamps");
            heard.dead_lettered = Some(instant(written, Instant::now()));
            path.settled += usize::from(heard.taken == 0);
        }
    }

    /// Records that an instance or a broker was gone.
    pub fn crashed(&mut self, crash: Crash) {
        self.crashes.push(crash);
    }

    /// Number of delivered calls.
    pub fn delivered(&self) -> usize {
        self.delivered
    }

    pub fn dead_letters(&self) -> usize {
        self.dead_letters
    }

    /// Number of delivered calls of a path.
    pub fn delivered_to(&self, path: &str) -> usize {
        self.paths[path].delivered
    }

    /// Number of delivered or dead-lettered calls of a path.
    pub fn settled_to(&self, path: &str) -> usize {
        self.paths[path].settled
    }

    /// Whether a call was delivered or dead-lettered.
    pub fn is_settled(&self, (path, change): Call<'_>) -> bool {
        self.paths[path].heard.get(&change).is_some_and(|heard| heard.taken > 0 || heard.letters > 0)
    }

    /// The paces of the paths with a limit of calls per second.
    pub fn paces(&self) -> Vec<Seen> {
        let seen = |(path, of): (&String, &Path)| Some(of.pace.as_ref()?.seen(path));
        let mut paces: Vec<_> = self.paths.iter().filter_map(seen).collect();
        paces.sort_by(|one, other| one.path.cmp(&other.path));
        paces
    }

    /// Returns the verdict on all expected calls.
    pub fn verdict<'a>(&self, expected: impl IntoIterator<Item = Call<'a>>) -> Verdict {
        let heard = || self.paths.values().flat_map(|path| path.heard.values());
        let mut verdict = Verdict {
            duplicates: heard().map(|heard| heard.taken.saturating_sub(1) as usize).sum(),
            unexplained: self.unexplained(),
            uncertain: self.uncertain(),
            letters_again: heard().map(|heard| heard.letters.saturating_sub(1) as usize).sum(),
            renamed: heard().filter(|heard| heard.renamed).count(),
            badly_signed: self.badly_signed,
            causeless: self.causeless,
            uncalled_for: self.uncalled_for.clone(),
            paces: self.paces(),
            ..Verdict::default()
        };
        for behind in &self.out_of_order {
            match self.is_made_up(behind) {
                true => verdict.made_up += 1,
                false => verdict.out_of_order.push(behind.to_string()),
            }
        }
        for (path, change) in expected {
            verdict.expected += 1;
            match self.paths[path].heard.get(&change) {
                Some(heard) if heard.taken > 0 => verdict.delivered += 1,
                Some(heard) if heard.letters > 0 => verdict.dead += 1,
                _ => verdict.lost += 1,
            }
        }
        verdict
    }

    /// Whether a crash explains a late call: it had been dead-lettered before, which left a gap in its row, and the
    /// crash delivered it all the same.
    fn is_made_up(&self, behind: &Behind) -> bool {
        let dead_lettered = self.paths[&behind.path].heard[&behind.change].dead_lettered;
        dead_lettered.filter(|dead_lettered| *dead_lettered < behind.at).is_some_and(|first| {
            let again = Again { made: behind.made, first, last: behind.at };
            self.crashes.iter().any(|crash| crash.explains(&again))
        })
    }

    /// Number of messages that were delivered again although they were in flight during no crash.
    fn unexplained(&self) -> usize {
        let again = self.paths.values().flat_map(|path| path.again.values());
        again.filter(|again| !self.crashes.iter().any(|crash| crash.explains(again))).count()
    }

    fn uncertain(&self) -> usize {
        let first = self.paths.values().flat_map(|path| path.heard.values().filter_map(|heard| heard.first));
        first.filter(|first| self.crashes.iter().any(|crash| crash.leaves_uncertain(*first))).count()
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, change, made, at, newest: (newest, came) } = self;
        write!(f, "{path}: {change}, written {:.1?} before, arrived {:.1?} after {newest}", *at - *made, *at - *came)
    }
}

impl Path {
    /// Returns the state of a change's call, and compares the message id.
    fn hear(&mut self, change: usize, message_id: &str) -> &mut Heard {
        let mut hasher = DefaultHasher::new();
        message_id.hash(&mut hasher);
        let message = hasher.finish();
        let new =
            Heard { message, taken: 0, first: None, came: false, letters: 0, dead_lettered: None, renamed: false };
        let heard = self.heard.entry(change).or_insert(new);
        heard.renamed |= heard.message != message;
        heard
    }

    /// The newest arrived change of the same row, and when, if it is newer than `change`.
    fn newer(&mut self, change: usize, at: Instant) -> Option<(usize, Instant)> {
        let newest = self.newest.entry(self.row_of?(change)).or_insert((change, at));
        if change > newest.0 {
            *newest = (change, at);
        }
        (newest.0 > change).then_some(*newest)
    }
}

/// When the row change of a message was written, by the date in its body.
fn made(message: &Value, came: Instant) -> Instant {
    let date = message["eventDate"].as_str().and_then(|date| date.parse().ok()).expect("a message has its date");
    instant(date, came)
}

/// Converts a wall-clock time to an instant before `now`, which is the current time.
fn instant(time: Timestamp, now: Instant) -> Instant {
    now - Duration::try_from(Timestamp::now().duration_since(time)).unwrap_or_default()
}

/// The number of the order in a message's body.
fn change_of(message: &Value) -> usize {
    message["data"][0]["id"].as_u64().expect("a row has a number") as usize
}

/// Path and row change of a dead letter.
fn call_of(letter: &Stored) -> (String, usize) {
    let body = letter.value.as_deref().expect("a call is kept with its body");
    let message: Value = serde_json::from_slice(body).expect("a call's body is JSON");
    let url = letter.header("outhook-url").expect("a call is kept with its URL");
    let path = url.splitn(4, '/').nth(3).expect("a URL with a path");
    (format!("/{path}"), change_of(&message))
}

fn says_why(letter: &Stored) -> bool {
    let says = |name| letter.header(name).is_some_and(|value| !value.is_empty());
    says("outhook-class") && says("outhook-cause") && letter.header("outhook-kind") == Some("call")
}
