//! The rows of the sample tables: how one is born, how it changes, and which events a change of it fires.
//!
//! What fires is written here by hand, from what `webhooks.yaml` says in words: no part of the program that
//! is being judged takes part in it.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::words;
use crate::dev::definitions::SampleEvent;
use crate::dev::rng::Dice;
use crate::vocabulary::{EventSource, Operation};

/// One row of a sample table.
pub(super) trait SampleRow: Clone + PartialEq + Serialize {
    const TABLE: &'static str;

    fn new(number: u64, now: Timestamp, dice: &mut Dice) -> Self;
    /// Changes a field or two; now and then only to what they were.
    fn alter(&mut self, dice: &mut Dice);
    fn key(&self) -> String;
    /// The events that this update fires, from a source that they take.
    fn update_fires(before: &Self, after: &Self, source: Option<EventSource>) -> Vec<SampleEvent>;
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

/// The table of the seed page's first example.
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

    fn new(number: u64, _now: Timestamp, dice: &mut Dice) -> Self {
        Self {
            id: number,
            first_name: dice.pick(words::FIRST_NAMES),
            last_name: dice.pick(words::LAST_NAMES),
            email: format!("customer{number}@example.com"),
            company: dice.chance(60).then(|| dice.pick(words::COMPANIES)),
            city: dice.pick(words::CITIES),
            credit_limit: Money(dice.below(1_000_000)),
            newsletter: dice.chance(30),
            notes: text(dice),
        }
    }

    fn alter(&mut self, dice: &mut Dice) {
        match dice.below(10) {
            0..=2 => self.last_name = dice.pick(words::LAST_NAMES),
            3 => self.first_name = dice.pick(words::FIRST_NAMES),
            4 => self.city = dice.pick(words::CITIES),
            5 => self.credit_limit = Money(dice.below(1_000_000)),
            6 => self.newsletter = !self.newsletter,
            7 => self.company = dice.chance(80).then(|| dice.pick(words::COMPANIES)),
            8 => self.notes = text(dice),
            _ => {}
        }
    }

    fn key(&self) -> String {
        format!("MyCustomers/{}", self.id)
    }

    fn update_fires(before: &Self, after: &Self, source: Option<EventSource>) -> Vec<SampleEvent> {
        let taken = matches!(source, Some(EventSource::Datasheet | EventSource::DataPages));
        let renamed = before.first_name != after.first_name || before.last_name != after.last_name;
        if taken && renamed { vec![SampleEvent::CustomerRenamed] } else { Vec::new() }
    }

    fn fires(_operation: Operation) -> Vec<SampleEvent> {
        Vec::new()
    }
}

/// The table of the seed page's second example: messages to administrators.
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

    fn new(number: u64, _now: Timestamp, dice: &mut Dice) -> Self {
        Self {
            id: number,
            message_to: dice.pick(words::FIRST_NAMES),
            message_from: dice.pick(words::LAST_NAMES),
            message_title: dice.pick(words::TITLES),
            message: text(dice),
            read: false,
        }
    }

    fn alter(&mut self, _dice: &mut Dice) {
        self.read = true;
    }

    fn key(&self) -> String {
        format!("Admins/{}", self.id)
    }

    fn update_fires(_before: &Self, _after: &Self, _source: Option<EventSource>) -> Vec<SampleEvent> {
        Vec::new()
    }

    fn fires(operation: Operation) -> Vec<SampleEvent> {
        if operation == Operation::Insert { vec![SampleEvent::AdminAdded] } else { Vec::new() }
    }
}

/// Orders: every insert, real update and delete is sent whole.
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

    fn new(number: u64, now: Timestamp, dice: &mut Dice) -> Self {
        let quantity = 1 + dice.below(12);
        Self {
            id: number,
            customer: format!("{} {}", dice.pick(words::FIRST_NAMES), dice.pick(words::LAST_NAMES)),
            product: dice.pick(words::PRODUCTS),
            quantity,
            total: Money(quantity * (199 + dice.below(20_000))),
            currency: dice.pick(words::CURRENCIES),
            status: words::ORDER_STATES[0],
            note: dice.chance(25).then(|| text(dice)),
            placed_at: format!("{now:.0}"),
        }
    }

    fn alter(&mut self, dice: &mut Dice) {
        match dice.below(10) {
            0..=4 => self.status = dice.pick(words::ORDER_STATES),
            5..=6 => self.quantity = 1 + dice.below(12),
            7 => self.note = dice.chance(50).then(|| text(dice)),
            8 => self.total = Money(199 + dice.below(240_000)),
            _ => {}
        }
    }

    fn key(&self) -> String {
        format!("Orders/{}", self.id)
    }

    fn update_fires(before: &Self, after: &Self, _source: Option<EventSource>) -> Vec<SampleEvent> {
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

/// A table that no webhook asks for.
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

    fn new(number: u64, _now: Timestamp, dice: &mut Dice) -> Self {
        let (name, price, in_stock) = (dice.pick(words::PRODUCTS), Money(199 + dice.below(20_000)), dice.below(500));
        Self { sku: number, name, price, in_stock }
    }

    fn alter(&mut self, dice: &mut Dice) {
        self.in_stock = dice.below(500);
    }

    fn key(&self) -> String {
        format!("Products/{}", self.sku)
    }

    fn update_fires(_before: &Self, _after: &Self, _source: Option<EventSource>) -> Vec<SampleEvent> {
        Vec::new()
    }

    fn fires(_operation: Operation) -> Vec<SampleEvent> {
        Vec::new()
    }
}

/// A sentence, or a page of them.
fn text(dice: &mut Dice) -> String {
    let sentences = if dice.chance(3) { 40 } else { 1 + dice.below(3) };
    (0..sentences).map(|_| dice.pick(words::SENTENCES)).collect::<Vec<_>>().join(" ")
}
