//! A webhook's own settings in a plan, without their secrets.

use super::DiffField;
use crate::definition::{CallSettings, DeliverySettings};

pub(super) fn fields(handling: &DeliverySettings) -> Vec<DiffField> {
    let values = CallSettings::from(handling.with_hidden_values()).values();
    // Shows a list with blanks after its commas, and a word without quotes.
    let text = |json: String| match json.starts_with('[') {
        true => json.replace(',', ", "),
        false => json.trim_matches('"').to_owned(),
    };
    CallSettings::KEYS.iter().copied().zip(values.into_iter().map(|value| value.map(text))).collect()
}

/// Names of fields of which only the secret part differs, which [`fields`] does not show.
pub(super) fn fields_with_changed_secrets(before: &DeliverySettings, after: &DeliverySettings) -> Vec<&'static str> {
    let differ = |before: &DeliverySettings, after: &DeliverySettings| {
        let values = |settings: &DeliverySettings| CallSettings::from(settings.clone()).values();
        values(before).into_iter().zip(values(after)).map(|(before, after)| before != after).collect::<Vec<_>>()
    };
    let (whole, shown) = (differ(before, after), differ(&before.with_hidden_values(), &after.with_hidden_values()));
    let keys = CallSettings::KEYS.iter().copied().zip(whole.into_iter().zip(shown));
    keys.filter_map(|(key, (whole, shown))| (whole && !shown).then_some(key)).collect()
}
