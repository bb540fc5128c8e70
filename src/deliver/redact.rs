//! Hides secrets in a logged response: receivers that send back their request would put secrets into the log.

use std::borrow::Cow;
use std::cmp::Reverse;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use crate::definition::redact_secrets;
use crate::rules::{Authorization, Target};

/// Min length of a hidden value, in bytes. A shorter value is not a secret, and the text would be full of gaps.
const MIN_SECRET_LENGTH: usize = 4;
/// Characters that are encoded in a URL (all except the unreserved ones of RFC 3986), and by JavaScript's
/// encodeURIComponent.
const URL_ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const COMPONENT_ENCODED: &AsciiSet = &URL_ENCODED.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');

/// Returns at most `keep` bytes of a response as text, without the secrets of webhooks and the values of the webhook's
/// headers.
pub(in crate::deliver) fn redacted_response(
    body_start: &[u8],
    target: &Target,
    authorization: Option<&HeaderValue>,
    keep: usize,
) -> String {
    let text = without_escapes(String::from_utf8_lossy(body_start));
    let mut text = redact_secrets(&text).into_owned();
    for hidden in secrets_to_hide(target, authorization) {
        if text.contains(&hidden) {
            text = text.replace(&hidden, "…");
        }
    }
    if text.len() > keep {
        let end = (0..=keep).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Decodes letters, digits and signs that some JSON writers escape (`\u003d`, which is `=`).
fn without_escapes(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains("\\u00") {
        return text;
    }
    let mut plain = String::with_capacity(text.len());
    let mut parts = text.split("\\u00");
    plain.extend(parts.next());
    for part in parts {
        let sign = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()).map(char::from);
        match sign.filter(|sign| sign.is_ascii_graphic() && !matches!(sign, '"' | '\\')) {
            Some(sign) => plain.extend([sign.encode_utf8(&mut [0; 4]), &part[2..]]),
            None => plain.extend(["\\u00", part]),
        }
    }
    plain.into()
}

/// The secrets in the webhook's headers and authorization, in each form that a response may contain. The longest is
/// first, as it may begin with another.
fn secrets_to_hide(target: &Target, authorization: Option<&HeaderValue>) -> Vec<String> {
    // The token endpoint may be the same server, and know the client by its secret.
    let client = match &target.authorization {
        Some(Authorization::Fetched(source)) => Some(&source.client_authorization),
        _ => None,
    };
    let authorizations = authorization.into_iter().chain(client).map(|value| (&AUTHORIZATION, value));
    let headers = target.headers.iter().map(|(name, value)| (name, value)).chain(authorizations);
    let headers = headers.filter_map(|(name, value)| Some((name, value.to_str().ok()?)));
    let values =
        headers.flat_map(|(name, value)| header_secrets(name, value)).filter(|value| value.len() >= MIN_SECRET_LENGTH);
    let mut hidden: Vec<_> = values.flat_map(|value| encoded_forms(&value)).collect();
    hidden.sort_unstable_by(|one, other| (Reverse(one.len()), one).cmp(&(Reverse(other.len()), other)));
    hidden.dedup();
    hidden
}

/// A header's value, and the parts of it that reveal the secret: a token without its scheme, the credentials of Basic
/// authorization, a cookie's value.
fn header_secrets(name: &HeaderName, value: &str) -> Vec<String> {
    let mut secrets = vec![value.to_owned()];
    if let Some((scheme, token)) = value.split_once(' ') {
        let is = |known: &str| scheme.eq_ignore_ascii_case(known);
        if name == AUTHORIZATION || is("basic") || is("bearer") {
            secrets.push(token.trim_start().to_owned());
        }
        if is("basic") {
            secrets.extend(credentials(token.trim_start()));
        }
    }
    if name == COOKIE {
        let values = value.split(';').filter_map(|pair| Some(pair.split_once('=')?.1.trim().to_owned()));
        secrets.extend(values);
    }
    secrets
}

/// Secrets in Basic authorization (RFC 7617): user and password, the password, and the password of an OAuth client,
/// which was form-encoded before (RFC 6749, 2.3.1).
fn credentials(token: &str) -> Vec<String> {
    let text = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((text, password)) = text.as_deref().and_then(|text| Some((text, text.split_once(':')?.1))) else {
        return Vec::new();
    };
    let mut secrets = vec![text.to_owned(), password.to_owned()];
    let plain = password.replace('+', " ");
    if let Ok(plain) = percent_decode_str(&plain).decode_utf8()
        && plain != password
    {
        secrets.push(plain.into_owned());
    }
    secrets
}

/// A text in each form that a response may contain: unchanged; in JSON, where some writers escape slashes, or all
/// characters except ASCII; in HTML; in a URL or a form; and in base64.
fn encoded_forms(text: &str) -> Vec<String> {
    let json = Value::from(text).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let ascii = [
        escape_non_ascii(&json, |unit| format!("\\u{unit:04x}")),
        escape_non_ascii(&json, |unit| format!("\\u{unit:04X}")),
    ];
    let json = [json].into_iter().chain(ascii).flat_map(|json| [json.replace('/', "\\/"), json]);
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let quoted = [("&quot;", "&#39;"), ("&#34;", "&#x27;")]
        .map(|(double, single)| html.replace('"', double).replace('\'', single));
    let url = utf8_percent_encode(text, URL_ENCODED).to_string();
    let form = url.replace("%20", "+");
    let component = utf8_percent_encode(text, COMPONENT_ENCODED).to_string();
    let encoded = [url, form.replace('~', "%7E"), form.replace("%2A", "*"), form, component];
    let lower = encoded.each_ref().map(|text| lowercase_percent_encoding(text));
    let base64 = [STANDARD, URL_SAFE, STANDARD_NO_PAD, URL_SAFE_NO_PAD].map(|engine| engine.encode(text));
    let mut all = vec![html, text.to_owned()];
    all.extend(json.chain(quoted).chain(encoded).chain(lower).chain(base64));
    all
}

/// JSON text with all characters except ASCII escaped.
fn escape_non_ascii(json: &str, escape: impl Fn(u16) -> String) -> String {
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        match character.is_ascii() {
            true => ascii.push(character),
            false => ascii.extend(character.encode_utf16(&mut [0; 2]).iter().map(|unit| escape(*unit))),
        }
    }
    ascii
}

