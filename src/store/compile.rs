//! Updates the index of compiled rules when definitions change.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::definition::{DefinitionChanges, DefinitionKey, Definitions, Event, Table, TableKey, Webhook};
use crate::id::WebhookId;
use crate::matching::Index;
use crate::rules::{Rule, Target};

/// Compiles only definitions that changed, because a table may have many thousands of events.
pub(super) struct Compiler {
    index: Arc<Index>,
    /// Definitions that can't be compiled, and why.
    compile_errors: BTreeMap<DefinitionKey, String>,
}

impl Compiler {
    pub fn new(index: Arc<Index>) -> Self {
        Self { index, compile_errors: BTreeMap::new() }
    }

    /// Replaces the rules of the tables that changed. `as_of` is the offset of the log up to which the definitions
    /// are read.
    pub fn update(&mut self, definitions: &Definitions, changes: &DefinitionChanges, as_of: i64) {
        for webhook in &changes.webhooks {
            self.compile_errors.remove(&DefinitionKey::Webhook(*webhook));
            self.replace_target(*webhook, definitions.webhook(*webhook));
        }
        for event in &changes.events {
            self.compile_errors.remove(&DefinitionKey::Event(*event));
        }
        self.end(definitions, changes);
        for table in changes.tables.union(&changes.declarations) {
            let rules = self.compile_table(definitions, table, changes);
            self.index.replace(table, rules);
        }
        self.index.set_applied_offset(as_of);
    }

    /// Reports to the index that the log had no records after the last update.
    pub fn record_topic_end(&self, now_ms: i64) {
        self.index.record_topic_end(now_ms);
    }

    /// Compiles the target of a webhook once; the rules of its events share it. The new target replaces the old one
    /// without a gap, because a waiting call would not find a target during a gap.
    fn replace_target(&mut self, id: WebhookId, webhook: Option<&Webhook>) {
        let target = webhook.and_then(|webhook| match Target::of(webhook) {
            Ok(target) => Some(Arc::new(target)),
            Err(error) => {
                self.compile_errors.insert(DefinitionKey::Webhook(id), error.to_string());
                None
            }
        });
        self.index.set_target(id, target);
    }

    /// Definitions that can't be compiled, and why.
    pub fn compile_errors(&self) -> impl ExactSizeIterator<Item = (&DefinitionKey, &String)> {
        self.compile_errors.iter()
    }

    /// Ends events that are no longer active, so that their waiting calls are not sent.
    fn end(&mut self, definitions: &Definitions, changes: &DefinitionChanges) {
        // At the start everything has changed, but no event was active before, so none can end.
        if self.index.has_no_active_events() {
            return;
        }
        let webhook_events = changes.webhooks.iter().flat_map(|webhook| definitions.events_of(*webhook));
        for event in changes.events.iter().copied().chain(webhook_events.map(|event| event.id)) {
            if !definitions.is_active(event) {
                self.index.end(event);
            }
        }
    }

    /// Rules of a table, sorted by event id, like the events that they are compiled from. Each rule includes the
    /// table's declaration.
    fn compile_table(
        &mut self,
        definitions: &Definitions,
        table: &TableKey,
        changes: &DefinitionChanges,
    ) -> Vec<Arc<Rule>> {
        let before = self.index.rules(table.account.as_str(), &table.table);
        let before = before.as_ref().map_or(&[][..], |rules| rules.rules());
        let declared = definitions.table(&table.account, &table.table);
        let all_changed = changes.declarations.contains(table);
        let rule = |(webhook, event): (&Webhook, &Event)| {
            let changed = all_changed || changes.events.contains(&event.id) || changes.webhooks.contains(&webhook.id);
            match before.binary_search_by_key(&event.id, |rule| rule.event) {
                Ok(at) if !changed => Some(before[at].clone()),
                _ => self.compile(declared, webhook, event),
            }
        };
        definitions.active_events(table).filter_map(rule).collect()
    }

