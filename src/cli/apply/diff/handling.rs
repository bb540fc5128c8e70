//! A webhook's own settings in a plan, without their secrets.

use serde::Serialize;

use super::Field;
use crate::definition::DeliverySettings;

pub(super) fn fields(handling: &DeliverySettings) -> Vec<Field> {
    let shown = handling.hidden();
    vec![
        ("Timeout", shown.timeout.map(|seconds| seconds.to_string())),
        ("RetrySchedule", shown.retry.map(|waits| format!("{waits:?}"))),
        ("Headers", (!shown.headers.is_empty()).then(|| text(&shown.headers))),
        ("Authentication", shown.authentication.as_ref().map(text)),
        ("Tls", shown.tls.as_ref().map(text)),
        ("PayloadSecret", shown.omit_secret.then(|| "false".to_owned())),
    ]
}

/// Names of fields of which only the secret part differs, which [`fields`] does not show.
pub(super) fn with_other_secrets(before: &DeliverySettings, after: &DeliverySettings) -> Vec<&'static str> {
    let (shown_before, shown_after) = (before.hidden(), after.hidden());
    let differ = [
        ("Headers", before.headers != after.headers && shown_before.headers == shown_after.headers),
        (
            "Authentication",
            before.authentication != after.authentication && shown_before.authentication == shown_after.authentication,
        ),
        ("Tls", before.tls != after.tls && shown_before.tls == shown_after.tls),
    ];
    differ.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("names and texts are JSON")
}
