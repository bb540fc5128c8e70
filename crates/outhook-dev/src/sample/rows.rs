//! Rows of the sample tables: how a row is created, how it changes, and which events a change fires.
//!
//! The rules for events are written by hand after `webhooks.yaml`. They use no code of the checked program.

use fastrand::Rng;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::event::SampleEvent;
use super::words;

/// What a change does to its row.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Operation {
    Insert,
    Update,
    Delete,
}

/// One row of a sample table.
pub(super) trait SampleRow: Clone + PartialEq + Serialize {
    const TABLE: &'static str;

    fn new(number: u64, now: Timestamp, rng: &mut Rng) -> Self;
    /// Changes one or two fields, sometimes to the same values.
    fn alter(&mut self, rng: &mut Rng);
    fn key(&self) -> String;
    /// The events that this update fires, if they accept its source.
    fn update_fires(before: &Self, after: &Self, source: Option<&str>) -> Vec<SampleEvent>;
    /// The events that an insert or a delete fires.
    fn fires(operation: Operation) -> Vec<SampleEvent>;
}

/// An amount in hundredths, written as a JSON number with two decimals.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Money(u64);

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = format!("{}.{:02}", self.0 / 100, self.0 % 100);
        serde_json::value::RawValue::from_string(number).expect("digits and a point are JSON").serialize(serializer)
    }
}

/// Table of the first example of Caspio's page.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Customer {
    #[serde(rename = "Customer_ID")]
    id: u64,
    #[serde(rename = "First_Name")]
    first_name: &'static str,
    #[serde(rename = "Last_Name")]
    last_name: &'static str,
    email: String,
    company: Option<&'static str>,
    city: &'static str,
    #[serde(rename = "Credit_Limit")]
    credit_limit: Money,
    newsletter: bool,
    notes: String,
}

impl SampleRow for Customer {
    const TABLE: &'static str = "MyCustomers";

    fn new(number: u64, _now: Timestamp, rng: &mut Rng) -> Self {
        Self {
            id: number,
            first_name: pick(rng, words::FIRST_NAMES),
            last_name: pick(rng, words::LAST_NAMES),
            email: format!("customer{number}@example.com"),
            company: chance(rng, 60).then(|| pick(rng, words::COMPANIES)),
            city: pick(rng, words::CITIES),
            credit_limit: Money(rng.u64(..1_000_000)),
            newsletter: chance(rng, 30),
            notes: text(rng),
        }
    }

    fn alter(&mut self, rng: &mut Rng) {
        match rng.u64(..10) {
            0..=2 => self.last_name = pick(rng, words::LAST_NAMES),
            3 => self.first_name = pick(rng, words::FIRST_NAMES),
            4 => self.city = pick(rng, words::CITIES),
            5 => self.credit_limit = Money(rng.u64(..1_000_000)),
            6 => self.newsletter = !self.newsletter,
            7 => self.company = chance(rng, 80).then(|| pick(rng, words::COMPANIES)),
            8 => self.notes = text(rng),
            _ => {}
        }
    }

    fn key(&self) -> String {
        format!("MyCustomers/{}", self.id)
    }

    fn update_fires(before: &Self, after: &Self, source: Option<&str>) -> Vec<SampleEvent> {
        let taken = matches!(source, Some("Datasheet" | "DataPages"));
        let renamed = before.first_name != after.first_name || before.last_name != after.last_name;
        if taken && renamed { vec![SampleEvent::CustomerRenamed] } else { Vec::new() }
    }

    fn fires(_operation: Operation) -> Vec<SampleEvent> {
        Vec::new()
    }
}

/// Table of the second example of Caspio's page: messages to administrators.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Admin {
    #[serde(rename = "Message_ID")]
    id: u64,
    message_to: &'static str,
    message_from: &'static str,
    message_title: &'static str,
    message: String,
    read: bool,
}

impl SampleRow for Admin {
    const TABLE: &'static str = "Admins";

    fn new(number: u64, _now: Timestamp, rng: &mut Rng) -> Self {
        Self {
            id: number,
            message_to: pick(rng, words::FIRST_NAMES),
            message_from: pick(rng, words::LAST_NAMES),
            message_title: pick(rng, words::TITLES),
            message: text(rng),
            read: false,
        }
    }

