//! Connect schemas (`schemas.enable=true`): what type each field of a row has, compiled once a schema.

#[derive(Default)]
pub struct SchemaCache {}
