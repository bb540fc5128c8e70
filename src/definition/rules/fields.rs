//! The rule that an event names an existing table and existing fields, as far as they are known.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{Policy, Violation};
use crate::definition::template::Template;
use crate::definition::{Event, Payload, Table};
use crate::id::AccountId;

/// Max characters of a name that are compared and shown, and max names that are compared: requests may have very long
/// ones.
const MAX_COMPARED_CHARS: usize = 32;
const MAX_COMPARED_NAMES: usize = 1000;

/// What happens to an event on an undeclared table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownTablePolicy {
    /// It is accepted: the stream shows the table's fields later.
    #[default]
    Accept,
    /// It is refused.
    Refuse,
}

/// Returns the fields of an account's table that the stream has shown, or None if they are not known.
pub type SeenFields<'s> = dyn Fn(&AccountId, &str) -> Option<Vec<String>> + 's;

/// Checks that a declared table has all fields that an event names: its declaration names them, or the stream has
/// shown them. Fields that the event named `before` are not checked again: they may be older than the declaration.
///
/// # Errors
/// [`Violation::UnknownField`].
pub fn known_fields(
    event: &Event,
    before: Option<&Event>,
    table: &Table,
    seen: &SeenFields<'_>,
) -> Result<(), Violation> {
    let mut known: HashSet<String> = table.fields.iter().map(|field| field.name.clone()).collect();
    if let Some(before) = same_table(event, before) {
        known.extend(named_fields(before)?.into_iter().map(|(_, name)| name));
    }
    let unknown: Vec<_> = named_fields(event)?.into_iter().filter(|(_, name)| !known.contains(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let Some(seen) = seen(&table.account, &table.name) else { return Ok(()) };
    known.extend(seen);
    match unknown.into_iter().find(|(_, name)| !known.contains(name)) {
        None => Ok(()),
        Some((field, name)) => Err(Violation::UnknownField {
            field,
            table: table.name.clone(),
            nearest: nearest_of(&name, known.iter().map(String::as_str)),
            name: truncate_name(&name),
        }),
    }
}

/// The fields that an event names, each with the request key that names it.
fn named_fields(event: &Event) -> Result<Vec<(&'static str, String)>, Violation> {
    let by = |key: &'static str| move |name: &String| (key, name.clone());
    let mut named: Vec<_> = event.object_fields.iter().map(by("ObjectFields")).collect();
    match &event.payload {
        Payload::Default => {}
        Payload::Fields(names) => named.extend(names.iter().map(by("CustomPayloadFields"))),
        Payload::Template(text) => {
            let template = Template::compile(text)?;
            named.extend(template.fields().into_iter().map(|name| ("CustomPayloadTemplate", name.to_owned())));
        }
    }
    Ok(named)
}

/// The event as it was before, if it was on the same table.
fn same_table<'e>(event: &Event, before: Option<&'e Event>) -> Option<&'e Event> {
    before.filter(|before| before.object_name == event.object_name)
}

/// Checks whether an event may be on a table that is not in `declared`. An event that was on the table `before` may
/// stay.
///
/// # Errors
/// [`Violation::UnknownTable`].
pub fn unknown_table<'t, T: Iterator<Item = &'t Table>>(
    event: &Event,
    before: Option<&Event>,
    declared: impl FnOnce() -> T,
    policy: &Policy,
) -> Result<(), Violation> {
    if policy.unknown_tables == UnknownTablePolicy::Accept || same_table(event, before).is_some() {
        return Ok(());
    }
    let nearest = nearest_of(&event.object_name, declared().map(|table| table.name.as_str()));
    Err(Violation::UnknownTable { table: truncate_name(&event.object_name), nearest })
}

/// The known name that is most similar to `name`.
fn nearest_of<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    let name = truncate_name(name).to_lowercase();
    let distance = |known: &str| strsim::levenshtein(&name, &truncate_name(known).to_lowercase());
    known
        .take(MAX_COMPARED_NAMES)
        .map(|known| (distance(known), known))
        .min()
        .map(|(_, nearest)| truncate_name(nearest))
}

