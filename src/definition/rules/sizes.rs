//! Max lengths and sizes of a definition and of its parts.

/// Max length of the name of an account, webhook, table or field, and of a label, in characters.
pub const MAX_NAME: usize = 255;
/// Max length of a description, in characters.
pub const MAX_DESCRIPTION: usize = 10_000;
/// Max length of an outgoing URL, in bytes.
pub const MAX_URL: usize = 2048;
/// Max outgoing URLs of a webhook.
pub const MAX_URLS: usize = 100;
/// Max names in a list of fields, and max fields of a table.
pub const MAX_FIELDS: usize = 1000;
/// Max total bytes of a list of fields, or of the texts of a table's fields. With [`MAX_TEMPLATE`] it keeps a
/// definition under the megabyte that Kafka accepts in one record by default.
pub const MAX_FIELDS_BYTES: usize = 256 * 1024;
/// Max size of a definition as JSON, in bytes: a little under Kafka's default limit for one record.
pub const MAX_RECORD: usize = 900_000;
/// Max length of a payload template, in bytes.
pub const MAX_TEMPLATE: usize = 256 * 1024;
