//! Parses a template: JSON (RFC 8259) whose strings may be in single quotes and contain parameters.

use std::collections::HashMap;

use super::cursor::TemplateCursor;
use super::program::{Builder, DynamicMember, TemplateOp};
use super::{MAX_DEPTH, TemplateError, string};

/// Parses a whole template.
pub(super) fn template(text: &str) -> Result<Vec<TemplateOp>, TemplateError> {
    let mut cursor = TemplateCursor::new(text);
    let mut out = Builder::default();
    cursor.skip_space();
    if !matches!(cursor.peek(), Some('{' | '[')) {
        return Err(cursor.error("{ or [: a payload is an object or an array"));
    }
    value(&mut cursor, &mut out, 0)?;
    cursor.skip_space();
    if cursor.peek().is_some() {
        return Err(cursor.error("nothing after the payload's end"));
    }
    Ok(out.finish())
}

fn value(cursor: &mut TemplateCursor<'_>, out: &mut Builder, depth: usize) -> Result<(), TemplateError> {
    match cursor.peek() {
        Some('{' | '[') if depth == MAX_DEPTH => {
            Err(cursor.error(format!("objects and arrays nested at most {MAX_DEPTH} deep")))
        }
        Some('{') => object(cursor, out, depth + 1),
        Some('[') if cursor.rest().starts_with("[@") => Err(cursor.error_at(
            cursor.position(),
            "quotes around a parameter: \"[@field:Name]\"",
            "a parameter without",
        )),
        Some('[') => array(cursor, out, depth + 1),
        Some('"' | '\'') => text(cursor, out),
        Some('-' | '0'..='9') => number(cursor, out),
        _ => parse_literal(cursor, out),
    }
}

/// Parses a string value. If the string is exactly one field parameter, the field keeps its type.
fn text(cursor: &mut TemplateCursor<'_>, out: &mut Builder) -> Result<(), TemplateError> {
    let ops = string::string(cursor)?;
    if let [TemplateOp::Spliced(reference)] = ops.as_slice() {
        out.push(TemplateOp::Value(reference.clone()));
        return Ok(());
    }
    out.text("\"");
    out.append(ops);
    out.text("\"");
    Ok(())
}

fn array(cursor: &mut TemplateCursor<'_>, out: &mut Builder, depth: usize) -> Result<(), TemplateError> {
    cursor.next();
    cursor.skip_space();
    out.text("[");
    if cursor.take("]") {
        out.text("]");
        return Ok(());
    }
    loop {
        value(cursor, out, depth)?;
        cursor.skip_space();
        if cursor.take("]") {
            out.text("]");
            return Ok(());
        }
        comma(cursor, ']')?;
        out.text(",");
    }
}

fn object(cursor: &mut TemplateCursor<'_>, out: &mut Builder, depth: usize) -> Result<(), TemplateError> {
    cursor.next();
    cursor.skip_space();
    let mut members = Vec::new();
    if !cursor.take("}") {
        loop {
            members.push(member(cursor, depth)?);
            cursor.skip_space();
            if cursor.take("}") {
                break;
            }
            comma(cursor, '}')?;
        }
    }
    write_object(members, out);
    Ok(())
}

fn member(cursor: &mut TemplateCursor<'_>, depth: usize) -> Result<DynamicMember, TemplateError> {
    if !matches!(cursor.peek(), Some('"' | '\'')) {
        return Err(cursor.error("a key in quotes or }"));
    }
    let key = string::string(cursor)?;
    cursor.skip_space();
    if !cursor.take(":") {
        return Err(cursor.error("a colon after the key"));
    }
    cursor.skip_space();
    let mut builder = Builder::default();
    value(cursor, &mut builder, depth)?;
    Ok(DynamicMember { key, value: builder.finish() })
}

/// Reads a comma and the space after it. The object or array must not end right after a comma.
fn comma(cursor: &mut TemplateCursor<'_>, end: char) -> Result<(), TemplateError> {
    if !cursor.take(",") {
        return Err(cursor.error(format!("a comma or {end}")));
    }
    cursor.skip_space();
    if cursor.peek() == Some(end) {
        return Err(cursor.error(format!("something after the comma, or no comma before {end}")));
    }
    Ok(())
}

/// Writes an object. If all keys are known it becomes text, and the last of equal keys wins. Only if a key contains a
/// parameter, each message has to look for equal keys.
fn write_object(members: Vec<DynamicMember>, out: &mut Builder) {
    let Some(keys) = members.iter().map(known_key).collect::<Option<Vec<&str>>>() else {
        return out.push(TemplateOp::Object(members));
    };
    let last: HashMap<&str, usize> = keys.iter().enumerate().map(|(at, key)| (*key, at)).collect();
    let counts: Vec<bool> = keys.iter().enumerate().map(|(at, key)| last[key] == at).collect();
    out.text("{");
    let mut separator = "\"";
    for (member, _) in members.into_iter().zip(counts).filter(|(_, counts)| *counts) {
        out.text(separator);
        out.append(member.key);
        out.text("\":");
        out.append(member.value);
        separator = ",\"";
    }
    out.text("}");
}

/// A key without parameters. A text has only one escaped form, so equal keys have equal text here.
fn known_key(member: &DynamicMember) -> Option<&str> {
    match member.key.as_slice() {
        [] => Some(""),
        [TemplateOp::Text(key)] => Some(key),
        _ => None,
    }
}

/// A number stays as written, so no digit is lost.
fn number(cursor: &mut TemplateCursor<'_>, out: &mut Builder) -> Result<(), TemplateError> {
    let start = cursor.position();
    let text = cursor.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    if serde_json::from_str::<&serde_json::value::RawValue>(text).is_err() {
        return Err(cursor.error_at(
            start,
            "a number as JSON writes it, such as -12.5e3",
            format!("`{}`", string::excerpt(text)),
        ));
    }
    out.text(text);
    Ok(())
}

fn parse_literal(cursor: &mut TemplateCursor<'_>, out: &mut Builder) -> Result<(), TemplateError> {
    const EXPECTED: &str = "a value: text in quotes, a number, an object, an array, true, false or null";
    let start = cursor.position();
    match cursor.take_while(|c| c.is_alphanumeric() || c == '_') {
        "" => Err(cursor.error(EXPECTED)),
        word @ ("true" | "false" | "null") => {
            out.text(word);
            Ok(())
        }
        word => Err(cursor.error_at(start, EXPECTED, format!("`{}`", string::excerpt(word)))),
    }
}
