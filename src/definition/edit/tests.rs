use std::cell::Cell;

use serde_json::json;

use super::super::rules::DefinitionLimits;
use super::super::samples::stamp;
use super::super::{DefinitionChanges, Definitions, HiddenText};
use super::*;
use crate::definition::address_guard::AddressGuard;

/// Definitions of account "acme", changed by requests.
struct State {
    definitions: Definitions,
    random: Cell<u8>,
    limits: DefinitionLimits,
}

impl State {
    fn new() -> Self {
        let limits = DefinitionLimits { events_per_webhook: 3, ..DefinitionLimits::default() };
        Self { definitions: Definitions::default(), random: Cell::new(0), limits }
    }

    fn decide<T>(
        &mut self,
        decide: impl FnOnce(&PendingDefinitions<'_>, &RequestContext<'_>) -> Decision<T>,
    ) -> Result<T, String> {
        let account = AccountId::from("acme");
        let stamp = stamp();
        let random = |bytes: &mut [u8]| {
            self.random.set(self.random.get() + 1);
            bytes.fill(self.random.get());
        };
        let policy = Policy { limits: self.limits.clone(), ..Policy::default() };
        let terms = RequestContext {
            account: &account,
            policy: &policy,
            stamp: &stamp,
            seen_fields: &|_, _| Some(Vec::new()),
            random: &random,
        };
        let (records, made) =
            decide(&PendingDefinitions::new(&self.definitions), &terms).map_err(|problem| problem.to_string())?;
        for record in records {
            let key = record.key.to_string();
            self.definitions.apply(key.as_bytes(), record.value.as_deref(), &mut DefinitionChanges::default()).unwrap();
        }
        Ok(made)
    }

    fn webhook(&mut self, name: &str) -> Result<Webhook, String> {
        let wanted = WebhookRequest { name: Some(name.to_owned()), ..urls(&["https://a.example/"]) };
        self.decide(|draft, terms| create_webhook(draft, &wanted, terms))
    }

    fn event(&mut self, webhook: &Webhook, event_type: &str, fields: &[&str]) -> Result<Event, String> {
        let wanted = wanted(event_type, fields);
        self.decide(|draft, terms| create_event(draft, webhook.id.as_str(), &wanted, terms))
    }
}

fn urls(urls: &[&str]) -> WebhookRequest {
    let urls = urls.iter().map(|&url| url.to_owned()).collect();
    WebhookRequest { outgoing_urls: Some(urls), ..WebhookRequest::default() }
}

fn wanted(event_type: &str, fields: &[&str]) -> EventWanted {
    EventWanted {
        event_type: Some(event_type.to_owned()),
        object_name: Some("T".to_owned()),
        object_fields: Some(fields.iter().map(|&field| field.to_owned()).collect()),
        ..EventWanted::default()
    }
}

#[test]
fn webhook_name_is_unique_within_an_account() {
    let mut state = State::new();
    let first = state.webhook("A").unwrap();
    assert!(state.webhook("A").unwrap_err().contains(first.id.as_str()));
    let second = state.webhook("B").unwrap();
    let renamed = WebhookRequest { name: Some("A".to_owned()), ..WebhookRequest::default() };
    let refused = state.decide(|draft, terms| change_webhook(draft, second.id.as_str(), &renamed, terms));
    assert!(refused.unwrap_err().contains("is taken"));
    state.decide(|draft, terms| delete_webhook(draft, first.id.as_str(), terms.account)).unwrap();
    let changed = state.decide(|draft, terms| change_webhook(draft, second.id.as_str(), &renamed, terms)).unwrap();
    assert_eq!((changed.name.as_str(), changed.version, changed.urls), ("A", 2, second.urls));
}

#[test]
fn webhooks_of_other_accounts_and_invalid_ids_are_not_found() {
    let mut state = State::new();
    let webhook = state.webhook("A").unwrap();
    let foreign = AccountId::from("zoo");
    let refused = state.decide(|draft, _| delete_webhook(draft, webhook.id.as_str(), &foreign));
    assert_eq!(refused.unwrap_err(), format!("there is no webhook {:?}", webhook.id.as_str()));
    for odd in ["", "nope", "ABCDEF", "../../"] {
        assert!(state.decide(|draft, terms| delete_webhook(draft, odd, terms.account)).is_err());
    }
}

