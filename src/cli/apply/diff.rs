//! A plan as lines for people: `+` marks what is created, `~` what is changed, `-` what is deleted. Secrets are
//! hidden.

mod delivery_settings;
mod tables;

use std::fmt;

use crate::definition::plan::{Change, Plan, WebhookPlan};
use crate::definition::{Event, Payload, Webhook};

pub(super) struct Diff<'p> {
    pub plan: &'p Plan,
    pub colour: bool,
}

/// A field: its name in the file, and its value as text. None if the field is not set.
type DiffField = (&'static str, Option<String>);

impl fmt::Display for Diff<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.webhooks.iter().try_for_each(|webhook| self.webhook(f, webhook))?;
        self.plan.tables.iter().try_for_each(|table| self.table(f, table))
    }
}

impl Diff<'_> {
    fn webhook(&self, f: &mut fmt::Formatter<'_>, plan: &WebhookPlan) -> fmt::Result {
        let title = |webhook: &Webhook| format!("webhook {:?} in account {:?}", webhook.name, webhook.account);
        match &plan.webhook {
            Change::Keep(webhook) => self.line(f, ' ', 0, &title(webhook))?,
            Change::Create(webhook) => {
                self.line(f, '+', 0, &title(webhook))?;
                self.created(f, 1, webhook_fields(webhook))?;
                self.created(f, 1, delivery_settings::fields(&webhook.handling))?;
            }
            Change::Update { before, after } => {
                self.line(f, '~', 0, &title(after))?;
                self.updated(f, 1, webhook_fields(before), webhook_fields(after))?;
                self.updated(
                    f,
                    1,
                    delivery_settings::fields(&before.handling),
                    delivery_settings::fields(&after.handling),
                )?;
                let secret = (before.secret != after.secret).then_some("Secret");
                let others = delivery_settings::fields_with_changed_secrets(&before.handling, &after.handling);
                let mut names = secret.into_iter().chain(others);
                names.try_for_each(|name| self.line(f, '~', 1, &format!("{name}: changed")))?;
            }
            Change::Delete(webhook) => self.line(f, '-', 0, &title(webhook))?,
        }
        plan.events.iter().try_for_each(|event| self.event(f, event))
    }

    fn event(&self, f: &mut fmt::Formatter<'_>, change: &Change<Event>) -> fmt::Result {
        let title = |event: &Event| {
            let fields = if event.object_fields.is_empty() { String::new() } else { list(&event.object_fields) };
            let space = if fields.is_empty() { "" } else { " " };
            format!("event {} of {:?}{space}{fields}", event.operation.event_type(), event.object_name)
        };
        match change {
            Change::Keep(_) => Ok(()),
            Change::Create(event) => {
                self.line(f, '+', 1, &title(event))?;
                self.created(f, 2, event_fields(event))
            }
            Change::Update { before, after } => {
                self.line(f, '~', 1, &title(after))?;
                self.updated(f, 2, event_fields(before), event_fields(after))
            }
            Change::Delete(event) => self.line(f, '-', 1, &title(event)),
        }
    }

    fn created(&self, f: &mut fmt::Formatter<'_>, depth: usize, fields: Vec<DiffField>) -> fmt::Result {
        fields.iter().try_for_each(|(name, value)| match value {
            None => Ok(()),
            Some(value) => self.value(f, '+', depth, name, value),
        })
    }

    fn updated(
        &self,
        f: &mut fmt::Formatter<'_>,
        depth: usize,
        before: Vec<DiffField>,
        after: Vec<DiffField>,
    ) -> fmt::Result {
        for ((name, before), (_, after)) in before.iter().zip(&after).filter(|(before, after)| before != after) {
            match (before, after) {
                (Some(before), Some(after)) if before.contains('\n') || after.contains('\n') => {
                    self.line(f, '~', depth, &format!("{name}:"))?;
                    self.changed_lines(f, depth + 1, before, after)?;
                }
                (before, after) => {
                    before.iter().try_for_each(|before| self.value(f, '-', depth, name, before))?;
                    after.iter().try_for_each(|after| self.value(f, '+', depth, name, after))?;
                }
            }
        }
        Ok(())
    }

    fn value(&self, f: &mut fmt::Formatter<'_>, sign: char, depth: usize, name: &str, value: &str) -> fmt::Result {
        if !value.contains('\n') {
            return self.line(f, sign, depth, &format!("{name}: {value}"));
        }
        self.line(f, sign, depth, &format!("{name}:"))?;
        value.split('\n').try_for_each(|line| self.line(f, sign, depth + 1, line))
    }

    /// Shows the lines between the first and the last that differ.
    fn changed_lines(&self, f: &mut fmt::Formatter<'_>, depth: usize, before: &str, after: &str) -> fmt::Result {
        let (before, after): (Vec<_>, Vec<_>) = (before.split('\n').collect(), after.split('\n').collect());
        let same = before.iter().zip(&after).take_while(|(before, after)| before == after).count();
        let (before, after) = (&before[same..], &after[same..]);
        let ends = before.iter().rev().zip(after.iter().rev());
        let same = ends.take_while(|(before, after)| before == after).count();
        before[..before.len() - same].iter().try_for_each(|line| self.line(f, '-', depth, line))?;
        after[..after.len() - same].iter().try_for_each(|line| self.line(f, '+', depth, line))
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, sign: char, depth: usize, text: &str) -> fmt::Result {
        let (colour, end) = match sign {
            '+' if self.colour => ("\x1b[32m", "\x1b[0m"),
            '-' if self.colour => ("\x1b[31m", "\x1b[0m"),
            '~' if self.colour => ("\x1b[33m", "\x1b[0m"),
            _ => ("", ""),
        };
        write!(f, "{colour}{sign} {:indent$}", "", indent = depth * 2)?;
        // A text in a definition must not control the terminal.
        for c in text.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        writeln!(f, "{end}")
    }
}

fn webhook_fields(webhook: &Webhook) -> Vec<DiffField> {
    vec![
        ("Description", webhook.description.clone()),
        ("OutgoingUrls", Some(list(&webhook.urls))),
        ("CallThrottling", webhook.call_throttling.map(|calls| calls.to_string())),
        ("Enabled", enabled(webhook.enabled)),
    ]
}

fn event_fields(event: &Event) -> Vec<DiffField> {
    let (fields, template) = match &event.payload {
        Payload::Default => (None, None),
        Payload::Fields(fields) => (Some(list(fields)), None),
        Payload::Template(template) => (None, Some(template.clone())),
    };
    vec![
        ("ObjectFields", (!event.object_fields.is_empty()).then(|| list(&event.object_fields))),
        ("EventSources", (!event.event_sources.is_empty()).then(|| list(&event.event_sources))),
        ("CustomPayloadFields", fields),
        ("CustomPayloadTemplate", template),
        ("Enabled", enabled(event.enabled)),
    ]
}

/// Shows Enabled only if it is false: true is the default.
fn enabled(enabled: bool) -> Option<String> {
    (!enabled).then(|| "false".to_owned())
}

fn list(names: &[String]) -> String {
    format!("{names:?}")
}
