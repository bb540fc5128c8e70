//! Settings passed to librdkafka unchanged: `[kafka.properties]`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};

/// librdkafka's settings by name. `Debug` hides values that may be secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, String>);

/// Whether a path of keys is that of one property.
pub(super) fn is_property_path(keys: &[String]) -> bool {
    matches!(keys, [kafka, properties, _] if kafka == "kafka" && properties == "properties")
}

impl Properties {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Whether a property's value may be a secret, judged by the property's name.
pub(super) fn is_secret(name: &str) -> bool {
    const SIGNS: [&str; 8] = ["password", "secret", "pem", "key", "token", "jaas", "oauthbearer", "username"];
    SIGNS.iter().any(|sign| name.contains(sign))
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, if is_secret(name) { "…" } else { value })))
            .finish()
    }
}

/// The value of a property. librdkafka takes only texts, but numbers and booleans are accepted, because people write
/// them in TOML. In TOML an unquoted name with dots is nested tables; here it is the same as the quoted name.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, a number or a boolean")]
enum PropertyValue {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Dotted(BTreeMap<String, PropertyValue>),
}

impl PropertyValue {
    fn insert_into(self, name: String, properties: &mut BTreeMap<String, String>) {
        let text = match self {
            PropertyValue::Text(text) => text,
            PropertyValue::Integer(number) => number.to_string(),
            PropertyValue::Float(number) => number.to_string(),
            PropertyValue::Boolean(yes) => yes.to_string(),
            PropertyValue::Dotted(settings) => {
                return settings
                    .into_iter()
                    .for_each(|(rest, setting)| setting.insert_into(format!("{name}.{rest}"), properties));
            }
        };
        properties.insert(name, text);
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut properties = BTreeMap::new();
        for (name, setting) in BTreeMap::<String, PropertyValue>::deserialize(deserializer)? {
            setting.insert_into(name, &mut properties);
        }
        Ok(Self(properties))
    }
}
