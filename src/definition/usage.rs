//! How much memory of every instance an account's definitions use.

use std::ops::{Add, Sub};

use super::{Authentication, DeliverySettings, Event, Payload, TlsSettings, Webhook};

/// Number of definitions, and the bytes of their texts. Declared tables are not counted, because only an operator
/// declares them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub webhooks: usize,
    pub events: usize,
    pub bytes: usize,
}

impl Usage {
    /// Usage by a webhook without its events.
    pub fn of_webhook(webhook: &Webhook) -> Self {
        let Webhook { name, description, urls, handling, stopped, .. } = webhook;
        let texts = [Some(name), description.as_ref(), stopped.as_ref()];
        let bytes =
            texts.into_iter().flatten().chain(urls).map(String::len).sum::<usize>() + delivery_settings_bytes(handling);
        Self { webhooks: 1, bytes, ..Self::default() }
    }

    pub fn of_event(event: &Event) -> Self {
        let Event { object_name, object_fields, event_sources, payload, .. } = event;
        let payload = match payload {
            Payload::Default => 0,
            Payload::Fields(names) => names.iter().map(String::len).sum(),
            Payload::Template(text) => text.len(),
        };
        let names = object_fields.iter().chain(event_sources).map(String::len).sum::<usize>();
        Self { events: 1, bytes: object_name.len() + names + payload, ..Self::default() }
    }
}

fn delivery_settings_bytes(settings: &DeliverySettings) -> usize {
    let DeliverySettings { headers, authentication, tls, .. } = settings;
    let headers: usize = headers.iter().map(|(name, value)| name.len() + value.0.len()).sum();
    let authentication = authentication.as_ref().map_or(0, |authentication| match authentication {
        Authentication::Basic { username, password } => username.len() + password.0.len(),
        Authentication::Bearer { token } => token.0.len(),
        Authentication::OAuth2 { token_url, client_id, client_secret, scope } => {
            token_url.len() + client_id.len() + client_secret.0.len() + scope.as_ref().map_or(0, String::len)
        }
    });
    let tls_bytes = |tls: &TlsSettings| {
        let texts = [&tls.ca_certificates, &tls.client_certificate].into_iter().flatten().map(String::len);
        texts.sum::<usize>() + tls.client_key.as_ref().map_or(0, |key| key.0.len())
    };
    headers + authentication + tls.as_ref().map_or(0, tls_bytes)
}

impl Add for Usage {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            webhooks: self.webhooks + more.webhooks,
            events: self.events + more.events,
            bytes: self.bytes + more.bytes,
        }
    }
}

/// Subtracts usage that is part of this one. Saturates at zero.
impl Sub for Usage {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self {
            webhooks: self.webhooks.saturating_sub(less.webhooks),
            events: self.events.saturating_sub(less.events),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }
}
