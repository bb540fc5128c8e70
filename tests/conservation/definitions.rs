//! The webhooks of a chaos test: permanent ones, and guests that are added and removed meanwhile.

use std::time::Duration;

use harness::{Credentials, Instance, Receiver, SECRET, Site, eventually, webhooks};

use crate::permanent_webhooks::Resident;

/// Timeout until each instance has read a change.
const SOON: Duration = Duration::from_secs(30);

/// The current definitions.
pub struct Definitions {
    residents: Vec<Webhook>,
    guests: Vec<Webhook>,
    credentials: Credentials,
    number: usize,
}

#[derive(Clone)]
struct Webhook {
    name: String,
    url: String,
    event: String,
    enabled: bool,
    in_row_order: bool,
    calls_a_second: Option<usize>,
}

impl Definitions {
    /// Applies the permanent webhooks.
    pub fn new(site: &Site, receiver: &Receiver, residents: &[Resident]) -> Self {
        let residents = residents.iter().map(|resident| {
            let Resident { in_row_order, calls_a_second, .. } = *resident;
            Webhook { in_row_order, calls_a_second, ..Webhook::new(receiver, resident.path, resident.table) }
        });
        let residents = residents.collect();
        let this = Self { residents, guests: Vec::new(), credentials: site.client(&[]), number: 0 };
        this.apply(site);
        this
    }

    /// The path of the next guest.
    pub fn next_path(&self) -> String {
        format!("/guest-{}", self.number + 1)
    }

    /// Adds a webhook, and returns its path once all instances have read it.
    pub fn welcome<'a>(
        &mut self,
        site: &Site,
        receiver: &Receiver,
        table: &str,
        instances: impl Iterator<Item = &'a Instance>,
    ) -> String {
        let path = self.next_path();
        self.number += 1;
        receiver.verify(&path, SECRET);
        let guest = Webhook::new(receiver, &path, table);
        self.guests.push(guest.clone());
        self.apply(site);
        self.await_known(instances, &guest);
        path
    }

    /// Disables or deletes the oldest guest, and returns its path once all instances have read that. `None` if there
    /// is no guest.
    pub fn dismiss<'a>(
        &mut self,
        site: &Site,
        delete: bool,
        instances: impl Iterator<Item = &'a Instance>,
    ) -> Option<String> {
        let place = self.guests.iter().position(|guest| guest.enabled)?;
        self.guests[place].enabled = false;
        let guest = self.guests[place].clone();
        if delete {
            self.guests.remove(place);
        }
        self.apply(site);
        self.await_known(instances, &guest);
        Some(format!("/{}", guest.name))
    }

    fn apply(&self, site: &Site) {
        let all: Vec<_> = self.residents.iter().chain(&self.guests).collect();
        let yaml: String = all.iter().map(|webhook| webhook.yaml()).collect();
        let file = site.file("yaml", &format!("Webhooks:\n{yaml}"));
        let applied = site.run(&["apply", "--prune", "-f", &file.display().to_string()]);
        assert_eq!(applied.code, Some(0), "{}{}", applied.stdout, applied.stderr);
    }

    /// Waits until each instance shows the expected state of a webhook.
    fn await_known<'a>(&self, instances: impl Iterator<Item = &'a Instance>, webhook: &Webhook) {
        const LIST: &str = "/v3/outgoingWebhooks";
        for instance in instances {
            let api = instance.api(&self.credentials);
            eventually(&format!("{} is known", webhook.name), SOON, || {
                let list = api.get(LIST).body;
                let shown = list.as_array()?.iter().find(|shown| shown["Name"] == webhook.name.as_str());
                let Some(shown) = shown else { return (!webhook.enabled).then_some(()) };
                let id = shown["Id"].as_str().expect("a webhook has an id");
                let events = api.get(&format!("{LIST}/{id}/events")).body;
                let active = events.as_array()?.iter().any(|event| event["Status"] == "Active");
                (active == webhook.enabled).then_some(())
            });
        }
    }
}

impl Webhook {
    fn new(receiver: &Receiver, path: &str, table: &str) -> Self {
        let event = format!("EventType: table.recordInsert, ObjectName: {table}");
        let (name, url) = (path[1..].to_owned(), receiver.url(path));
        Self { name, url, event, enabled: true, in_row_order: false, calls_a_second: None }
    }

    fn yaml(&self) -> String {
        let yaml = webhooks(&[(&self.name, std::slice::from_ref(&self.url), &[&self.event])]);
        let yaml = yaml.strip_prefix("Webhooks:\n").expect("a file begins with its key");
        let order = if self.in_row_order { "RowKey" } else { "None" };
        let throttling = self.calls_a_second.map(|calls| format!("    CallThrottling: {calls}\n")).unwrap_or_default();
        let more = format!("    Enabled: {}\n    Order: {order}\n{throttling}    Events:\n", self.enabled);
        yaml.replace("    Events:\n", &more)
    }
}
