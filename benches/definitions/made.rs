//! Generated definitions of many accounts. Each ten webhooks of an account share three tables, with an insert, an
//! update and a delete event on each. Half of the webhooks limit their updates to two fields.

use outhook::definition::{DeliverySettings, Event, LogRecord, Payload, Secret, Stamp, Webhook};
use outhook::id::{AccountId, EventId, WebhookId};
use outhook::vocabulary::Operation;

/// Definitions per webhook: itself and its events.
const A_WEBHOOK: usize = 10;
const ON_A_TABLE: usize = 10;
pub const TABLES_OF_A_WEBHOOK: usize = 3;
const WEBHOOKS_OF_AN_ACCOUNT: usize = 5_000;

/// Number of webhooks among the definitions.
pub fn webhooks(definitions: usize) -> usize {
    definitions / A_WEBHOOK
}

/// The records of all definitions, each webhook followed by its events.
pub fn records(definitions: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    assert_eq!(definitions % (A_WEBHOOK * ON_A_TABLE), 0, "every table has the same number of events");
    let of_webhook = |number| std::iter::once(webhook(number)).chain((0..A_WEBHOOK - 1).map(move |n| event(number, n)));
    (0..webhooks(definitions))
        .flat_map(of_webhook)
        .map(|record| (record.key.to_string(), record.value.expect("no deletion")))
}

/// The account of a webhook.
pub fn account(webhook: usize) -> String {
    format!("account-{:04}", webhook / WEBHOOKS_OF_AN_ACCOUNT)
}

pub fn table(webhook: usize, table: usize) -> String {
    let kinds = ["Customer_Orders", "Customers", "Order_Items"];
    format!("{}_{}", kinds[table], webhook / ON_A_TABLE)
}

/// All pairs of account and table.
pub fn tables(definitions: usize) -> impl Iterator<Item = (String, String)> {
    let one_of_each = (0..webhooks(definitions)).step_by(ON_A_TABLE);
    one_of_each.flat_map(|webhook| (0..TABLES_OF_A_WEBHOOK).map(move |n| (account(webhook), table(webhook, n))))
}

fn webhook(number: usize) -> LogRecord {
    LogRecord::webhook(&Webhook {
        id: WebhookId::from_random(digits(number)),
        account: AccountId::from(account(number)),
        name: format!("CRM of branch {number}"),
        description: None,
        urls: vec![format!("https://hooks.example.com/accounts/{number}/inbound")],
        call_throttling: None,
        secret: Secret::from_random(std::array::from_fn(|at| (number >> (at % 4 * 8)) as u8)),
        old_secret: None,
        handling: DeliverySettings::default(),
        enabled: true,
        stopped: None,
        version: 1,
        created: stamp(number),
        modified: None,
    })
}

fn event(webhook: usize, number: usize) -> LogRecord {
    let operation = Operation::ALL[number / TABLES_OF_A_WEBHOOK];
    let some_fields = operation == Operation::Update && webhook.is_multiple_of(2);
    LogRecord::event(&Event {
        id: EventId::from_random(digits(webhook * (A_WEBHOOK - 1) + number)),
        webhook: WebhookId::from_random(digits(webhook)),
        operation,
        type_as_given: None,
        object_name: table(webhook, number % TABLES_OF_A_WEBHOOK),
        object_fields: if some_fields { vec!["Order_Status".to_owned(), "Total".to_owned()] } else { Vec::new() },
        event_sources: Vec::new(),
        payload: Payload::Default,
        enabled: true,
        version: 1,
        created: stamp(webhook),
        modified: None,
    })
}

fn stamp(number: usize) -> Stamp {
    Stamp {
        at: format!("2026-05-17T12:{:02}:{:02}.{:07}Z", number / 60 % 60, number % 60, number % 10_000_000),
        by: format!("John Doe (john.doe-{}@example.com)", number / WEBHOOKS_OF_AN_ACCOUNT),
    }
}

/// The digits of an id: scattered like real ones, and different for each number.
fn digits(number: usize) -> [u8; 6] {
    const IDS: u64 = 36_u64.pow(6);
    // The factor shares no divisor with 36, so the product is different for each number below IDS.
    let scattered = number as u64 * 982_451_653 % IDS;
    std::array::from_fn(|at| (scattered / 36_u64.pow(at as u32) % 36) as u8)
}
