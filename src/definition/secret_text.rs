//! Removes secrets of webhooks from texts that may contain them: sent bodies, and answers that repeat them.

use std::borrow::Cow;

/// Prefix of every secret of a webhook.
const SECRET_PREFIX: &str = "whsec_";
/// Shown in place of a secret.
const HIDDEN_SECRET: &str = "whsec_…";

/// The text with `whsec_…` in place of each secret of any webhook, not only of current ones: an old text may contain
/// a secret that its webhook no longer has.
pub fn redact_secrets(text: &str) -> Cow<'_, str> {
    if !text.contains(SECRET_PREFIX) {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split(SECRET_PREFIX);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str(HIDDEN_SECRET);
        shown.push_str(&part[secret_length(part)..]);
    }
    Cow::Owned(shown)
}

/// Length in bytes of the secret that a text begins with: base64, also in its form for URLs, and a slash that is
/// escaped as in JSON.
fn secret_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut length = 0;
    while let Some(byte) = bytes.get(length) {
        length += match byte {
            b'+' | b'/' | b'=' | b'-' | b'_' => 1,
            b'\\' if bytes.get(length + 1) == Some(&b'/') => 2,
            byte if byte.is_ascii_alphanumeric() => 1,
            _ => break,
        };
    }
    length
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_secret_is_replaced() {
        let cases = [
            (r#"{"secret":"whsec_AAAA\/BBB+/CCC=","data":[1]}"#, r#"{"secret":"whsec_…","data":[1]}"#),
            (r#"{"a":"{\"b\":\"whsec_xyz\"}"}"#, r#"{"a":"{\"b\":\"whsec_…\"}"}"#),
            ("Bearer whsec_a, whsec_b.", "Bearer whsec_…, whsec_…."),
        ];
        for (body, shown) in cases {
            assert_eq!(redact_secrets(body), shown);
        }
        assert_eq!(redact_secrets("nothing"), "nothing");
    }

    proptest! {
        #[test]
        fn any_secret_is_replaced_and_the_text_around_it_stays(
            before in "[^w]{0,20}", key in vec(any::<u8>(), 24..64), after in "[^a-zA-Z0-9+/=_\\\\-][^w]{0,20}",
        ) {
            let secret = format!("whsec_{}", STANDARD.encode(&key));
            let shown = redact_secrets(&format!("{before}{secret}{after}")).into_owned();
            prop_assert_eq!(shown, format!("{before}whsec_…{after}"));
        }
    }
}
