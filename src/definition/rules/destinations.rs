//! Checks destinations that are known from a webhook's URLs alone, without a lookup.

use super::{Policy, Violation};
use crate::definition::authentication::TOKEN_URL;
use crate::definition::{Authentication, Endpoint, Webhook};

/// Checks that no URL names an address that would never be dialled. Only for URLs that are being written: an existing
/// webhook can still be changed and disabled after the configuration has become stricter.
///
/// # Errors
/// [`Violation::Address`].
pub fn destinations(webhook: &Webhook, policy: &Policy) -> Result<(), Violation> {
    let urls = webhook.urls.iter().map(|url| ("OutgoingUrls", url.as_str()));
    let token_url = webhook.handling.authentication.as_ref().and_then(Authentication::token_url);
    for (field, url) in urls.chain(token_url.map(|url| (TOKEN_URL, url))) {
        let host = Endpoint::parse(url)?.host;
        let check = policy.addresses.check_host(&host);
        check.map_err(|refused| Violation::Address { field, url: url.to_owned(), refused })?;
    }
    Ok(())
}