#[test]
fn event_slots_are_taken_once_and_freed_again() {
    let mut state = State::new();
    let webhook = state.webhook("A").unwrap();
    let first = state.event(&webhook, "TABLE.recordinsert", &[]).unwrap();
    assert_eq!(first.type_as_given.as_deref(), Some("TABLE.recordinsert"));
    assert!(state.event(&webhook, "table.recordInsert", &[]).unwrap_err().contains(first.id.as_str()));
    let update = state.event(&webhook, "table.recordUpdate", &["a", "b"]).unwrap();
    assert!(state.event(&webhook, "table.recordUpdate", &["b", "a"]).unwrap_err().contains(update.id.as_str()));
    // An event may be replaced by itself, and by one that does not conflict with the others.
    let place = (webhook.id.as_str(), update.id.as_str());
    for fields in [&["a", "b"][..], &["c"]] {
        let to = wanted("table.recordUpdate", fields);
        let after = state.decide(|draft, terms| replace_event(draft, place, &to, terms)).unwrap();
        assert_eq!((after.id, after.object_fields.len()), (update.id, fields.len()));
    }
    let to = wanted("table.recordInsert", &[]);
    assert!(state.decide(|draft, terms| replace_event(draft, place, &to, terms)).is_err());
    state.decide(|draft, terms| delete_event(draft, place, terms.account)).unwrap();
    state.event(&webhook, "table.recordUpdate", &[]).unwrap();
    state.event(&webhook, "table.recordDelete", &[]).unwrap();
    let mut elsewhere = wanted("table.recordDelete", &[]);
    elsewhere.object_name = Some("U".to_owned());
    let full = state.decide(|draft, terms| create_event(draft, webhook.id.as_str(), &elsewhere, terms));
    assert!(full.unwrap_err().contains("would have 4 events, and at most 3 are allowed"));
}

#[test]
fn account_limits_reject_growth_and_always_allow_shrinking() {
    let mut state = State::new();
    let first = state.webhook("A").unwrap();
    let second = state.webhook("B").unwrap();
    let there = state.definitions.usage(&"acme".into());
    assert_eq!(there, Usage { webhooks: 2, events: 0, bytes: 2 * "Ahttps://a.example/".len() });

    let limited = |state: &mut State, of_account: Usage| {
        state.limits = DefinitionLimits { per_account: of_account, ..DefinitionLimits::default() }
    };
    let room = Usage { webhooks: 2, events: 2, bytes: there.bytes + 20 };
    limited(&mut state, room);
    let full = "the account would have 3 webhooks, and at most 2 are allowed: delete what is not needed, or have the \
                limit raised in the configuration (definitions.max_webhooks)";
    assert_eq!(state.webhook("C").unwrap_err(), full);
    let event = state.event(&first, "table.recordUpdate", &["a", "b"]).unwrap();
    state.event(&second, "table.recordInsert", &[]).unwrap();
    assert!(
        state.event(&second, "table.recordDelete", &[]).unwrap_err().contains("would have 3 events, and at most 2")
    );

    let place = (first.id.as_str(), event.id.as_str());
    let template = |state: &mut State, text: &str| {
        let to = EventWanted { custom_payload_template: Some(text.to_owned()), ..wanted("table.recordUpdate", &[]) };
        state.decide(|draft, terms| replace_event(draft, place, &to, terms))
    };
    template(&mut state, "{'a': '1'}").unwrap();
    let refused = template(&mut state, "{'a': '1', 'b': '2'}").unwrap_err();
    assert!(refused.contains(&format!(
        "would have {} bytes of definitions, and at most {}",
        there.bytes + 22,
        room.bytes
    )));
    assert!(refused.contains("definitions.max_account_bytes"), "{refused}");
    let long = WebhookRequest { description: Some("long".repeat(10)), ..WebhookRequest::default() };
    let refused = state.decide(|draft, terms| change_webhook(draft, second.id.as_str(), &long, terms));
    assert!(refused.unwrap_err().contains("bytes of definitions"));

    // The limit was lowered since: existing definitions stay, and a change that does not add to them is accepted.
    limited(&mut state, Usage::default());
    template(&mut state, "{'a': '2'}").unwrap();
    template(&mut state, "{'a': ''}").unwrap();
    let renamed = WebhookRequest { name: Some("Z".to_owned()), ..WebhookRequest::default() };
    state.decide(|draft, terms| change_webhook(draft, second.id.as_str(), &renamed, terms)).unwrap();
    for webhook in [first, second] {
        state.decide(|draft, terms| delete_webhook(draft, webhook.id.as_str(), terms.account)).unwrap();
    }
    assert_eq!(state.definitions.usage(&"acme".into()), Usage::default());
}

