//! Judges what arrived, and what became a dead letter, by what was sent.

use std::collections::{HashMap, HashSet};

use harness::{Request, Signature, Stored};
use serde_json::Value;

/// A row change and the path it goes to: what one call is to the judge.
type Call = (usize, String);

/// Everything that the receiver was sent.
#[derive(Default)]
pub struct Oracle {
    heard: HashMap<Call, Heard>,
    delivered: usize,
    paths: HashMap<String, Path>,
    badly_signed: usize,
    out_of_order: usize,
    uncalled_for: Vec<String>,
}

/// What was heard of one call.
struct Heard {
    message_id: String,
    /// How often it was answered with success.
    taken: usize,
    renamed: bool,
}

/// What is right for a path.
struct Path {
    table: &'static str,
    silent: bool,
    /// Which row a change is of, where each row's are to come in their order.
    row_of: Option<fn(usize) -> usize>,
    /// By row: the newest change that has come.
    newest: HashMap<usize, usize>,
}

/// How many messages of each kind.
#[derive(Debug, Default)]
pub struct Verdict {
    pub expected: usize,
    pub delivered: usize,
    /// Became a dead letter with a cause, and was never delivered.
    pub dead: usize,
    /// Neither.
    pub lost: usize,
    /// Delivered once more.
    pub duplicates: usize,
    /// Came again under another message id.
    pub renamed: usize,
    pub badly_signed: usize,
    /// Came for the first time behind a later change of its row, where order was asked for.
    pub out_of_order: usize,
    /// Dead letters that don't say why.
    pub causeless: usize,
    /// What came to a path that nobody told of, from a table that is not its own, or after it had to stop.
    pub uncalled_for: Vec<String>,
}

impl Oracle {
    /// From now on a path may get inserts of a table.
    pub fn expect(&mut self, path: &str, table: &'static str) {
        let path_of = Path { table, silent: false, row_of: None, newest: HashMap::new() };
        self.paths.insert(path.to_owned(), path_of);
    }

    /// A path gets the changes of each row in their order.
    pub fn expect_order(&mut self, path: &str, row_of: fn(usize) -> usize) {
        self.paths.get_mut(path).expect("only a path that was told of has an order").row_of = Some(row_of);
    }

    /// From now on a path may get nothing.
    pub fn silence(&mut self, path: &str) {
        self.paths.get_mut(path).expect("only a path that was told of falls silent").silent = true;
    }

    pub fn arrived(&mut self, request: &Request) {
        let message: Value = serde_json::from_slice(&request.body).expect("a message's body is JSON");
        let change = change_of(&message);
        self.badly_signed += usize::from(request.signature != Signature::Good);
        match self.paths.get(&request.path) {
            Some(path) if path.silent => self.uncalled_for.push(format!("{} of {change}, too late", request.path)),
            Some(path) if message["objectName"] == path.table => {}
            _ => self.uncalled_for.push(format!("{} of {change}: {}", request.path, message["objectName"])),
        }
        if !self.heard.contains_key(&(change, request.path.clone())) {
            let path = self.paths.get_mut(&request.path);
            self.out_of_order += usize::from(path.is_some_and(|path| path.comes_behind(change)));
        }
        let heard = self.heard.entry((change, request.path.clone())).or_insert_with(|| Heard {
            message_id: request.message_id.clone(),
            taken: 0,
            renamed: false,
        });
        if request.answer.is_success() {
            self.delivered += usize::from(heard.taken == 0);
            heard.taken += 1;
        }
        heard.renamed |= heard.message_id != request.message_id;
    }

    /// How many calls were delivered.
    pub fn delivered(&self) -> usize {
        self.delivered
    }

    /// How many calls to a path were delivered.
    pub fn delivered_to(&self, path: &str) -> usize {
        self.heard.iter().filter(|((_, other), heard)| other == path && heard.taken > 0).count()
    }

    /// The calls that were delivered.
    pub fn was_delivered(&self, call: &Call) -> bool {
        self.heard.get(call).is_some_and(|heard| heard.taken > 0)
    }

    /// Judges by all that had to come and by the dead letters.
    pub fn verdict(&self, expected: impl IntoIterator<Item = Call>, letters: &[Stored]) -> Verdict {
        let dead: HashSet<Call> = letters.iter().map(call_of).collect();
        let mut verdict = Verdict {
            duplicates: self.heard.values().map(|heard| heard.taken.saturating_sub(1)).sum(),
            renamed: self.heard.values().filter(|heard| heard.renamed).count(),
            badly_signed: self.badly_signed,
            out_of_order: self.out_of_order,
            causeless: letters.iter().filter(|letter| !says_why(letter)).count(),
            uncalled_for: self.uncalled_for.clone(),
            ..Verdict::default()
        };
        verdict.renamed += letters.iter().filter(|letter| self.is_renamed(letter)).count();
        for call in expected {
            verdict.expected += 1;
            if self.was_delivered(&call) {
                verdict.delivered += 1;
            } else if dead.contains(&call) {
                verdict.dead += 1;
            } else {
                verdict.lost += 1;
            }
        }
        verdict
    }

