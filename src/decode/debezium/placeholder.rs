//! Recognises the connector's placeholder for an unchanged value that it does not know (PostgreSQL's TOAST), in each
//! spelling.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::decode::row::Row;

/// The placeholder's spellings as JSON text.
pub(super) struct Placeholder([String; 5]);

impl Placeholder {
    /// From the text that the connector's `unavailable.value.placeholder` sets.
    pub(super) fn new(text: &str) -> Self {
        let quoted = serde_json::Value::from(text).to_string();
        let numbers: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        Self([
            // A text[] or other array of strings holds it as its only element, an int[] or bigint[] holds its bytes.
            format!("[{quoted}]"),
            format!("[{}]", numbers.join(",")),
            // A bytea, by the connector's binary.handling.mode.
            format!("\"{}\"", BASE64_STANDARD.encode(text)),
            format!("\"{hex}\""),
            // A text, and all types that are written as text: json, jsonb, xml, uuid.
            quoted,
        ])
    }

    /// Marks the values that the connector did not know as unavailable.
    pub(super) fn mark(&self, row: &mut Row<'_>) {
        for field in &mut row.fields {
            if self.0.iter().any(|spelling| *spelling == field.value.json) {
                field.value.available = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::json;

    fn unavailable(placeholder: &str, row: &str) -> Vec<String> {
        let mut row = json::row(row).expect("the test gives an object");
        Placeholder::new(placeholder).mark(&mut row);
        let marked = row.fields.into_iter().filter(|field| !field.value.available);
        marked.map(|field| field.name.into_owned()).collect()
    }

    #[test]
    fn every_encoding_of_a_custom_placeholder_is_recognised() {
        let row = r#"{"id":1,"text":"Gone \"?\"","base64":"R29uZSAiPyI=","hex":"476f6e6520223f22",
            "texts":["Gone \"?\""],"numbers":[71,111,110,101,32,34,63,34]}"#;
        assert_eq!(unavailable(r#"Gone "?""#, row), ["text", "base64", "hex", "texts", "numbers"]);
    }

    #[test]
    fn similar_values_are_not_taken_for_the_placeholder() {
        let row = r#"{"a":"__debezium_unavailable_value ","b":["__debezium_unavailable_value","x"],"c":[],"d":null}"#;
        assert!(unavailable("__debezium_unavailable_value", row).is_empty());
    }
}