    fn compile(&mut self, table: Option<&Table>, webhook: &Webhook, event: &Event) -> Option<Arc<Rule>> {
        // The event is active even if it can't be compiled here. Its waiting calls then keep waiting.
        let live = self.index.activate_event(event.id);
        // If there is no target, `replace_target` has recorded why.
        let target = self.index.target(webhook.id)?;
        match Rule::compile_on(table, webhook, event, &target) {
            Ok(rule) => {
                self.compile_errors.remove(&DefinitionKey::Event(event.id));
                Some(Arc::new(Rule { event_state: live, ..rule }))
            }
            Err(error) => {
                self.compile_errors.insert(DefinitionKey::Event(event.id), error.to_string());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::samples::{event, table, webhook};
    use crate::definition::{FieldType, LogRecord, Payload};
    use crate::vocabulary::Operation;

    struct State {
        definitions: Definitions,
        compiler: Compiler,
    }

    impl State {
        fn put(&mut self, records: &[LogRecord]) {
            let mut changes = DefinitionChanges::default();
            for record in records {
                let key = record.key.to_string();
                self.definitions.apply(key.as_bytes(), record.value.as_deref(), &mut changes).unwrap();
            }
            self.compiler.update(&self.definitions, &changes, 0);
        }

        fn rules(&self) -> Vec<Arc<Rule>> {
            self.compiler.index.rules("acme", "T").map_or(Vec::new(), |rules| rules.rules().to_vec())
        }
    }

    #[test]
    fn only_changed_rules_are_recompiled() {
        let index = Arc::new(Index::default());
        let mut state = State { definitions: Definitions::default(), compiler: Compiler::new(index) };
        let mut hook = webhook("hook01", "A");
        let mut insert = event("event1", "hook01", Operation::Insert, "T", &[]);
        let delete = event("event2", "hook01", Operation::Delete, "T", &[]);
        state.put(&[LogRecord::webhook(&hook), LogRecord::event(&insert), LogRecord::event(&delete)]);
        let before = state.rules();
        assert!(Arc::ptr_eq(&before[0].target, &before[1].target));

        insert.event_sources = vec!["Tasks".to_owned()];
        state.put(&[LogRecord::event(&insert)]);
        let after = state.rules();
        assert!(!Arc::ptr_eq(&before[0], &after[0]) && Arc::ptr_eq(&before[1], &after[1]));

        hook.urls = vec!["https://other.example/".to_owned()];
        state.put(&[LogRecord::webhook(&hook)]);
        let moved = state.rules();
        assert_eq!(moved.len(), 2);
        assert!(moved.iter().all(|rule| &*rule.target.endpoints[0].url == "https://other.example/"));
        assert!(Arc::ptr_eq(&moved[0].target, &moved[1].target));
    }

    #[test]
    fn declaration_affects_every_rule_on_its_table_and_no_other() {
        let index = Arc::new(Index::default());
        let mut state = State { definitions: Definitions::default(), compiler: Compiler::new(index) };
        let hook = webhook("hook01", "A");
        let insert = event("event1", "hook01", Operation::Insert, "T", &[]);
        let delete = event("event2", "hook01", Operation::Delete, "T", &[]);
        let other = event("event3", "hook01", Operation::Insert, "U", &[]);
        let start =
            [vec![LogRecord::webhook(&hook)], [&insert, &delete, &other].map(LogRecord::event).to_vec()].concat();
        state.put(&start);
        let hides = |state: &State, table: &str| -> Vec<bool> {
            let rules = state.compiler.index.rules("acme", table).unwrap();
            rules.rules().iter().map(|rule| rule.body.hidden_fields().has("Password")).collect()
        };
        let u = state.compiler.index.rules("acme", "U").unwrap();
        assert_eq!(hides(&state, "T"), [false, false]);
        let mut declared = table("T", &[("Password", FieldType::Password)]);
        state.put(&[LogRecord::table(&declared)]);
        assert_eq!((hides(&state, "T"), hides(&state, "U")), (vec![true, true], vec![false]));
        assert!(Arc::ptr_eq(&u, &state.compiler.index.rules("acme", "U").unwrap()));

        declared.fields[0].kind = FieldType::String;
        state.put(&[LogRecord::table(&declared)]);
        assert_eq!(hides(&state, "T"), [false, false]);
        declared.fields[0].kind = FieldType::Password;
        state.put(&[LogRecord::table(&declared)]);
        let mut changes = DefinitionChanges::default();
        changes.add_all(&state.definitions);
        state.definitions = Definitions::default();
        for record in &start {
            let key = record.key.to_string();
            state.definitions.apply(key.as_bytes(), record.value.as_deref(), &mut changes).unwrap();
        }
        state.compiler.update(&state.definitions, &changes, 0);
        assert_eq!(hides(&state, "T"), [false, false], "after the log is read again, the table is not declared");
    }

    #[test]
    fn event_ends_only_when_it_or_its_webhook_is_deleted_or_disabled() {
        let mut hook = webhook("hook01", "A");
        let mut insert = event("event1", "hook01", Operation::Insert, "T", &[]);
        let (hook_key, insert_key) = (DefinitionKey::Webhook(hook.id), DefinitionKey::Event(insert.id));
        let start = [LogRecord::webhook(&hook), LogRecord::event(&insert)];
        hook.enabled = false;
        insert.enabled = false;
        let gone = |key| LogRecord { key, value: None };
        for end in [LogRecord::webhook(&hook), LogRecord::event(&insert), gone(hook_key), gone(insert_key)] {
            let index = Arc::new(Index::default());
            let mut state = State { definitions: Definitions::default(), compiler: Compiler::new(index) };
            state.put(&start);
            let first = state.rules()[0].event_state.clone();
            let (mut hook, mut insert) = (hook.clone(), insert.clone());
            (hook.enabled, insert.enabled) = (true, true);
            hook.urls = vec!["https://other.example/".to_owned()];
            insert.event_sources = vec!["Tasks".to_owned()];
            state.put(&[LogRecord::webhook(&hook), LogRecord::event(&insert)]);
            assert!(!first.has_ended());
            state.put(&[end]);
            assert!(first.has_ended() && state.rules().is_empty());
            state.put(&start);
            assert!(first.has_ended() && !state.rules()[0].event_state.has_ended());
        }
    }

    #[test]
    fn event_keeps_its_counts_across_changes() {
        let index = Arc::new(Index::default());
        let mut state = State { definitions: Definitions::default(), compiler: Compiler::new(index.clone()) };
        let hook = webhook("hook01", "A");
        let mut insert = event("event1", "hook01", Operation::Insert, "T", &[]);
        state.put(&[LogRecord::webhook(&hook), LogRecord::event(&insert)]);
        let before = state.rules()[0].event_state.clone();
        insert.enabled = false;
        state.put(&[LogRecord::event(&insert)]);
        insert.enabled = true;
        state.put(&[LogRecord::event(&insert)]);
        before.counters().count_call();
        state.rules()[0].event_state.counters().count_call();
        assert_eq!(index.counters().pending_totals(insert.id).calls, 2);
    }

    #[test]
    fn definitions_that_do_not_compile_are_listed_until_fixed() {
        let index = Arc::new(Index::default());
        let mut state = State { definitions: Definitions::default(), compiler: Compiler::new(index) };
        let mut hook = webhook("hook01", "A");
        let mut insert = event("event1", "hook01", Operation::Insert, "T", &[]);
        insert.payload = Payload::Template("nonsense".to_owned());
        hook.urls = vec!["nonsense".to_owned()];
        state.put(&[LogRecord::webhook(&hook), LogRecord::event(&insert)]);
        assert_eq!(
            state.compiler.compile_errors().map(|(key, _)| key.to_string()).collect::<Vec<_>>(),
            ["webhook/hook01"]
        );

        hook.urls = vec!["https://a.example/".to_owned()];
        state.put(&[LogRecord::webhook(&hook)]);
        assert_eq!(
            state.compiler.compile_errors().map(|(key, _)| key.to_string()).collect::<Vec<_>>(),
            ["event/event1"]
        );
        assert!(state.rules().is_empty());

        insert.payload = Payload::Default;
        state.put(&[LogRecord::event(&insert)]);
        assert_eq!(state.compiler.compile_errors().len(), 0);
        assert_eq!(state.rules().len(), 1);
    }
}