    fn is_renamed(&self, letter: &Stored) -> bool {
        let heard = self.heard.get(&call_of(letter));
        heard.is_some_and(|heard| letter.header("outhook-message") != Some(&heard.message_id))
    }
}

impl Path {
    /// Whether a change that comes for the first time was to come before another one that has come.
    fn comes_behind(&mut self, change: usize) -> bool {
        let Some(row_of) = self.row_of else { return false };
        let newest = self.newest.entry(row_of(change)).or_insert(change);
        *newest = change.max(*newest);
        *newest > change
    }
}

impl Verdict {
    /// Fails unless all that had to come has come or is a dead letter, and nothing else came.
    #[track_caller]
    pub fn assert_clean(&self) {
        let Self { lost, renamed, badly_signed, out_of_order, causeless, uncalled_for, .. } = self;
        assert_eq!((*lost, *renamed, *badly_signed, *out_of_order, *causeless), (0, 0, 0, 0, 0), "{self:?}");
        assert!(uncalled_for.is_empty(), "{self:?}");
    }
}

/// The number of the order in a message's body.
fn change_of(message: &Value) -> usize {
    message["data"][0]["id"].as_u64().expect("a row has a number") as usize
}

/// The call that a dead letter or a record of a retry topic is of.
pub fn call_of(record: &Stored) -> Call {
    let body = record.value.as_deref().expect("a call is kept with its body");
    let message: Value = serde_json::from_slice(body).expect("a call's body is JSON");
    let url = record.header("outhook-url").expect("a call is kept with its URL");
    let path = url.splitn(4, '/').nth(3).expect("a URL with a path");
    (change_of(&message), format!("/{path}"))
}

fn says_why(letter: &Stored) -> bool {
    let says = |name| letter.header(name).is_some_and(|value| !value.is_empty());
    says("outhook-class") && says("outhook-cause") && letter.header("outhook-kind") == Some("call")
}

/// A judge that believes everything would let any program pass.
#[test]
fn the_judge_tells_what_is_wrong() {
    let request = |path: &str, change: usize, message_id: &str, answer: harness::Answer| Request {
        path: path.to_owned(),
        message_id: message_id.to_owned(),
        headers: http::HeaderMap::new(),
        body: format!(r#"{{"objectName":"orders","data":[{{"id":{change}}}]}}"#).into(),
        signature: if change == 7 { Signature::Bad("forged".to_owned()) } else { Signature::Good },
        answer,
        at: std::time::Instant::now(),
    };
    let good = harness::Answer::Status(204);
    let letter = |change: usize, cause: &str| Stored {
        partition: 0,
        offset: 0,
        timestamp_ms: 0,
        key: None,
        value: Some(format!(r#"{{"data":[{{"id":{change}}}]}}"#).into_bytes()),
        headers: [
            ("url", "http://127.0.0.1:1/a"),
            ("kind", "call"),
            ("class", "timeout"),
            ("cause", cause),
            ("message", "m"),
        ]
        .map(|(name, value)| (format!("outhook-{name}"), value.to_owned()))
        .into(),
    };
    let mut oracle = Oracle::default();
    oracle.expect("/a", "orders");
    oracle.expect("/b", "returns");
    oracle.expect("/c", "orders");
    oracle.silence("/c");
    oracle.expect_order("/a", |change| change % 2);
    oracle.arrived(&request("/a", 0, "m", good.clone()));
    oracle.arrived(&request("/a", 0, "m", good.clone()));
    oracle.arrived(&request("/a", 1, "m", harness::Answer::Status(500)));
    oracle.arrived(&request("/a", 1, "other", harness::Answer::Hang));
    for (path, change) in [("/a", 7), ("/b", 0), ("/c", 0), ("/d", 0)] {
        oracle.arrived(&request(path, change, "m", good.clone()));
    }
    let expected = [0, 1, 2, 3, 7].map(|change| (change, "/a".to_owned()));
    let verdict = oracle.verdict(expected, &[letter(2, "no answer"), letter(3, "")]);
    assert_eq!((verdict.expected, verdict.delivered, verdict.dead, verdict.lost), (5, 2, 2, 1));
    assert_eq!((verdict.duplicates, verdict.renamed), (1, 1));
    assert_eq!(verdict.out_of_order, 0);
    oracle.arrived(&request("/a", 5, "m", good.clone()));
    assert_eq!(oracle.verdict([], &[]).out_of_order, 1, "5 came behind 7");
    assert_eq!((verdict.badly_signed, verdict.causeless, verdict.uncalled_for.len()), (1, 1, 3));
}
