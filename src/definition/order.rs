//! The order in which a webhook's messages are sent.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The order in which a webhook's messages are sent. Letter case is ignored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Order)]
#[serde(try_from = "String")]
pub enum MessageOrder {
    /// No order.
    #[default]
    None,
    /// To each URL, messages about one row in the order of the row's changes.
    RowKey,
}

/// A text that is not an order of messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an order of messages: use RowKey or None")]
pub struct BadOrder(String);

impl MessageOrder {
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl FromStr for MessageOrder {
    type Err = BadOrder;

    fn from_str(text: &str) -> Result<Self, BadOrder> {
        let known = [("None", Self::None), ("RowKey", Self::RowKey)];
        let found = known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, order)| order).ok_or_else(|| BadOrder(text.to_owned()))
    }
}

impl TryFrom<String> for MessageOrder {
    type Error = BadOrder;

    fn try_from(text: String) -> Result<Self, BadOrder> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_order_is_parsed_in_any_case_and_written_in_one_form() {
        for (text, order) in [
            ("\"rowkey\"", MessageOrder::RowKey),
            ("\"RowKey\"", MessageOrder::RowKey),
            ("\"NONE\"", MessageOrder::None),
        ] {
            assert_eq!(serde_json::from_str::<MessageOrder>(text).unwrap(), order);
        }
        assert_eq!(serde_json::to_string(&MessageOrder::RowKey).unwrap(), "\"RowKey\"");
        let error = serde_json::from_str::<MessageOrder>("\"row key\"").unwrap_err().to_string();
        assert!(error.starts_with("\"row key\" is not an order of messages: use RowKey or None"));
    }
}
