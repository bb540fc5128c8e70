//! Event source of a change (the kind of program that made it), by the source's setting.

use super::Input;
use super::json;
use super::row::Row;
use super::settings::EventSourceRule;
use crate::vocabulary::EventSource;

impl EventSourceRule {
    /// The change's event source; None if the header or field is absent or names none of the seven event sources.
    pub(super) fn resolve(
        &self,
        input: &Input<'_>,
        before: Option<&Row<'_>>,
        after: Option<&Row<'_>>,
    ) -> Option<EventSource> {
        match self {
            Self::Constant(source) => Some(*source),
            // Connect's JsonConverter for headers writes text with its quotes, the simple converter without.
            Self::Header(name) => {
                let text = std::str::from_utf8(input.headers.last(name)?).ok()?;
                text.trim_matches('"').parse().ok()
            }
            Self::Field(name) => {
                let value = [after, before].into_iter().flatten().find_map(|row| row.get(name).filter(|v| v.available));
                json::string(&value?.json)?.parse().ok()
            }
        }
    }
}
