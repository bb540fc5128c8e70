//! The types that a field can be declared with, as the API names them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A field's type. Only [`FieldType::Password`] changes what is sent. The others are information for readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum FieldType {
    String,
    Text,
    Password,
    Number,
    Integer,
    Currency,
    DateTime,
    YesNo,
    Attachment,
    Autonumber,
    Timestamp,
    Guid,
    File,
    ListString,
    ListNumber,
    ListDateTime,
    RandomId,
    PrefixedAutonumber,
    Formula,
}

/// A text that is not a field type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a field type: use {list}", list = FieldType::ALL.map(FieldType::as_str).join(", "))]
pub struct UnknownFieldType(pub String);

impl FieldType {
    pub const ALL: [FieldType; 19] = [
        FieldType::String,
        FieldType::Text,
        FieldType::Password,
        FieldType::Number,
        FieldType::Integer,
        FieldType::Currency,
        FieldType::DateTime,
        FieldType::YesNo,
        FieldType::Attachment,
        FieldType::Autonumber,
        FieldType::Timestamp,
        FieldType::Guid,
        FieldType::File,
        FieldType::ListString,
        FieldType::ListNumber,
        FieldType::ListDateTime,
        FieldType::RandomId,
        FieldType::PrefixedAutonumber,
        FieldType::Formula,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            FieldType::String => "STRING",
            FieldType::Text => "TEXT",
            FieldType::Password => "PASSWORD",
            FieldType::Number => "NUMBER",
            FieldType::Integer => "INTEGER",
            FieldType::Currency => "CURRENCY",
            FieldType::DateTime => "DATE/TIME",
            FieldType::YesNo => "YES/NO",
            FieldType::Attachment => "ATTACHMENT",
            FieldType::Autonumber => "AUTONUMBER",
            FieldType::Timestamp => "TIMESTAMP",
            FieldType::Guid => "GUID",
            FieldType::File => "FILE",
            FieldType::ListString => "LIST-STRING",
            FieldType::ListNumber => "LIST-NUMBER",
            FieldType::ListDateTime => "LIST-DATE/TIME",
            FieldType::RandomId => "RANDOM ID",
            FieldType::PrefixedAutonumber => "PREFIXED AUTONUMBER",
            FieldType::Formula => "FORMULA",
        }
    }
}

impl FromStr for FieldType {
    type Err = UnknownFieldType;

    /// Letter case is ignored.
    fn from_str(text: &str) -> Result<Self, UnknownFieldType> {
        let named = Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text));
        named.ok_or_else(|| UnknownFieldType(text.to_owned()))
    }
}

impl TryFrom<String> for FieldType {
    type Error = UnknownFieldType;

    fn try_from(text: String) -> Result<Self, UnknownFieldType> {
        text.parse()
    }
}

impl From<FieldType> for &'static str {
    fn from(kind: FieldType) -> &'static str {
        kind.as_str()
    }
}

impl fmt::Display for FieldType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_types_are_parsed_in_any_case() {
        for kind in FieldType::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(kind.as_str().to_lowercase().parse(), Ok(kind));
        }
        let error = "PASWORD".parse::<FieldType>().unwrap_err().to_string();
        assert!(error.contains("\"PASWORD\"") && error.contains("TEXT, PASSWORD, NUMBER"), "{error}");
    }
}
