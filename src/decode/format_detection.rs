//! Recognises records that are not in the source's configured format. The error then names their format, instead of
//! the first field that does not fit.

use super::invalid_record::InvalidRecord;
use super::json;
use super::row::Row;
use super::{DecodeError, Format, Input};

/// Max characters of a reason: serde_json quotes its input, which may be long.
const MAX_REASON_CHARS: usize = 240;

/// The error for a value that could not be read as `format`.
pub(super) fn decode_error(format: Format, input: &Input<'_>, text: &str, reason: &InvalidRecord) -> DecodeError {
    match json::row(text).as_ref().and_then(|record| detect_format(format, input, record)) {
        Some(found) => DecodeError::OtherFormat { format: format.name(), found },
        None => DecodeError::Malformed { format: format.name(), reason: shortened(reason.to_string()) },
    }
}

fn shortened(reason: String) -> String {
    match reason.char_indices().nth(MAX_REASON_CHARS) {
        Some((cut, _)) => {
            let position =
                position_at_end(&reason).filter(|found| reason.len() - found.len() >= cut).unwrap_or_default();
            format!("{}…{position}", &reason[..cut])
        }
        None => reason,
    }
}

/// The line and column at the end of an error of serde_json. Quoted input may contain the same words.
fn position_at_end(reason: &str) -> Option<&str> {
    let position = &reason[reason.rfind(" at line ")?..];
    let (line, column) = position.strip_prefix(" at line ")?.split_once(" column ")?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(line) && is_number(column)).then_some(position)
}

fn detect_format(format: Format, input: &Input<'_>, record: &Row<'_>) -> Option<&'static str> {
    let has = |name| record.get(name).is_some();
    if has("schema")
        && let Some(payload) = record.get("payload")
    {
        return match format {
            Format::Outhook => Some("a Debezium record with its schema"),
            Format::Debezium => json::row(&payload.json).and_then(|payload| detect_format(format, input, &payload)),
        };
    }
    if has("op")
        && let Some(source) = record.get("source").and_then(|source| json::row(&source.json))
        && let Some(found) = source.get("connector").and_then(|connector| detect_unsupported_connector(&connector.json))
    {
        return Some(found);
    }
    if format != Format::Debezium && has("op") && has("source") {
        return Some("a Debezium record");
    }
    if format != Format::Outhook && has("operation") && has("table") {
        return Some("an outhook record");
    }
    if has("specversion") && has("type") {
        return Some("a CloudEvents record, a format that is not supported yet");
    }
    if has("isDdl") && has("mysqlType") {
        return Some("a Canal record, a format that is not supported yet");
    }
    if has("database") && has("table") && has("type") && (has("data") || has("def")) {
        return Some("a Maxwell record, a format that is not supported yet");
    }
    if is_flattened(input, record) && !has("op") {
        return Some("a row flattened by Debezium's ExtractNewRecordState, a format that is not supported yet");
    }
    None
}

/// Names a record of a Debezium connector whose `before` and `after` are not rows. `connector` is JSON text.
pub(super) fn detect_unsupported_connector(connector: &str) -> Option<&'static str> {
    match connector {
        r#""mongodb""# => Some(
            "a record of Debezium's MongoDB connector, whose documents are text, a format that is not supported yet",
        ),
        r#""cassandra""# => Some(
            "a record of Debezium's Cassandra connector, whose fields are objects with `value` and `set`, a format that is \
             not supported yet",
        ),
        _ => None,
    }
}

/// Debezium's transform adds the configured fields or headers. Since 3.7 the connector itself marks every row's
/// record, flattened or not.
fn is_flattened(input: &Input<'_>, record: &Row<'_>) -> bool {
    const ADDED: [&str; 3] = ["__op", "__deleted", "__table"];
    ADDED.iter().any(|name| record.get(name).is_some() || input.headers.last(name).is_some())
        || input.headers.last("__debezium.context.connectorName").is_some()
}
