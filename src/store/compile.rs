//! Keeps the index of compiled rules at the definitions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::definition::{Changes, Definitions, Event, Key, TableKey, Webhook};
use crate::id::WebhookId;
use crate::matching::{CompileError, Index, Rule, Target};

/// Compiles what changed, and only that: one event may be one of many thousands on its table.
pub(super) struct Compiler {
    index: Arc<Index>,
    /// Made once a webhook, and shared by the rules of its events.
    targets: HashMap<WebhookId, Arc<Target>>,
    /// Definitions that can't be made ready to fire, and why.
    failed: BTreeMap<Key, String>,
}

impl Compiler {
    pub fn new(index: Arc<Index>) -> Self {
        Self { index, targets: HashMap::new(), failed: BTreeMap::new() }
    }

    /// Replaces the rules of the tables that changed.
    pub fn update(&mut self, definitions: &Definitions, changes: &Changes) {
        for webhook in &changes.webhooks {
            self.targets.remove(webhook);
            self.failed.remove(&Key::Webhook(*webhook));
        }
        for event in &changes.events {
            self.failed.remove(&Key::Event(*event));
        }
        for table in &changes.tables {
            let rules = self.rules(definitions, table, changes);
            self.index.replace(table, rules);
        }
    }

    /// Definitions that can't be made ready to fire, and why.
    pub fn failed(&self) -> impl ExactSizeIterator<Item = (&Key, &String)> {
        self.failed.iter()
    }

    /// A table's rules, by their events' ids, like the events that they are made of.
    fn rules(&mut self, definitions: &Definitions, table: &TableKey, changes: &Changes) -> Vec<Arc<Rule>> {
        let before = self.index.rules(table.account.as_str(), &table.table);
        let before = before.as_ref().map_or(&[][..], |rules| rules.rules());
        let rule = |(webhook, event): (&Webhook, &Event)| {
            let changed = changes.events.contains(&event.id) || changes.webhooks.contains(&webhook.id);
            match before.binary_search_by_key(&event.id, |rule| rule.event) {
                Ok(at) if !changed => Some(before[at].clone()),
                _ => self.compile(webhook, event),
            }
        };
        definitions.active_events(table).filter_map(rule).collect()
    }

    fn compile(&mut self, webhook: &Webhook, event: &Event) -> Option<Arc<Rule>> {
        let target = match self.target(webhook) {
            Ok(target) => target,
            Err(error) => {
                self.failed.insert(Key::Webhook(webhook.id), error.to_string());
                return None;
            }
        };
        match Rule::compile(webhook, event, &target) {
            Ok(rule) => {
                self.failed.remove(&Key::Event(event.id));
                Some(Arc::new(rule))
            }
            Err(error) => {
                self.failed.insert(Key::Event(event.id), error.to_string());
                None
            }
        }
    }

    fn target(&mut self, webhook: &Webhook) -> Result<Arc<Target>, CompileError> {
        if let Some(target) = self.targets.get(&webhook.id) {
            return Ok(target.clone());
        }
        let target = Arc::new(Target::of(webhook)?);
        self.targets.insert(webhook.id, target.clone());
        Ok(target)
    }
}
