//! Checks secrets that a change keeps: they may go only where they went before.
//!
//! Secrets are never shown, so a user who changes a webhook need not know them. If kept secrets followed the
//! webhook's URLs, that user could read them at a URL of the user's choice. So a new origin (scheme, host and port)
//! requires the secrets again. The scheme counts in both directions, because over http secrets can be read in
//! transit. Another port may belong to another server. A client's key is never sent, but endpoints identify Outhook
//! by it, so it follows the same rule.
//!
//! The webhook's own secret is not among them: a change can't set it, and the default payload sends it to all URLs.

use std::collections::HashSet;

use super::authentication::TOKEN_URL_FIELD;
use super::hidden_text::RetainedText;
use super::rules::Violation;
use super::{Authentication, Endpoint, Webhook};

/// Checks that kept secrets go only to origins that they went to before.
///
/// # Errors
/// [`Violation::RetainedSecretToNewOrigin`].
pub(super) fn check(retained: &[RetainedText], before: &Webhook, after: &Webhook) -> Result<(), Violation> {
    let refused = |secret: &RetainedText, field, origin| {
        Err(Violation::RetainedSecretToNewOrigin { secret: secret.name(), field, origin })
    };
    if let (Some(secret), Some(origin)) = (retained.first(), new_origin(urls(before), urls(after))) {
        return refused(secret, "OutgoingUrls", origin);
    }
    if let (Some(secret), Some(origin)) = (
        retained.iter().find(|secret| secret.is_for_tokens()),
        new_origin(token_url(before).into_iter(), token_url(after).into_iter()),
    ) {
        return refused(secret, TOKEN_URL_FIELD, origin);
    }
    Ok(())
}

/// The first origin of the URLs in `after` that no URL in `before` has.
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
