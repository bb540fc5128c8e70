//! Operations on JSON text that the hot path needs. Parsing into a tree would make them expensive.

use std::borrow::Cow;

/// Kind of a valid JSON text, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl JsonKind {
    /// The kind of `json`, which must be one valid value without white space around it.
    pub fn of(json: &str) -> JsonKind {
        match json.as_bytes().first() {
            Some(b'"') => JsonKind::String,
            Some(b'{') => JsonKind::Object,
            Some(b'[') => JsonKind::Array,
            Some(b't' | b'f') => JsonKind::Bool,
            Some(b'n') | None => JsonKind::Null,
            Some(_) => JsonKind::Number,
        }
    }
}

/// JSON text without the byte order mark that some editors and libraries put before it. A reader may ignore the mark
/// (RFC 8259, section 8.1).
pub fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The text between the quotes of a JSON string, with escapes unchanged.
pub fn between_quotes(string: &str) -> &str {
    string.get(1..string.len().saturating_sub(1)).unwrap_or_default()
}

/// A JSON string's text with its escapes resolved. None if they are not valid text (half a surrogate pair).
pub fn unescape(string: &str) -> Option<Cow<'_, str>> {
    let raw = between_quotes(string);
    if raw.contains('\\') { serde_json::from_str(string).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(raw)) }
}

/// Appends `text` in the form between the quotes of a JSON string (RFC 8259, section 7). Each text has only one form,
/// so equal forms are equal texts.
pub fn escape(text: &str, out: &mut String) {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    // Nearly all texts are plain. Checking many bytes together finds that quickly.
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        return out.push_str(text);
    }
    let mut written = 0;
    for (at, byte) in text.bytes().enumerate() {
        if plain(byte) {
            continue;
        }
        out.push_str(&text[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.push_str("\\u00");
                out.push(HEX[usize::from(control >> 4)].into());
                out.push(HEX[usize::from(control & 15)].into());
            }
        }
    }
    out.push_str(&text[written..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn escaped_text_round_trips(text in any::<String>()) {
            let mut json = String::from("\"");
            escape(&text, &mut json);
            json.push('"');
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text.as_str());
            prop_assert_eq!(unescape(&json).unwrap(), text);
        }
    }

    #[test]
    fn unpaired_surrogate_is_not_valid_text() {
        assert_eq!(unescape(r#""\ud83d""#), None);
    }
}
