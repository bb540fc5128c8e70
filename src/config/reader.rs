//! serde deserializer of the document. It knows the key and the location of each value, so an error names both. It also
//! knows the expected kind of each value: the text of a variable is converted to that kind, and a single value is
//! accepted for a list of one.

use std::borrow::Cow;
use std::fmt;
use std::slice;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected};
use serde::de::{Deserialize, Visitor};
use toml::Spanned;
use toml::de::DeValue;

use super::key_locations::{KeyLocations, join_key};
use super::problem::{ConfigProblem, ProblemText};
use super::secrets;
use super::value_error::ValueError;

/// Deserializer of one value.
pub(super) struct ValueReader<'d, 'i> {
    pub locations: &'d KeyLocations,
    /// Empty for the whole document.
    pub key: String,
    pub value: &'d Spanned<DeValue<'i>>,
}

/// Why a value can't be read.
#[derive(Debug)]
pub(super) enum ReadFault {
    /// An error without key and location.
    Unlocated(ValueError),
    Located(ConfigProblem),
}

impl<'d, 'i> ValueReader<'d, 'i> {
    pub(super) fn read<'de, T: Deserialize<'de>>(&self) -> Result<T, ConfigProblem> {
        T::deserialize(self).map_err(|fault| self.problem(fault))
    }

    fn child_reader(&self, key: String, value: &'d Spanned<DeValue<'i>>) -> Self {
        Self { locations: self.locations, key, value }
    }

    fn read_with<'de, S: DeserializeSeed<'de>>(&self, seed: S) -> Result<S::Value, ReadFault> {
        seed.deserialize(self).map_err(|fault| ReadFault::Located(self.problem(fault)))
    }

    fn problem(&self, fault: ReadFault) -> ConfigProblem {
        self.problem_at(self.value.span().start, fault)
    }

    fn problem_at(&self, position: usize, fault: ReadFault) -> ConfigProblem {
        match fault {
            ReadFault::Located(problem) => problem,
            ReadFault::Unlocated(why) => {
                let key = match &why {
                    ValueError::UnknownKey { given, .. } => join_key(&self.key, given),
                    _ => self.key.clone(),
                };
                let ProblemText { message, help } = ProblemText::of(&key, self.shown_value().as_deref(), &why);
                ConfigProblem { location: self.locations.of(position), key, message, help }
            }
        }
    }

    /// The value to show in an error, or None if it may contain a secret.
    fn shown_value(&self) -> Option<String> {
        if secrets::is_secret(&self.key) {
            return None;
        }
        Some(match self.value.get_ref() {
            DeValue::String(text) => format!("{text:?}"),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(yes) => yes.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a section".to_owned(),
        })
    }

    fn is_from_environment(&self) -> bool {
        self.locations.is_variable(self.value.span().start)
    }

    /// The text, or the secret from the file that the text names.
    fn text<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, ReadFault> {
        if !secrets::is_secret(&self.key) {
            return Ok(Cow::Borrowed(text));
        }
        secrets::resolve_reference(text).map_err(de::Error::custom)
    }

    /// A text from the environment is parsed as a number or a boolean.
    fn visit_scalar<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadFault> {
        if let DeValue::String(text) = self.value.get_ref()
            && self.is_from_environment()
            && let Ok(value) = DeValue::parse(text).map(Spanned::into_inner)
            && matches!(value, DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_))
        {
            return self.visit(&value, visitor);
        }
        self.deserialize_any(visitor)
    }

    fn visit<'de, V: Visitor<'de>>(&self, value: &DeValue<'_>, visitor: V) -> Result<V::Value, ReadFault> {
        match value {
            DeValue::String(text) => visitor.visit_str(&self.text(text)?),
            DeValue::Boolean(yes) => visitor.visit_bool(*yes),
            DeValue::Integer(number) => {
                let signed = i64::from_str_radix(number.as_str(), number.radix());
                let unsigned = || u64::from_str_radix(number.as_str(), number.radix());
                match (signed, unsigned) {
                    (Ok(number), _) => visitor.visit_i64(number),
                    (Err(_), unsigned) => match unsigned() {
                        Ok(number) => visitor.visit_u64(number),
                        Err(_) => Err(de::Error::invalid_value(Unexpected::Other("number"), &visitor)),
                    },
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(de::Error::invalid_value(Unexpected::Other("number"), &visitor)),
            },
            DeValue::Datetime(_) => Err(de::Error::invalid_type(Unexpected::Other("date or time"), &visitor)),
            DeValue::Array(_) | DeValue::Table(_) => {
                unreachable!("lists and sections are visited elsewhere, because their items have locations")
            }
        }
    }
}

