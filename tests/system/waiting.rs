//! The fields in the header of a waiting call.

use harness::Stored;

const HEADER: &str = "outhook-waiting";

pub const DEFINITIONS: usize = 2;
pub const EVENT: usize = 8;
pub const MESSAGE: usize = 9;
pub const CALL: usize = 10;
pub const OFFERED_MS: usize = 15;
pub const OFFSET: usize = 17;

pub fn field(record: &Stored, place: usize) -> Option<&str> {
    record.header(HEADER)?.split('\t').nth(place)
}

/// The same record with other fields.
pub fn with(record: &Stored, fields: &[(usize, &str)]) -> Stored {
    let mut record = record.clone();
    let (_, header) = record.headers.iter_mut().find(|(name, _)| name == HEADER).expect("the record is a waiting call");
    let mut all: Vec<_> = header.split('\t').collect();
    for (place, value) in fields {
        all[*place] = value;
    }
    *header = all.join("\t");
    record
}