#[test]
fn drafted_definitions_count_towards_account_usage() {
    let mut state = State::new();
    let webhook = state.webhook("A").unwrap();
    state.event(&webhook, "table.recordInsert", &[]).unwrap();
    let account = AccountId::from("acme");
    let committed = state.definitions.usage(&account);
    let mut draft = PendingDefinitions::new(&state.definitions);
    assert_eq!(draft.usage(&account), committed);
    let other = Event { id: "event9".parse().unwrap(), ..state.definitions.events().next().unwrap().clone() };
    draft.add(&[LogRecord::event(&other)]);
    assert_eq!(draft.usage(&account), committed + Usage::of_event(&other));
    draft.add(&[LogRecord::deletion(DefinitionKey::Event(other.id))]);
    assert_eq!(draft.usage(&account), committed);
    let foreign = Webhook { id: "hook99".parse().unwrap(), account: "zoo".into(), ..webhook.clone() };
    draft.add(&[LogRecord::webhook(&foreign), LogRecord::webhook(&Webhook { name: "AA".to_owned(), ..webhook })]);
    assert_eq!(draft.usage(&account), Usage { bytes: committed.bytes + 1, ..committed });
    assert_eq!(draft.usage(&"zoo".into()), Usage::of_webhook(&foreign));
}

#[test]
fn enabled_flag_of_a_webhook_is_set_on_every_event() {
    let mut state = State::new();
    let webhook = state.webhook("A").unwrap();
    state.event(&webhook, "table.recordInsert", &[]).unwrap();
    let all =
        |state: &State| state.definitions.events().map(|event| (event.enabled, event.version)).collect::<Vec<_>>();
    for (enabled, version) in [(false, 2), (false, 2), (true, 3)] {
        let wanted = WebhookRequest { enabled: Some(enabled), ..WebhookRequest::default() };
        state.decide(|draft, terms| change_webhook(draft, webhook.id.as_str(), &wanted, terms)).unwrap();
        assert_eq!(all(&state), [(enabled, version)]);
    }
    let nothing = WebhookRequest::default();
    assert!(state.decide(|draft, terms| change_webhook(draft, webhook.id.as_str(), &nothing, terms)).is_err());
}

#[test]
fn regenerated_secret_keeps_the_old_one_until_its_expiry() {
    let mut state = State::new();
    let before = state.webhook("A").unwrap();
    let after =
        state.decide(|draft, terms| regenerate_secret(draft, before.id.as_str(), (1, Some(99)), terms)).unwrap();
    assert_ne!(after.secret, before.secret);
    assert_eq!(after.old_secret, Some(OldSecret { secret: before.secret, until: 99 }));
    let again = state.decide(|draft, terms| regenerate_secret(draft, before.id.as_str(), (2, Some(99)), terms));
    assert!(again.unwrap_err().contains("still valid"));
    let again = state.decide(|draft, terms| regenerate_secret(draft, before.id.as_str(), (2, None), terms)).unwrap();
    assert_eq!(again.old_secret, None);
}

#[test]
fn first_client_creates_the_token_key() {
    let mut state = State::new();
    let (client, secret) = state.decide(|draft, terms| Ok(create_client(draft, "crm", false, terms))).unwrap();
    assert!(client.has_secret(&secret));
    let key = state.definitions.token_key().unwrap().clone();
    state.decide(|draft, terms| Ok(create_client(draft, "erp", true, terms))).unwrap();
    assert_eq!(state.definitions.token_key(), Some(&key));
    state.decide(|draft, _| revoke_client(draft, client.id)).unwrap();
    assert!(state.decide(|draft, _| revoke_client(draft, client.id)).is_err());
    assert_eq!(state.definitions.clients().len(), 1);
}