/// Methods for numbers and booleans.
macro_rules! scalars {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
            self.visit_scalar(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for &ValueReader<'_, '_> {
    type Error = ReadFault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        match self.value.get_ref() {
            DeValue::Table(table) => visitor.visit_map(Section { reader: self, entries: table.iter(), value: None }),
            DeValue::Array(items) => visitor.visit_seq(List { reader: self, items: items.iter().enumerate() }),
            scalar => self.visit(scalar, visitor),
        }
    }

    scalars! { deserialize_bool deserialize_i32 deserialize_i64 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f64 }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        match self.value.get_ref() {
            DeValue::Array(_) | DeValue::Table(_) => self.deserialize_any(visitor),
            _ => visitor.visit_seq(SingleValueAccess(Some(self))),
        }
    }

    /// Other values are refused as not a section, whatever they contain.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        match self.value.get_ref() {
            DeValue::Table(_) => self.deserialize_any(visitor),
            _ => Err(ReadFault::Unlocated(ValueError::Section)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadFault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadFault> {
        visitor.visit_newtype_struct(self)
    }

    /// All enums of the configuration are words.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadFault> {
        match self.value.get_ref() {
            DeValue::String(word) => {
                let word: StrDeserializer<'_, ReadFault> = word.as_ref().into_deserializer();
                visitor.visit_enum(word)
            }
            _ => Err(ReadFault::Unlocated(ValueError::Kind("a string".to_owned()))),
        }
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u128 f32 char str string bytes byte_buf unit unit_struct tuple tuple_struct map identifier
        ignored_any
    }
}

/// The keys of a section.
struct Section<'d, 'i, I> {
    reader: &'d ValueReader<'d, 'i>,
    entries: I,
    /// The value of the key that was read last.
    value: Option<ValueReader<'d, 'i>>,
}

impl<'de, 'd, 'i, I> MapAccess<'de> for Section<'d, 'i, I>
where
    I: Iterator<Item = (&'d Spanned<Cow<'i, str>>, &'d Spanned<DeValue<'i>>)>,
    'i: 'd,
{
    type Error = ReadFault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadFault> {
        let Some((name, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(self.reader.child_reader(join_key(&self.reader.key, name.get_ref()), value));
        let text: StrDeserializer<'_, ReadFault> = name.get_ref().as_ref().into_deserializer();
        let locate = |fault| ReadFault::Located(self.reader.problem_at(name.span().start, fault));
        seed.deserialize(text).map(Some).map_err(locate)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadFault> {
        self.value.take().expect("serde asks for a key before its value").read_with(seed)
    }
}

/// The items of a list.
struct List<'d, 'i, I> {
    reader: &'d ValueReader<'d, 'i>,
    items: I,
}

impl<'de, 'd, 'i> SeqAccess<'de> for List<'d, 'i, std::iter::Enumerate<slice::Iter<'d, Spanned<DeValue<'i>>>>> {
    type Error = ReadFault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadFault> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        self.reader.child_reader(format!("{}[{index}]", self.reader.key), item).read_with(seed).map(Some)
    }
}

/// A single value as a list of one.
struct SingleValueAccess<'d, 'i>(Option<&'d ValueReader<'d, 'i>>);

impl<'de> SeqAccess<'de> for SingleValueAccess<'_, '_> {
    type Error = ReadFault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadFault> {
        self.0.take().map(|value| value.read_with(seed)).transpose()
    }
}

impl de::Error for ReadFault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ReadFault::Unlocated(ValueError::Other(message.to_string()))
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        ReadFault::Unlocated(ValueError::Kind(expected.to_string()))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        ReadFault::Unlocated(ValueError::Kind(expected.to_string()))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        ReadFault::Unlocated(ValueError::UnknownKey { given: field.to_owned(), known })
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        ReadFault::Unlocated(ValueError::UnknownWord { given: variant.to_owned(), known })
    }

    fn missing_field(field: &'static str) -> Self {
        ReadFault::Unlocated(ValueError::MissingKey(field))
    }
}

impl fmt::Display for ReadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadFault::Located(problem) => problem.fmt(f),
            ReadFault::Unlocated(why) => write!(f, "{why:?}"),
        }
    }
}

impl std::error::Error for ReadFault {}
