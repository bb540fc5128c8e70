//! Secrets that stay as they are: they go where they went before, and nowhere else.
//!
//! They are never shown, so whoever may change a webhook need not know them. If they followed its URLs, a URL of one's
//! own would be a way to read them. So a new origin, which is scheme, host and port, needs them again. The scheme
//! counts both ways: over http they can be read on the way, and another port may be another's server. A client's key
//! is never sent, but it is what an endpoint knows us by, so it is held to the same.
//!
//! The webhook's own secret is none of them: a change can't give it, and the default payload sends it to all URLs.

use std::collections::HashSet;

use super::authentication::TOKEN_URL;
use super::rules::Violation;
use super::{Authentication, Endpoint, Webhook};

/// A text that stays as it is because it is not given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RetainedText {
    /// The value of this header.
    Header(String),
    /// What calls are authorized by, by the name of its field.
    Credential(&'static str),
    ClientKey,
}

impl RetainedText {
    /// Whether it, or what it is changed for, goes to the token URL too.
    fn is_for_tokens(&self) -> bool {
        !matches!(self, RetainedText::Header(_))
    }

    fn name(&self) -> String {
        match self {
            RetainedText::Header(name) => format!("The value of {name:?} in Headers"),
            RetainedText::Credential(field) => (*field).to_owned(),
            RetainedText::ClientKey => "Tls.ClientKey".to_owned(),
        }
    }
}

/// Checks that what is kept goes nowhere that it did not go to before.
///
/// # Errors
/// [`Violation::KeptSecret`].
pub(super) fn check(kept: &[RetainedText], before: &Webhook, after: &Webhook) -> Result<(), Violation> {
    let refused =
        |secret: &RetainedText, field, origin| Err(Violation::KeptSecret { secret: secret.name(), field, origin });
    if let (Some(secret), Some(origin)) = (kept.first(), new_origin(urls(before), urls(after))) {
        return refused(secret, "OutgoingUrls", origin);
    }
    if let (Some(secret), Some(origin)) = (
        kept.iter().find(|secret| secret.is_for_tokens()),
        new_origin(token_url(before).into_iter(), token_url(after).into_iter()),
    ) {
        return refused(secret, TOKEN_URL, origin);
    }
    Ok(())
}

/// The first origin of these URLs that none of those before has.
fn new_origin<'u>(before: impl Iterator<Item = &'u str>, after: impl Iterator<Item = &'u str>) -> Option<String> {
    let origin = |url: &str| Some(Endpoint::parse(url).ok()?.origin().to_ascii_lowercase());
    let before: HashSet<String> = before.filter_map(origin).collect();
    after.filter_map(origin).find(|origin| !before.contains(origin))
}

fn urls(webhook: &Webhook) -> impl Iterator<Item = &str> {
    webhook.urls.iter().map(String::as_str)
}

fn token_url(webhook: &Webhook) -> Option<&str> {
    webhook.handling.authentication.as_ref().and_then(Authentication::token_url)
}
