//! Compares two JSON texts by value: numbers as exact decimals, strings unescaped, objects with their keys in any
//! order. Numbers are never converted to floats, and exponents are never expanded.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::json::{self, JsonKind};

/// Max depth of a comparison by value. Deeper values are equal only if their text is, because hostile nesting must
/// not exhaust the stack.
const MAX_DEPTH: usize = 128;

/// Whether two valid JSON values are equal. Values that can't be compared (nested too deep, an unpaired surrogate, an
/// exponent beyond 128 bits) are equal only if their text is.
pub(super) fn same(a: &str, b: &str) -> bool {
    same_at(a, b, MAX_DEPTH)
}

fn same_at(a: &str, b: &str, depth: usize) -> bool {
    if a == b {
        return true;
    }
    match (JsonKind::of(a), JsonKind::of(b)) {
        (JsonKind::Number, JsonKind::Number) => same_number(a, b),
        (JsonKind::String, JsonKind::String) => same_string(a, b),
        (JsonKind::Array, JsonKind::Array) if depth > 0 => same_array(a, b, depth - 1).unwrap_or(false),
        (JsonKind::Object, JsonKind::Object) if depth > 0 => same_object(a, b, depth - 1).unwrap_or(false),
        _ => false,
    }
}

/// Compares two strings that hold JSON text. If one of them does not, both are compared as plain strings.
pub(super) fn same_json_text(a: &str, b: &str) -> bool {
    let (Some(a_text), Some(b_text)) = (json::unescape(a), json::unescape(b)) else { return a == b };
    match (serde_json::from_str::<&RawValue>(&a_text), serde_json::from_str::<&RawValue>(&b_text)) {
        (Ok(a), Ok(b)) => same(a.get(), b.get()),
        _ => a_text == b_text,
    }
}

fn same_string(a: &str, b: &str) -> bool {
    if !a.contains('\\') && !b.contains('\\') {
        return a == b;
    }
    match (json::unescape(a), json::unescape(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

fn same_array(a: &str, b: &str, depth: usize) -> Option<bool> {
    let a: Vec<&RawValue> = serde_json::from_str(a).ok()?;
    let b: Vec<&RawValue> = serde_json::from_str(b).ok()?;
    Some(a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same_at(a.get(), b.get(), depth)))
}

/// Of duplicate keys the last counts, because the map keeps the last.
fn same_object(a: &str, b: &str, depth: usize) -> Option<bool> {
    let a: HashMap<String, &RawValue> = serde_json::from_str(a).ok()?;
    let b: HashMap<String, &RawValue> = serde_json::from_str(b).ok()?;
    let same_member = |(key, a): (&String, &&RawValue)| b.get(key).is_some_and(|b| same_at(a.get(), b.get(), depth));
    Some(a.len() == b.len() && a.iter().all(same_member))
}

fn same_number(a: &str, b: &str) -> bool {
    match (Decimal::read(a), Decimal::read(b)) {
        (Some(a), Some(b)) => a.same(&b),
        _ => false,
    }
}

/// A number as ±0.DIGITS × 10^exponent, borrowed from its text: neither the first nor the last digit is 0,
/// and zero has no digits.
struct Decimal<'a> {
    negative: bool,
    /// The digits before and after the decimal point.
    digits: [&'a [u8]; 2],
    exponent: i128,
}

impl<'a> Decimal<'a> {
    /// None when the exponent does not fit.
    fn read(number: &'a str) -> Option<Self> {
        let negative = number.starts_with('-');
        let unsigned = number.trim_start_matches('-');
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = [whole.as_bytes(), fraction.as_bytes()];
        let leading = digits.iter().copied().flatten().take_while(|digit| **digit == b'0').count();
        let trailing = digits.iter().copied().flatten().rev().take_while(|digit| **digit == b'0').count();
        if leading == whole.len() + fraction.len() {
            return Some(Self { negative: false, digits: [&[], &[]], exponent: 0 });
        }
        digits = [
            &digits[0][leading.min(whole.len())..whole.len() - trailing.saturating_sub(fraction.len())],
            &digits[1][leading.saturating_sub(whole.len())..fraction.len() - trailing.min(fraction.len())],
        ];
        let shift = whole.len() as i128 - leading as i128;
        Some(Self { negative, digits, exponent: exponent.parse::<i128>().ok()?.checked_add(shift)? })
    }

    fn same(&self, other: &Self) -> bool {
        self.negative == other.negative
            && self.exponent == other.exponent
            && self.digits.iter().copied().flatten().eq(other.digits.iter().copied().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_value() {
        for (a, b) in [
            ("1.0", "1.00"),
            ("1.0", "10e-1"),
            ("1", "1E+0"),
            ("-0", "0"),
            ("-0.0e7", "0"),
            ("100", "1e2"),
            ("100.0", "0.1e3"),
            ("0.001", "1e-3"),
            ("5000", "5.000e3"),
            ("1e999999999", "10e999999998"),
            ("9223372036854775807", "9223372036854775807.0"),
            ("0e99999999999999999999999999999999999999999999", "0"),
        ] {
            assert!(same(a, b), "{a} {b}");
            assert!(same(b, a), "{b} {a}");
        }
        for (a, b) in [
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.10000000000000000001"),
            ("1", "-1"),
            ("1", "10"),
            ("1e999999999", "1e999999998"),
            ("101", "11"),
            ("0.01", "0.1"),
            ("1", "\"1\""),
            ("0", "null"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }

    #[test]
    fn structures_compare_by_content() {
        assert!(same(r#"{"a":1,"b":[1.0,"\u0041"]}"#, r#"{ "b": [1, "A"], "a": 10e-1 }"#));
        assert!(same(r#"{"a":1,"a":2}"#, r#"{"a":2}"#));
        assert!(!same(r#"{"a":1}"#, r#"{"a":1,"b":null}"#));
        assert!(!same("[1,2]", "[2,1]"));
        assert!(!same("[1]", "[1,1]"));
    }

    #[test]
    fn json_text_compares_by_its_content() {
        assert!(same_json_text(r#""{\"a\": 1, \"b\":2}""#, r#""{\"b\":2,\"a\":1.0}""#));
        assert!(!same_json_text(r#""null""#, r#""{}""#));
        assert!(same_json_text(r#""no json""#, r#""no js\u006fn""#));
        assert!(!same_json_text(r#""no json""#, r#""none""#));
    }

    #[test]
    fn comparison_of_deep_nesting_does_not_overflow_the_stack() {
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(same(&deep("1"), &deep("1")));
        assert!(!same(&deep("1"), &deep("2")));
    }
}
