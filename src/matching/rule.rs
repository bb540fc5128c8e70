//! An event made ready to fire: everything that matching, rendering and signing need, compiled.

use std::sync::Arc;

use crate::definition::template::Template;
use crate::definition::{Endpoint, Secret};
use crate::id::{AccountId, EventId, WebhookId};
use crate::vocabulary::{EventSources, Operation};

/// An active event of an enabled webhook, compiled.
#[derive(Debug)]
pub struct Rule {
    pub event: EventId,
    pub operation: Operation,
    pub object_name: Box<str>,
    /// Fields whose change fires an update event; empty is all.
    pub fields: Box<[Box<str>]>,
    pub sources: EventSources,
    pub body: Body,
    pub target: Arc<Target>,
}

/// What a message's body is made of.
#[derive(Debug)]
pub enum Body {
    /// The default payload, with all fields when None.
    Default {
        fields: Option<Box<[Box<str>]>>,
    },
    Template(Template),
}

/// A webhook as a message needs it; shared by the rules of its events.
#[derive(Debug)]
pub struct Target {
    pub webhook: WebhookId,
    pub account: AccountId,
    pub secret: Secret,
    pub endpoints: Box<[Arc<Endpoint>]>,
}
