//! Refines the derived schemas with facts that a derive can't express: known words, closed objects, item types.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path;
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{AdditionalProperties, Array, ArrayItems, SchemaType};
use utoipa::openapi::{Content, Object, ObjectBuilder, OneOf, OneOfBuilder, Ref, RefOr, Response, Schema, Type};

use crate::definition::CallSettings;
use crate::definition::rules::MAX_URL;
use crate::vocabulary::{EventSource, Operation};

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Schema name of a webhook's change: the fields of a creation, none of them required.
pub(super) const CHANGE_SCHEMA: &str = "WebhookChangeRequest";
const CREATION_SCHEMA: &str = "WebhookRequest";
const EVENT_SCHEMA: &str = "EventRequest";
/// Pattern of an outgoing URL: scheme, host, port, path and query, without user and fragment.
const URL_PATTERN: &str = r"^[Hh][Tt][Tt][Pp][Ss]?://([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?][A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?$";

/// Refines all schemas.
pub(super) fn refine(schemas: &mut Schemas) {
    let flat: Vec<_> =
        schemas.iter().filter_map(|(name, schema)| Some((name.clone(), flatten(schemas, schema)?))).collect();
    for (name, mut object) in flat {
        // Requests may have unknown keys, which are ignored. Answers have no others than the listed ones.
        if !name.ends_with("Request") && !object.properties.is_empty() {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
        object.properties.values_mut().for_each(without_null_default);
        schemas.insert(name, RefOr::T(Schema::Object(object)));
    }
    // The answer to a change shares its type with the answer to a read, but never has the secret.
    if let Some(RefOr::T(Schema::Object(changed))) = schemas.get_mut("WebhookChanged") {
        changed.properties.shift_remove("Secret");
    }
    // These were referenced only by schemas that have their fields inlined now.
    schemas.retain(|name, _| !matches!(name.as_str(), "Counts" | "EndpointState" | "WebhookHead"));
    add_known_values(schemas);
    let change = change_schema(schemas);
    if let Some(RefOr::T(Schema::Object(creation))) = schemas.get_mut(CREATION_SCHEMA) {
        creation.description = Some("The webhook to create.".to_owned());
    }
    schemas.insert(CHANGE_SCHEMA.to_owned(), RefOr::T(Schema::Object(change)));
}

/// Lists are bare arrays, or objects with `Result` for legacy clients. An optional body may be absent, but not null.
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

/// Merges the parts of an `allOf` into one object: closed parts would refuse each other's fields.
fn flatten(schemas: &Schemas, schema: &RefOr<Schema>) -> Option<Object> {
    match schema {
        RefOr::Ref(Ref { ref_location, .. }) => flatten(schemas, schemas.get(ref_location.rsplit('/').next()?)?),
        RefOr::T(Schema::Object(object)) => Some(object.clone()),
        RefOr::T(Schema::AllOf(all)) => {
            let mut whole = Object::with_type(Type::Object);
            for part in &all.items {
                let part = flatten(schemas, part)?;
                whole.required.extend(part.required);
                whole.properties.extend(part.properties);
            }
            whole.description.clone_from(&all.description);
            Some(whole)
        }
        RefOr::T(_) => None,
    }
}

/// Removes a default of null: a missing field already has the same effect, so null is not a useful default.
fn without_null_default(field: &mut RefOr<Schema>) {
    let default = match field {
        RefOr::T(Schema::Object(object)) => &mut object.default,
        RefOr::T(Schema::Array(array)) => &mut array.default,
        _ => return,
    };
    default.take_if(|value| value.is_null());
}

/// Adds the known words, and the item types of lists.
fn add_known_values(schemas: &mut Schemas) {
    let operations = Operation::ALL;
    if let Some(RefOr::T(Schema::Object(event_type))) = field(schemas, EVENT_SCHEMA, "EventType") {
        event_type.enum_values = Some(operations.map(|operation| Value::from(operation.event_type())).to_vec());
    }
    let mut source = Object::with_type(Type::String);
    // The plural is Caspio's spelling of the singular.
    let sources = EventSource::ALL.iter().map(|source| source.as_str()).chain(["Datasheets"]);
    source.enum_values = Some(sources.map(Value::from).collect());
    let mut name = Object::with_type(Type::String);
    name.min_length = Some(1);
    let mut url = Object::with_type(Type::String);
    url.pattern = Some(URL_PATTERN.to_owned());
    url.max_length = Some(MAX_URL);
    let lists = [
        (EVENT_SCHEMA, "EventSources", source),
        (EVENT_SCHEMA, "ObjectFields", name.clone()),
        (EVENT_SCHEMA, "CustomPayloadFields", name),
        (CREATION_SCHEMA, "OutgoingUrls", url),
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

/// Schema of a change: the fields of a creation, at least one of them. Null counts only for call settings: it resets
/// them to the default, which is a change too.
fn change_schema(schemas: &Schemas) -> Object {
    let mut change = schemas.get(CREATION_SCHEMA).and_then(|creation| flatten(schemas, creation)).unwrap_or_default();
    let any: Vec<_> = change
        .properties
        .iter()
        .map(|(name, _)| match CallSettings::KEYS.contains(&name.as_str()) {
            true => json!({"required": [name]}),
            false => json!({"required": [name], "properties": {name: {"not": {"type": "null"}}}}),
        })
        .collect();
    change.required.clear();
    change.properties.values_mut().for_each(allow_null);
    change.description =
        Some("The fields of a webhook to change, at least one. Missing fields keep their values.".to_owned());
    change.extensions = Some(Extensions::from_iter([("anyOf", Value::from(any))]));
    change
}

fn allow_null(field: &mut RefOr<Schema>) {
    let (RefOr::T(Schema::Object(Object { schema_type, .. })) | RefOr::T(Schema::Array(Array { schema_type, .. }))) =
        field
    else {
        return;
    };
    if let SchemaType::Type(only) = schema_type {
        *schema_type = [only.clone(), Type::Null].into_iter().collect();
    }
}
