//! URLs of attachments (`[@field:Name/]` in a template), from a pattern in the configuration.

use std::str::FromStr;

use crate::decode::Value;
use crate::json::{self, JsonKind};

/// A pattern such as `https://files.example.com/{account}/{table}/{field}/{value}`. Inserted values are
/// percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentUrl {
    parts: Vec<UrlPart>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum UrlPart {
    /// Escaped for a JSON string.
    Text(String),
    Account,
    Table,
    Field,
    Value,
}

/// A pattern with an unknown placeholder or an unclosed brace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pattern:?} is not a valid attachment URL pattern: {reason}; use {{account}}, {{table}}, {{field}} and {{value}}"
)]
pub struct BadAttachmentUrl {
    pub pattern: String,
    pub reason: String,
}

impl FromStr for AttachmentUrl {
    type Err = BadAttachmentUrl;

    fn from_str(pattern: &str) -> Result<Self, BadAttachmentUrl> {
        let bad = |reason: String| BadAttachmentUrl { pattern: pattern.to_owned(), reason };
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| bad("a { is never closed".to_owned()))?;
            parts.push(UrlPart::text(text));
            parts.push(match name {
                "account" => UrlPart::Account,
                "table" => UrlPart::Table,
                "field" => UrlPart::Field,
                "value" => UrlPart::Value,
                _ => return Err(bad(format!("{{{name}}} is not a placeholder"))),
            });
            rest = after;
        }
        parts.push(UrlPart::text(rest));
        Ok(Self { parts })
    }
}

impl UrlPart {
    fn text(text: &str) -> UrlPart {
        let mut escaped = String::new();
        json::escape(text, &mut escaped);
        UrlPart::Text(escaped)
    }
}

impl AttachmentUrl {
    /// Writes the URL of the attachment that a field names, as written between the quotes of a JSON string.
    pub(super) fn write(&self, account: &str, table: &str, field: &str, value: &Value<'_>, out: &mut String) {
        for part in &self.parts {
            match part {
                UrlPart::Text(text) => out.push_str(text),
                UrlPart::Account => percent_encode(account, out),
                UrlPart::Table => percent_encode(table, out),
                UrlPart::Field => percent_encode(field, out),
                UrlPart::Value => match JsonKind::of(&value.json) {
                    JsonKind::String => percent_encode(&json::unescape(&value.json).unwrap_or_default(), out),
                    _ => percent_encode(&value.json, out),
                },
            }
        }
    }
}

/// Percent-encodes all bytes except the unreserved characters of RFC 3986, section 2.3.
fn percent_encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte.into());
        } else {
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)].into());
            out.push(HEX[usize::from(byte & 15)].into());
        }
    }
}
