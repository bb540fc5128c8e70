//! Connect's Decimal: a big-endian two's complement integer in base64, and a scale.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Max bytes of an integer that is rewritten: about 19,700 digits. The conversion to decimal digits takes quadratic
/// time, so longer integers stay unchanged.
const MAX_BYTES: usize = 8 * 1024;

/// Max scale. PostgreSQL's largest scale is 16,383.
const MAX_SCALE: u32 = 20_000;

/// The JSON number as in the source: with all digits of its scale, never converted through a float.
pub(super) fn number(base64: &str, scale: i32) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(base64).ok()?;
    if bytes.is_empty() || bytes.len() > MAX_BYTES || scale.unsigned_abs() > MAX_SCALE {
        return None;
    }
    let (negative, mut digits) = digits(&bytes);
    if scale >= 0 {
        let scale = scale.unsigned_abs() as usize;
        if digits.len() <= scale {
            digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
        }
        if scale > 0 {
            digits.insert(digits.len() - scale, '.');
        }
    } else if digits != "0" {
        digits.push_str(&"0".repeat(scale.unsigned_abs() as usize));
    }
    if negative {
        digits.insert(0, '-');
    }
    Some(digits)
}

/// Sign and decimal digits of a two's complement integer.
fn digits(bytes: &[u8]) -> (bool, String) {
    let negative = bytes[0] & 0x80 != 0;
    if bytes.len() <= 16 {
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        wide[16 - bytes.len()..].copy_from_slice(bytes);
        return (negative, i128::from_be_bytes(wide).unsigned_abs().to_string());
    }
    (negative, long_digits(magnitude(bytes, negative)))
}

/// The absolute value as 64-bit limbs, the highest first.
fn magnitude(bytes: &[u8], negative: bool) -> Vec<u64> {
    let fill = if negative { 0xff } else { 0 };
    let mut limbs: Vec<u64> = bytes
        .rchunks(8)
        .rev()
        .map(|chunk| {
            let mut wide = [fill; 8];
            wide[8 - chunk.len()..].copy_from_slice(chunk);
            u64::from_be_bytes(wide)
        })
        .collect();
    if negative {
        // Two's complement: invert all bits and add one, carried up from the lowest limb.
        let mut carry = true;
        for limb in limbs.iter_mut().rev() {
            (*limb, carry) = (!*limb).overflowing_add(carry.into());
        }
    }
    limbs
}

/// Splits off 18 decimal digits at a time, from the lowest up.
fn long_digits(mut limbs: Vec<u64>) -> String {
    const SPLIT: u128 = 1_000_000_000_000_000_000;
    let mut groups = Vec::new();
    let mut top = 0;
    while top < limbs.len() {
        let mut rest = 0;
        for limb in &mut limbs[top..] {
            let value = rest << 64 | u128::from(*limb);
            *limb = (value / SPLIT) as u64;
            rest = value % SPLIT;
        }
        groups.push(rest);
        top += limbs[top..].iter().take_while(|&&limb| limb == 0).count();
    }
    let text: String = groups.iter().rev().map(|group| format!("{group:018}")).collect();
    match text.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(bytes: &[u8], scale: i32) -> Option<String> {
        number(&BASE64_STANDARD.encode(bytes), scale)
    }

    #[test]
    fn decimals_are_written_as_in_the_source() {
        for (base64, scale, number) in [
            ("EtaH", 2, "12345.67"),
            ("AA==", 2, "0.00"),
            ("AQ==", 4, "0.0001"),
            ("/w==", 4, "-0.0001"),
            ("7Sl5", 2, "-12345.67"),
            ("BMsv", 5, "3.14159"),
            ("DA==", -3, "12000"),
            ("AA==", -3, "0"),
            ("BQ==", 0, "5"),
            ("gAAAAAAAAAAAAAAAAAAAAA==", 0, "-170141183460469231731687303715884105728"),
            ("AIAAAAAAAAAAAAAAAAAAAAA=", 0, "170141183460469231731687303715884105728"),
            ("XODppWAV/sWq36MorjmBFQ==", 9, "123456789012345678901234567890.123456789"),
        ] {
            assert_eq!(super::number(base64, scale).as_deref(), Some(number), "{base64} {scale}");
        }
    }

    #[test]
    fn invalid_decimals_are_not_converted() {
        for (base64, scale) in [("", 2), ("not base64", 2), ("AQ==", i32::MAX), ("AQ==", i32::MIN)] {
            assert_eq!(number(base64, scale), None, "{base64} {scale}");
        }
        assert_eq!(of(&[1; MAX_BYTES + 1], 0), None);
        assert!(of(&[0x7f; MAX_BYTES], 0).is_some_and(|digits| digits.len() == 19_728));
    }

    proptest! {
        /// The long and the short conversion agree, for any number of sign bytes before the value.
        #[test]
        fn digits_do_not_depend_on_the_byte_length(value: i128, sign_bytes in 1..40usize) {
            let mut bytes = vec![if value < 0 { 0xff } else { 0 }; sign_bytes];
            bytes.extend(value.to_be_bytes());
            prop_assert_eq!(of(&bytes, 0), Some(value.to_string()));
        }
    }
}