fn truncate_name(name: &str) -> String {
    name.chars().take(MAX_COMPARED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{FieldType, samples};
    use crate::vocabulary::Operation;

    fn members() -> Table {
        samples::table("members", &[("Id", FieldType::Integer), ("E-Mail", FieldType::String)])
    }

    fn refused(selected: &[&str], payload: Payload, seen: Option<&[&str]>) -> Option<String> {
        let mut event = samples::event("event1", "hook01", Operation::Update, "members", selected);
        event.payload = payload;
        let seen = |account: &AccountId, table: &str| {
            assert_eq!((account.as_str(), table), ("acme", "members"));
            seen.map(|names| names.iter().map(|&name| name.to_owned()).collect())
        };
        known_fields(&event, None, &members(), &seen).err().map(|refusal| refusal.to_string())
    }

    fn fields(names: &[&str]) -> Payload {
        Payload::Fields(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn unknown_field_of_a_declared_table_is_rejected_with_the_nearest_name() {
        let template = |text: &str| Payload::Template(text.to_owned());
        let cases = [
            (
                &["Id", "email"][..],
                Payload::Default,
                "ObjectFields: table \"members\" has no field \"email\" (the nearest is \"E-Mail\")",
            ),
            (
                &[],
                fields(&["E-Mail", "id"]),
                "CustomPayloadFields: table \"members\" has no field \"id\" (the nearest is \"Id\")",
            ),
            (
                &[],
                template("{'a': '[@field:Id]', 'b': ['x [@field:EMail]']}"),
                "CustomPayloadTemplate: table \"members\" has no field \"EMail\"",
            ),
            (&[], template("{'[@field:Idd]': {'c': 1}}"), "has no field \"Idd\""),
            (&[], template("{'url': '[@field:Photo/]'}"), "has no field \"Photo\""),
        ];
        for (selected, payload, start) in cases {
            let refusal = refused(selected, payload, Some(&["Seen"])).unwrap();
            assert!(refusal.contains(start), "{refusal}");
        }
        assert_eq!(refused(&["Id"], template("{'a': '[@field:E-Mail][@out-hook:missing]'}"), Some(&[])), None);
    }

    #[test]
    fn fields_seen_in_the_stream_are_accepted_without_declaration() {
        assert_eq!(refused(&["Seen"], fields(&["Seen", "Id"]), Some(&["Seen"])), None);
        let refusal = refused(&["Sen"], Payload::Default, Some(&["Seen"])).unwrap();
        assert!(refusal.contains("the nearest is \"Seen\""), "{refusal}");
        assert_eq!(refused(&["Sen"], Payload::Default, None), None, "it is not known what was shown");
    }

    #[test]
    fn unknown_fields_that_the_event_already_names_stay_accepted() {
        let event = |table: &str, fields: &[&str]| samples::event("event1", "hook01", Operation::Update, table, fields);
        let nothing = |_: &AccountId, _: &str| Some(Vec::new());
        let checked = |event: &Event, before: &Event| known_fields(event, Some(before), &members(), &nothing).is_ok();
        let before = event("members", &["Old", "Id"]);
        assert!(
            checked(&event("members", &["Old"]), &before)
                && checked(&Event { enabled: false, ..before.clone() }, &before)
        );
        assert!(!checked(&event("members", &["Old", "Odl"]), &before));
        assert!(!checked(&event("members", &["Old"]), &event("others", &["Old"])), "of another table");
    }

    #[test]
    fn long_names_are_compared_and_shown_truncated() {
        let refusal = refused(&[&"x".repeat(200_000)], Payload::Default, Some(&[])).unwrap();
        assert!(refusal.len() < 400 && refusal.contains(&"x".repeat(MAX_COMPARED_CHARS)), "{refusal}");
    }

    #[test]
    fn new_events_on_undeclared_tables_are_rejected_if_configured() {
        let event = samples::event("event1", "hook01", Operation::Insert, "membres", &[]);
        let tables = [members(), samples::table("orders", &[])];
        let told = |unknown_tables| {
            let policy = Policy { unknown_tables, ..Policy::default() };
            assert_eq!(unknown_table(&event, Some(&event), || tables.iter(), &policy), Ok(()), "it may stay");
            unknown_table(&event, None, || tables.iter(), &policy).err().map(|refusal| refusal.to_string())
        };
        assert_eq!(told(UnknownTablePolicy::Accept), None);
        let refusal = told(UnknownTablePolicy::Refuse).unwrap();
        assert!(
            refusal.starts_with("ObjectName: table \"membres\" is not declared (the nearest is \"members\")"),
            "{refusal}"
        );
    }
}