/// Percent-encoded text with lowercase hexadecimal digits.
fn lowercase_percent_encoding(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let mut lower = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (hex, rest) = part.split_at(2.min(part.len()));
        lower.extend(["%", &hex.to_ascii_lowercase(), rest]);
    }
    lower
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::definition::samples::webhook;
    use crate::rules::Authorization;

    /// The logged response of a webhook with this header and this authentication.
    fn shown_to(header: (&'static str, &'static str), authentication: Value, answer: &str) -> String {
        let mut target = Target::of(&webhook("crm001", "CRM")).unwrap();
        target.headers = [(header.0.parse().unwrap(), header.1.parse().unwrap())].into();
        let authentication = serde_json::from_value(authentication).unwrap();
        let Authorization::Fixed(authorization) = Authorization::compile(&authentication, None).unwrap() else {
            panic!()
        };
        redacted_response(answer.as_bytes(), &target, Some(&authorization), answer.len())
    }

    #[test]
    fn token_is_redacted_with_and_without_its_scheme() {
        let bearer = || json!({"Bearer": {"Token": "abc123"}});
        let basic = json!({"Basic": {"Username": "Aladdin", "Password": "open sesame"}});
        let answer = "Bearer abc123, or abc123";
        assert_eq!(shown_to(("x-key", "none"), bearer(), answer), "…, or …");
        assert_eq!(shown_to(("x-key", "none"), basic, "no QWxhZGRpbjpvcGVuIHNlc2FtZQ== here"), "no … here");
        assert_eq!(shown_to(("authorization", "Bearer other9"), bearer(), "other9, abc123"), "…, …");
        assert_eq!(shown_to(("x-key", "my other9"), bearer(), "other9, my other9"), "other9, …");
    }

    #[test]
    fn password_is_redacted_without_its_user_and_in_every_encoding() {
        let basic = |password: &str| json!({"Basic": {"Username": "ann", "Password": password}});
        let none = ("x-key", "none");
        assert_eq!(shown_to(none, basic("öpen/sesame 9"), "no ann:öpen/sesame 9, öpen/sesame 9"), "no …, …");
        for echoed in [
            "%C3%B6pen%2Fsesame%209",
            "%c3%b6pen%2fsesame%209",
            "%C3%B6pen%2Fsesame+9",
            "w7ZwZW4vc2VzYW1lIDk=",
            "w7ZwZW4vc2VzYW1lIDk",
            r"\u00f6pen\/sesame 9",
        ] {
            let shown = shown_to(none, basic("öpen/sesame 9"), &format!("<{echoed}>"));
            assert!(shown.starts_with("<…") && !shown.contains("pen"), "{echoed} {shown}");
        }
        let given = format!("Basic {}", STANDARD.encode("ann:pa<ss&'word"));
        let given: &'static str = given.leak();
        for echoed in ["pa<ss&'word", "pa&lt;ss&amp;&#39;word", "pa%3Css%26'word", "pa%3Css%26%27word"] {
            assert_eq!(shown_to(("authorization", given), basic("other"), echoed), "…", "{echoed}");
            assert_eq!(shown_to(("x-authorization", given), basic("other"), echoed), "…", "{echoed}");
        }
        assert_eq!(shown_to(("cookie", "a=first; b=second9"), basic("other"), "second9, first"), "…, …");
    }

    #[test]
    fn oauth_client_secret_is_redacted() {
        let mut hook = webhook("crm001", "CRM");
        let oauth = json!({"TokenUrl": "https://a.example/", "ClientId": "c", "ClientSecret": "s3 cret%"});
        hook.handling.authentication = serde_json::from_value(json!({"OAuth2": oauth})).unwrap();
        let target = Target::of(&hook).unwrap();
        let answer = b"s3 cret%, s3+cret%25, c:s3+cret%25, s3%20cret%25";
        assert_eq!(redacted_response(answer, &target, None, 100), "…, …, …, …");
    }

    #[test]
    fn json_escaped_values_are_redacted() {
        let answer = r#"{"a":"k/9\"x","b":"k\/9\"x"} k/9"x"#;
        let shown = shown_to(("x-key", r#"k/9"x"#), json!({"Bearer": {"Token": "abc123"}}), answer);
        assert_eq!(shown, r#"{"a":"…","b":"…"} …"#);
    }

    #[test]
    fn optional_json_unicode_escapes_are_redacted() {
        let shown = shown_to(("x-key", "a/b=="), json!({"Bearer": {"Token": "abc123"}}), r"a\u002Fb\u003d\u003d");
        assert_eq!(shown, "…");
        for odd in [r"\u00", r"\u000a", r"\u0022", r"\u005c", r"\u00é", r"\u00+1", r"\u0020"] {
            assert_eq!(shown_to(("x-key", "none"), json!({"Bearer": {"Token": "abc123"}}), odd), odd);
        }
    }

    #[test]
    fn short_values_stay_and_the_longer_of_two_secrets_is_redacted_whole() {
        let bearer = |token: &str| json!({"Bearer": {"Token": token}});
        assert_eq!(shown_to(("x-version", "1"), bearer("abc"), "abc 1.11 Bearer abc"), "abc 1.11 …");
        assert_eq!(shown_to(("x-key", "abcd"), bearer("abcdefgh"), "abcdefgh abcd"), "… …");
    }
}
