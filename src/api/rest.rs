//! Webhooks and events over REST, as Caspio's API has them, under each of its base paths.

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

pub use self::dead_letters::{LetterShown, OpenedShown};
pub use self::messages::{AttemptShown, MessageShown};
use self::shapes::Counts;
use super::Api;
use super::error::ApiError;
use super::oauth::Caller;
use crate::catalogue::Catalogue;
use crate::definition::edit::{Decision, RequestContext};
use crate::definition::{PendingDefinitions, Stamp};
use crate::id::{AccountId, EventId};
use crate::stats::{Stats, Totals};

/// How long a request waits, after a start, for the fields that the stream has shown.
const FIELDS_KNOWN: Duration = Duration::from_secs(2);

/// The fields that the stream has shown of a table. Until the stats topic has been read that is not known.
fn seen(catalogue: &Catalogue, stats: &Stats, account: &AccountId, table: &str) -> Option<Vec<String>> {
    catalogue.names(account.as_str(), table).filter(|_| stats.is_caught_up())
}

/// Where the same is served.
pub(super) const BASES: [&str; 6] =
    ["/v2", "/v3", "/rest/v2", "/rest/v3", "/integrations/rest/v2", "/integrations/rest/v3"];

/// The paths below a base.
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
    /// Writes what a request makes of the definitions; resolves when this instance applies it.
    async fn edit<T: Send + 'static>(
        &self,
        caller: &Caller,
        decide: impl Fn(&PendingDefinitions<'_>, &RequestContext<'_>) -> Decision<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.shares.write(&caller.account)?;
        let stamp = Stamp::new(Timestamp::now(), &*caller.name);
        let (account, policy, random) = (caller.account.clone(), self.policy.clone(), SystemRandom::new());
        let (catalogue, stats) = (self.catalogue.clone(), self.stats.clone());
        let written = self.store.write(move |draft| {
            let random =
                |bytes: &mut [u8]| random.fill(bytes).expect("every system that this runs on gives random bytes");
            let seen = |account: &AccountId, table: &str| seen(&catalogue, &stats, account, table);
            decide(
                draft,
                &RequestContext { account: &account, policy: &policy, stamp: &stamp, seen: &seen, random: &random },
            )
        });
        Ok(written.await?)
    }

    /// Waits for a moment until it is known which fields the stream has shown. Where the stats topic can't be read, it is
    /// not, and any field is taken.
    async fn fields_known(&self) {
        let _ = tokio::time::timeout(FIELDS_KNOWN, self.stats.caught_up()).await;
    }

    /// What was sent for events in the last 30 days.
    fn counts(&self, events: impl Iterator<Item = EventId>) -> Counts {
        let Totals { messages, calls, errors } = self.stats.totals_of_all(events);
        Counts { messages, calls, errors }
    }
}
