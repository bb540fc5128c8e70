//! Properties of the code that reads bytes which others wrote: one function per fuzz target. `tests/decode_fixtures.rs`
//! calls the same functions with each file in `fuzz/corpus`.

mod completion_map;
mod decode;
mod definition_record;
mod stored_call;
mod template;

use serde_json::Value;

pub use self::completion_map::completion_map;
pub use self::decode::decode;
pub use self::definition_record::definition_record;
pub use self::stored_call::stored_call;
pub use self::template::template;

/// Marks confidential values in seeds. No error and no other text for people may contain it.
const MARKER: &str = "hunter2";

/// Whether a JSON text contains the marker, and only inside these places, so that an error that contains the marker
/// shows a confidential value. Each place is a JSON pointer. `/*` at its end is each member of an object.
fn is_only_in(text: &str, marker: &str, places: &[&str]) -> bool {
    // An escape could hide a marker from `matches`.
    let Some(json) = serde_json::from_str::<Value>(text).ok().filter(|_| !text.contains('\\')) else { return false };
    let count = |value: &Value| value.to_string().matches(marker).count();
    let found: usize = places
        .iter()
        .map(|place| match place.strip_suffix("/*") {
            Some(object) => {
                let members = json.pointer(object).and_then(Value::as_object);
                members.into_iter().flat_map(|members| members.values()).map(count).sum()
            }
            None => json.pointer(place).map_or(0, count),
        })
        .sum();
    found > 0 && found == text.matches(marker).count()
}

/// The bytes before and after the first separator. Without one, all bytes are before it.
fn split<'b>(bytes: &'b [u8], separator: &[u8]) -> (&'b [u8], &'b [u8]) {
    match bytes.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&bytes[..at], &bytes[at + separator.len()..]),
        None => (bytes, &[]),
    }
}
