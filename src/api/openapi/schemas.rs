//! Schemas made exact: what the code that reads and answers does, and a derived schema can't say.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path;
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{AdditionalProperties, Array, ArrayItems, SchemaType};
use utoipa::openapi::{Content, Object, ObjectBuilder, OneOf, OneOfBuilder, Ref, RefOr, Response, Schema, Type};

use crate::definition::rules::MAX_URL;
use crate::vocabulary::{EventSource, Operation};

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// The body of a webhook's change: the same fields as when it is created, but none must be given.
pub(super) const CHANGE: &str = "WebhookChangeRequest";
const CREATION: &str = "WebhookRequest";
const EVENT: &str = "EventRequest";
/// An outgoing URL: scheme, host, port, path and query, but no user and no fragment.
const URL: &str = r"^[Hh][Tt][Tt][Pp][Ss]?://([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?][A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?$";

/// Makes schemas exact.
pub(super) fn refine(schemas: &mut Schemas) {
    let flat: Vec<_> =
        schemas.iter().filter_map(|(name, schema)| Some((name.clone(), flat(schemas, schema)?))).collect();
    for (name, mut object) in flat {
        // Further keys of a request are not looked at; an answer has no further ones.
        if !name.ends_with("Request") && !object.properties.is_empty() {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
        object.properties.values_mut().for_each(without_null_default);
        schemas.insert(name, RefOr::T(Schema::Object(object)));
    }
    // The answer to a change is made of the same code as what is read, and never has it.
    if let Some(RefOr::T(Schema::Object(changed))) = schemas.get_mut("WebhookChanged") {
        changed.properties.shift_remove("Secret");
    }
    // It stood only inside others, which have its fields themselves now.
    schemas.remove("Counts");
    name_words(schemas);
    let change = change_of(schemas);
    if let Some(RefOr::T(Schema::Object(creation))) = schemas.get_mut(CREATION) {
        creation.description = Some("A webhook as it is created.".to_owned());
    }
    schemas.insert(CHANGE.to_owned(), RefOr::T(Schema::Object(change)));
}

/// Lists are bare, or under a key for clients of the legacy kind; a body that may be left out is still no null.
pub(super) fn refine_bodies(operation: &mut path::Operation) {
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(Response { content, .. }) = response else { continue };
        for content in content.values_mut() {
            if let RefOr::T(Content { schema: Some(schema), .. }) = content
                && let RefOr::T(Schema::Array(list)) = &schema
            {
                let legacy = ObjectBuilder::new().property("Result", list.clone()).required("Result");
                let closed = legacy.additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
                *schema = RefOr::T(Schema::OneOf(OneOfBuilder::new().item(list.clone()).item(closed).build()));
            }
        }
    }
    let Some(RefOr::T(RequestBody { content, .. })) = &mut operation.request_body else { return };
    for content in content.values_mut() {
        if let RefOr::T(Content { schema: Some(schema), .. }) = content
            && let RefOr::T(Schema::OneOf(OneOf { items, .. })) = &schema
            && let Some(body) = items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned()
        {
            *schema = body;
        }
    }
}

/// An object with the fields of all that it is put together of: closed parts would refuse each other's fields.
fn flat(schemas: &Schemas, schema: &RefOr<Schema>) -> Option<Object> {
    match schema {
        RefOr::Ref(Ref { ref_location, .. }) => flat(schemas, schemas.get(ref_location.rsplit('/').next()?)?),
        RefOr::T(Schema::Object(object)) => Some(object.clone()),
        RefOr::T(Schema::AllOf(all)) => {
            let mut whole = Object::with_type(Type::Object);
            for part in &all.items {
                let part = flat(schemas, part)?;
                whole.required.extend(part.required);
                whole.properties.extend(part.properties);
            }
            whole.description.clone_from(&all.description);
            Some(whole)
        }
        RefOr::T(_) => None,
    }
}

/// A field that is left out is as good as null, which is no value to fill in.
fn without_null_default(field: &mut RefOr<Schema>) {
    let default = match field {
        RefOr::T(Schema::Object(object)) => &mut object.default,
        RefOr::T(Schema::Array(array)) => &mut array.default,
        _ => return,
    };
    default.take_if(|value| value.is_null());
}

/// Says which words are known, and what a list holds.
fn name_words(schemas: &mut Schemas) {
    let operations = Operation::ALL;
    if let Some(RefOr::T(Schema::Object(event_type))) = field(schemas, EVENT, "EventType") {
        event_type.enum_values = Some(operations.map(|operation| Value::from(operation.event_type())).to_vec());
    }
    let mut source = Object::with_type(Type::String);
    // The plural is Caspio's own, and means the singular.
    let sources = EventSource::ALL.iter().map(|source| source.as_str()).chain(["Datasheets"]);
    source.enum_values = Some(sources.map(Value::from).collect());
    let mut name = Object::with_type(Type::String);
    name.min_length = Some(1);
    let mut url = Object::with_type(Type::String);
    url.pattern = Some(URL.to_owned());
    url.max_length = Some(MAX_URL);
    let lists = [
        (EVENT, "EventSources", source),
        (EVENT, "ObjectFields", name.clone()),
        (EVENT, "CustomPayloadFields", name),
        (CREATION, "OutgoingUrls", url),
    ];
    for (schema, list, items) in lists {
        if let Some(RefOr::T(Schema::Array(array))) = field(schemas, schema, list) {
            array.items = ArrayItems::RefOrSchema(Box::new(items.into()));
            array.unique_items = true;
        }
    }
}

fn field<'s>(schemas: &'s mut Schemas, schema: &str, field: &str) -> Option<&'s mut RefOr<Schema>> {
    match schemas.get_mut(schema)? {
        RefOr::T(Schema::Object(object)) => object.properties.get_mut(field),
        _ => None,
    }
}

/// What null sets back, which is a change too.
const RESET_BY_NULL: [&str; 7] =
    ["Timeout", "RetrySchedule", "Headers", "Authentication", "Tls", "PayloadSecret", "Order"];

/// The fields of a creation, of which any one is enough, not null but where null says something.
fn change_of(schemas: &Schemas) -> Object {
    let mut change = schemas.get(CREATION).and_then(|creation| flat(schemas, creation)).unwrap_or_default();
    let any: Vec<_> = change
        .properties
        .iter()
        .map(|(name, _)| match RESET_BY_NULL.contains(&name.as_str()) {
            true => json!({"required": [name]}),
            false => json!({"required": [name], "properties": {name: {"not": {"type": "null"}}}}),
        })
        .collect();
    change.required.clear();
    change.properties.values_mut().for_each(may_be_null);
    change.description =
        Some("What to change of a webhook, at least one field of it. What is left out stays.".to_owned());
    change.extensions = Some(Extensions::from_iter([("anyOf", Value::from(any))]));
    change
}

fn may_be_null(field: &mut RefOr<Schema>) {
    let (RefOr::T(Schema::Object(Object { schema_type, .. })) | RefOr::T(Schema::Array(Array { schema_type, .. }))) =
        field
    else {
        return;
    };
    if let SchemaType::Type(only) = schema_type {
        *schema_type = [only.clone(), Type::Null].into_iter().collect();
    }
}