    fn alter(&mut self, _rng: &mut Rng) {
        self.read = true;
    }

    fn key(&self) -> String {
        format!("Admins/{}", self.id)
    }

    fn update_fires(_before: &Self, _after: &Self, _source: Option<&str>) -> Vec<SampleEvent> {
        Vec::new()
    }

    fn fires(operation: Operation) -> Vec<SampleEvent> {
        if operation == Operation::Insert { vec![SampleEvent::AdminAdded] } else { Vec::new() }
    }
}

/// Orders: each insert, each update that changes a value and each delete is sent with the whole row.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SampleOrder {
    #[serde(rename = "Order_ID")]
    id: u64,
    customer: String,
    product: &'static str,
    quantity: u64,
    total: Money,
    currency: &'static str,
    status: &'static str,
    note: Option<String>,
    #[serde(rename = "Placed_At")]
    placed_at: String,
}

impl SampleRow for SampleOrder {
    const TABLE: &'static str = "Orders";

    fn new(number: u64, now: Timestamp, rng: &mut Rng) -> Self {
        let quantity = 1 + rng.u64(..12);
        Self {
            id: number,
            customer: format!("{} {}", pick(rng, words::FIRST_NAMES), pick(rng, words::LAST_NAMES)),
            product: pick(rng, words::PRODUCTS),
            quantity,
            total: Money(quantity * (199 + rng.u64(..20_000))),
            currency: pick(rng, words::CURRENCIES),
            status: words::ORDER_STATES[0],
            note: chance(rng, 25).then(|| text(rng)),
            placed_at: format!("{now:.0}"),
        }
    }

    fn alter(&mut self, rng: &mut Rng) {
        match rng.u64(..10) {
            0..=4 => self.status = pick(rng, words::ORDER_STATES),
            5..=6 => self.quantity = 1 + rng.u64(..12),
            7 => self.note = chance(rng, 50).then(|| text(rng)),
            8 => self.total = Money(199 + rng.u64(..240_000)),
            _ => {}
        }
    }

    fn key(&self) -> String {
        format!("Orders/{}", self.id)
    }

    fn update_fires(before: &Self, after: &Self, _source: Option<&str>) -> Vec<SampleEvent> {
        let mut fires = Vec::new();
        if before != after {
            fires.push(SampleEvent::OrderChanged);
        }
        if before.status != after.status {
            fires.push(SampleEvent::OrderMoved);
        }
        fires
    }

    fn fires(operation: Operation) -> Vec<SampleEvent> {
        match operation {
            Operation::Insert => vec![SampleEvent::OrderPlaced],
            Operation::Delete => vec![SampleEvent::OrderDeleted],
            Operation::Update => Vec::new(),
        }
    }
}

/// A table without webhooks.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Product {
    #[serde(rename = "SKU")]
    sku: u64,
    name: &'static str,
    price: Money,
    #[serde(rename = "In_Stock")]
    in_stock: u64,
}

impl SampleRow for Product {
    const TABLE: &'static str = "Products";

    fn new(number: u64, _now: Timestamp, rng: &mut Rng) -> Self {
        let (name, price, in_stock) = (pick(rng, words::PRODUCTS), Money(199 + rng.u64(..20_000)), rng.u64(..500));
        Self { sku: number, name, price, in_stock }
    }

    fn alter(&mut self, rng: &mut Rng) {
        self.in_stock = rng.u64(..500);
    }

    fn key(&self) -> String {
        format!("Products/{}", self.sku)
    }

    fn update_fires(_before: &Self, _after: &Self, _source: Option<&str>) -> Vec<SampleEvent> {
        Vec::new()
    }

    fn fires(_operation: Operation) -> Vec<SampleEvent> {
        Vec::new()
    }
}

/// True in `percent` of 100 cases.
pub(super) fn chance(rng: &mut Rng, percent: u64) -> bool {
    rng.u64(..100) < percent
}

/// One of the choices, which must not be empty.
pub(super) fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

/// One to three sentences, rarely 40.
fn text(rng: &mut Rng) -> String {
    let sentences = if chance(rng, 3) { 40 } else { 1 + rng.u64(..3) };
    (0..sentences).map(|_| pick(rng, words::SENTENCES)).collect::<Vec<_>>().join(" ")
}