/// Changes a webhook that was created with the fields of `before`; http is allowed.
fn changed(before: serde_json::Value, wanted: serde_json::Value) -> Result<Webhook, String> {
    let mut state = State::new();
    let mut first = urls(&["https://a.example/1", "http://b.example:8080/"]);
    first.name = Some("A".to_owned());
    let given: WebhookRequest = serde_json::from_value(before).unwrap();
    let first = WebhookRequest { name: first.name, outgoing_urls: first.outgoing_urls, ..given };
    let allow_http = |terms: &RequestContext<'_>| Policy { allow_http: true, ..terms.policy.clone() };
    let made = state.decide(|draft, terms| {
        create_webhook(draft, &first, &RequestContext { policy: &allow_http(terms), ..*terms })
    })?;
    let wanted: WebhookRequest = serde_json::from_value(wanted).unwrap();
    state.decide(|draft, terms| {
        change_webhook(draft, made.id.as_str(), &wanted, &RequestContext { policy: &allow_http(terms), ..*terms })
    })
}

#[test]
fn hidden_secrets_must_be_given_again_for_a_new_origin() {
    let oauth = |url: &str, secret: &str| json!({"Authentication": {"OAuth2": {"TokenUrl": url, "ClientId": "c", "ClientSecret": secret}}});
    let basic = |password: &str| json!({"Authentication": {"Basic": {"Username": "u", "Password": password}}});
    let bearer = |token: &str| json!({"Authentication": {"Bearer": {"Token": token}}});
    let headers = |value: &str| json!({"Headers": {"X-Key": value}});
    let certified = rcgen::generate_simple_self_signed(["us.example".to_owned()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let tls = |key: &str| json!({"Tls": {"ClientCertificate": certificate, "ClientKey": key}});
    let tokens = "https://login.example/token";
    let with_urls = |mut wanted: serde_json::Value, urls: &[&str]| {
        wanted["OutgoingUrls"] = json!(urls);
        wanted
    };
    let kinds = [
        (headers("s3cret"), headers("…"), headers("s3cret"), "\"X-Key\" in Headers"),
        (basic("s3cret"), basic("…"), basic("s3cret"), "Authentication.Basic.Password"),
        (bearer("s3cret"), bearer("…"), bearer("s3cret"), "Authentication.Bearer.Token"),
        (oauth(tokens, "s3cret"), oauth(tokens, "…"), oauth(tokens, "s3cret"), "Authentication.OAuth2.ClientSecret"),
        (tls(&key), tls("…"), tls(&key), "Tls.ClientKey"),
    ];
    for (before, hidden, again, field) in kinds {
        let kept = changed(before.clone(), json!({"Description": "x"})).unwrap().handling;
        // Another path, fewer URLs and another order do not add a destination.
        for same in [&["https://A.example:443/other?x"][..], &["http://b.example:8080/x", "https://a.example/2"]] {
            for wanted in [json!({}), hidden.clone()] {
                let after = changed(before.clone(), with_urls(wanted, same)).unwrap();
                assert_eq!(after.handling, kept, "{field}");
            }
        }
        for (other, origin) in [
            ("https://evil.example/1", "https://evil.example"),
            ("http://a.example/1", "http://a.example"),
            ("https://a.example:8443/1", "https://a.example:8443"),
            ("https://b.example:8080/", "https://b.example:8080"),
            ("https://a.example.evil.example/1", "https://a.example.evil.example"),
        ] {
            let urls = ["https://a.example/1", other];
            for wanted in [json!({}), hidden.clone()] {
                let refused = changed(before.clone(), with_urls(wanted, &urls)).unwrap_err();
                let parts = [field, &format!("{origin}, which is new in OutgoingUrls"), "give it again"];
                assert!(parts.iter().all(|part| refused.contains(part)) && !refused.contains("s3cret"), "{refused}");
            }
            changed(before.clone(), with_urls(again.clone(), &urls)).unwrap();
        }
    }
}

#[test]
fn client_secret_must_be_given_again_for_a_new_token_url() {
    let oauth = |url: &str, secret: &str| json!({"Authentication": {"OAuth2": {"TokenUrl": url, "ClientId": "c", "ClientSecret": secret}}});
    let before = || oauth("https://login.example/token", "s3cret");
    changed(before(), oauth("https://LOGIN.example/other", "…")).unwrap();
    changed(before(), oauth("https://evil.example/token", "s3cret")).unwrap();
    // A host of the outgoing URLs knows the token, not the client secret.
    for url in ["https://evil.example/token", "https://a.example/1", "http://login.example/token"] {
        let refused = changed(before(), oauth(url, "…")).unwrap_err();
        assert!(refused.contains("new in Authentication.OAuth2.TokenUrl"), "{refused}");
        assert!(refused.starts_with("Authentication.OAuth2.ClientSecret is not given"), "{refused}");
    }
}

#[test]
fn urls_with_refused_addresses_are_rejected_on_write() {
    let mut state = State::new();
    let webhook = state.webhook("A").unwrap();
    for (host, meant) in [
        ("10.0.0.1", "10.0.0.1, which is a private address"),
        ("2130706433", "127.0.0.1, which is a loopback address"),
        ("0x7f.1:8443", "127.0.0.1, which is a loopback address"),
        ("[::ffff:169.254.169.254]", "which is a link-local (cloud metadata) address"),
        ("localhost", "127.0.0.1, which is a loopback address"),
    ] {
        let url = format!("https://{host}/");
        let wanted = WebhookRequest { name: Some("B".to_owned()), ..urls(&[&url]) };
        let refused = state.decide(|draft, terms| create_webhook(draft, &wanted, terms)).unwrap_err();
        assert!(
            refused.starts_with(&format!("OutgoingUrls: {url:?} leads to ")) && refused.contains(meant),
            "{refused}"
        );
        let token = json!({"Authentication": {"OAuth2": {"TokenUrl": url, "ClientId": "c", "ClientSecret": "s"}}});
        for wanted in [urls(&[&url]), serde_json::from_value(token).unwrap()] {
            let changed = state.decide(|draft, terms| change_webhook(draft, webhook.id.as_str(), &wanted, terms));
            assert!(changed.unwrap_err().contains(meant), "{host}");
        }
    }
    // A refusal does not show the denied networks, and an existing webhook may still be changed.
    let denies = |terms: &RequestContext<'_>| {
        let addresses = AddressGuard::new(Vec::new(), vec!["8.8.0.0/16".parse().unwrap()]);
        Policy { address_guard: addresses, ..terms.policy.clone() }
    };
    let wanted = WebhookRequest { name: Some("C".to_owned()), ..urls(&["https://8.8.8.8/"]) };
    let there = state.decide(|draft, terms| create_webhook(draft, &wanted, terms)).unwrap();
    let refused = state.decide(|draft, terms| {
        change_webhook(
            draft,
            there.id.as_str(),
            &urls(&["https://8.8.8.8/"]),
            &RequestContext { policy: &denies(terms), ..*terms },
        )
    });
    let refused = refused.unwrap_err();
    assert!(refused.contains("an address that this installation denies") && !refused.contains("8.8.0.0"), "{refused}");
    let off = WebhookRequest { enabled: Some(false), ..WebhookRequest::default() };
    let changed = state.decide(|draft, terms| {
        change_webhook(draft, there.id.as_str(), &off, &RequestContext { policy: &denies(terms), ..*terms })
    });
    assert!(changed.is_ok(), "{changed:?}");
}

#[test]
fn webhook_secret_is_generated_and_cannot_be_chosen() {
    let mut state = State::new();
    let given =
        |secret: &str| WebhookRequest { secret: Some(HiddenText(secret.to_owned())), ..WebhookRequest::default() };
    let wanted = WebhookRequest {
        name: Some("A".to_owned()),
        secret: given("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").secret,
        ..urls(&["https://a.example/"])
    };
    let refused = state.decide(|draft, terms| create_webhook(draft, &wanted, terms)).unwrap_err();
    assert!(refused.starts_with("Secret can't be chosen") && !refused.contains("whsec_Mf"), "{refused}");
    let webhook = state.webhook("A").unwrap();
    let change = |state: &mut State, wanted: &WebhookRequest| {
        state.decide(|draft, terms| change_webhook(draft, webhook.id.as_str(), wanted, terms))
    };
    assert!(change(&mut state, &wanted).unwrap_err().starts_with("Secret can't be chosen"));
    let same = given(webhook.secret.expose());
    let nothing = "nothing to change: send at least one of Name, Description, OutgoingUrls, CallThrottling, Enabled, \
                   Timeout, RetrySchedule, Headers, Authentication, Tls, PayloadSecret, Order";
    assert_eq!(change(&mut state, &same).unwrap_err(), nothing);
    let sent_back = WebhookRequest { description: Some("d".to_owned()), ..same };
    assert_eq!(change(&mut state, &sent_back).unwrap().secret, webhook.secret);
}
