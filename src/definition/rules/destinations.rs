//! Where a webhook's URLs say themselves that they lead.

use super::{Policy, Violation};
use crate::definition::authentication::TOKEN_URL;
use crate::definition::{Authentication, Endpoint, Webhook};

/// Checks that no URL names an address that would never be dialled. Only for what is written anew: what is there may
/// still be changed and disabled where the configuration allows less than it did.
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
