//! Which calls share a lane, and the line of the overflow log in which they wait.

use std::sync::Arc;

use super::Call;
use crate::id::{Line, WebhookId};
use crate::rules::Target;

/// The key of a lane. Calls to one URL share a lane, except those of a webhook with special settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    /// The key by which the endpoint shares connections.
    endpoint: Arc<str>,
    scope: LaneScope,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum LaneScope {
    Shared,
    /// Calls of one version of a webhook, which must not mix with calls of others.
    WebhookVersion(WebhookId, u32),
    /// Calls of a webhook with row order. All versions share the lane, so that no call overtakes one of an older
    /// version.
    OrderedWebhook(WebhookId),
}

impl LaneKey {
    pub fn of(call: &Call) -> Self {
        Self::to(&call.message.target, call.message.endpoint)
    }

    /// The key for calls to this endpoint of a webhook, by index.
    fn to(target: &Target, endpoint: usize) -> Self {
        // Throttling, timeout and credentials affect only the webhook's own calls.
        let is_own = target.call_throttling.is_some() || target.timeout.is_some() || target.authorization.is_some();
        let scope = match target.is_in_row_order() {
            true => LaneScope::OrderedWebhook(target.webhook),
            false if is_own => LaneScope::WebhookVersion(target.webhook, target.version),
            false => LaneScope::Shared,
        };
        Self { endpoint: target.endpoints[endpoint].lane_key.clone(), scope }
    }

    /// The line in which the lane's calls wait, the same for all versions of the webhook.
    pub fn line(&self) -> Line {
        let webhook = match self.scope {
            LaneScope::Shared => None,
            LaneScope::WebhookVersion(webhook, _) | LaneScope::OrderedWebhook(webhook) => Some(webhook),
        };
        Line::of(&self.endpoint, webhook)
    }

    /// Whether the lane's calls are sent in row order.
    pub fn is_in_row_order(&self) -> bool {
        matches!(self.scope, LaneScope::OrderedWebhook(_))
    }
}

/// The line in which calls to an endpoint of a webhook wait. `endpoint` is its index.
///
/// # Panics
/// When the webhook has no such endpoint.
pub fn line_of(target: &Target, endpoint: usize) -> Line {
    LaneKey::to(target, endpoint).line()
}
