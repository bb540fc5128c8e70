//! The REST API: webhooks and events as in Caspio's API, and our extensions, under each of its base paths.

mod dead_letters;
mod endpoints;
mod events;
mod messages;
mod preview;
mod shapes;
mod tables;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::dead_letters::{DeadLetterView, DeadLetterWithBodyView};
pub use self::endpoints::EndpointState;
pub use self::messages::{AttemptView, MessageView};
use self::shapes::Counts;
use super::Api;
use super::error::ApiError;
use super::oauth::Caller;
use crate::catalogue::Catalogue;
use crate::definition::edit::{self, Decision, RequestContext};
use crate::definition::{PendingDefinitions, Stamp, Webhook};
use crate::id::{AccountId, EventId};
use crate::stats::{Stats, Totals};

/// Max time that a request waits, after a start, for the catalogue of seen fields.
const CATALOGUE_WAIT: Duration = Duration::from_secs(2);

/// The fields of a table that were seen in the stream; None until the stats topic is read to its end.
fn seen_fields(catalogue: &Catalogue, stats: &Stats, account: &AccountId, table: &str) -> Option<Vec<String>> {
    catalogue.names(account.as_str(), table).filter(|_| stats.is_caught_up())
}

/// Base paths. All of them serve the same API.
pub(super) const BASE_PATHS: [&str; 6] =
    ["/v2", "/v3", "/rest/v2", "/rest/v3", "/integrations/rest/v2", "/integrations/rest/v3"];

/// The routes below a base path.
pub(super) fn router() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::read, webhooks::change, webhooks::delete))
        .routes(routes!(webhooks::regenerate_secret))
        .routes(routes!(preview::of_draft))
        .routes(routes!(preview::explain))
        .routes(routes!(events::list, events::create))
        .routes(routes!(events::read, events::replace, events::delete))
        .routes(routes!(preview::of_event))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::read))
        .routes(routes!(dead_letters::redrive::many))
        .routes(routes!(dead_letters::redrive::one))
        .routes(routes!(messages::list))
        .routes(routes!(messages::read))
        .routes(routes!(messages::resend::resend))
        .routes(routes!(endpoints::list))
        .routes(routes!(endpoints::retry_now))
        .routes(routes!(tables::list))
        .routes(routes!(tables::fields))
}

impl Api {
    /// Writes a request's change of the definitions. Resolves when this instance applies it.
    async fn edit<T: Send + 'static>(
        &self,
        caller: &Caller,
        decide: impl Fn(&PendingDefinitions<'_>, &RequestContext<'_>) -> Decision<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.account_limits.write(&caller.account)?;
        let stamp = Stamp::new(Timestamp::now(), &*caller.name);
        let (account, policy, random) = (caller.account.clone(), self.policy.clone(), SystemRandom::new());
        let (catalogue, stats) = (self.catalogue.clone(), self.stats.clone());
        let written = self.store.write(move |draft| {
            let random = |bytes: &mut [u8]| random.fill(bytes).expect("the operating system provides random bytes");
            let seen = |account: &AccountId, table: &str| seen_fields(&catalogue, &stats, account, table);
            decide(
                draft,
                &RequestContext {
                    account: &account,
                    policy: &policy,
                    stamp: &stamp,
                    seen_fields: &seen,
                    random: &random,
                },
            )
        });
        Ok(written.await?)
    }

    /// A webhook of the caller's account.
    fn webhook(&self, id: &str, caller: &Caller) -> Result<Webhook, ApiError> {
        let found = |draft: PendingDefinitions<'_>| edit::webhook(&draft, id, &caller.account).cloned();
        Ok(self.store.with(|definitions| found(PendingDefinitions::new(definitions)))?)
    }

    /// Waits up to [`CATALOGUE_WAIT`] for the catalogue of seen fields. If the stats topic can't be read, the catalogue
    /// stays unknown, and any field is accepted.
    async fn wait_for_catalogue(&self) {
        let _ = tokio::time::timeout(CATALOGUE_WAIT, self.stats.wait_until_caught_up()).await;
    }

    /// Counts of these events over the last 30 days.
    fn counts(&self, events: impl Iterator<Item = EventId>) -> Counts {
        let Totals { messages, calls, errors } = self.stats.totals_of_all(events);
        Counts { messages, calls, errors }
    }
}
