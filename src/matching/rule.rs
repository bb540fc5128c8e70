//! An event made ready to fire: everything that matching, rendering and signing need, compiled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Body;
use crate::definition::template::{Fixed, TemplateError};
use crate::definition::{BadUrl, Endpoint, Event, OldSecret, Secret, Webhook};
use crate::id::{AccountId, EventId, WebhookId};
use crate::vocabulary::{EventSource, EventSources, Operation, UnknownEventSource};

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
    pub live: Live,
}

/// Whether an event is still active, as its messages see it that are under way: every clone says the same.
#[derive(Debug, Clone, Default)]
pub struct Live(Arc<AtomicBool>);

impl Live {
    /// It, or its webhook, is deleted or disabled.
    pub fn end(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub fn has_ended(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A webhook as a message needs it; shared by the rules of its events.
#[derive(Debug)]
pub struct Target {
    pub webhook: WebhookId,
    pub account: AccountId,
    pub secret: Secret,
    /// What signs beside it for a while.
    pub old_secret: Option<OldSecret>,
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// A receiver wants nothing any more (410). A definition that changed makes another target.
    pub gone: AtomicBool,
}

/// Why a definition can't be made ready to fire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error(transparent)]
    Url(#[from] BadUrl),
    #[error("its event sources: {0}")]
    EventSource(#[from] UnknownEventSource),
    #[error("its payload template: {0}")]
    Template(#[from] TemplateError),
}

impl Target {
    /// # Errors
    /// One of the webhook's URLs can't be called.
    pub fn of(webhook: &Webhook) -> Result<Target, CompileError> {
        let endpoints = webhook.urls.iter().map(|url| Endpoint::parse(url).map(Arc::new));
        Ok(Target {
            webhook: webhook.id,
            account: webhook.account.clone(),
            secret: webhook.secret.clone(),
            old_secret: webhook.old_secret.clone(),
            endpoints: endpoints.collect::<Result<_, _>>()?,
            gone: AtomicBool::new(false),
        })
    }
}

impl Rule {
    /// Compiles an event, whether it is active or not.
    ///
    /// # Errors
    /// An unknown event source, or a template that breaks the grammar.
    pub fn compile(webhook: &Webhook, event: &Event, target: &Arc<Target>) -> Result<Rule, CompileError> {
        debug_assert_eq!(webhook.id, target.webhook, "an event's calls go where its webhook says");
        let sources = event.event_sources.iter().map(|source| source.parse::<EventSource>());
        Ok(Rule {
            event: event.id,
            operation: event.operation,
            object_name: event.object_name.as_str().into(),
            fields: event.object_fields.iter().map(|field| field.as_str().into()).collect(),
            sources: sources.collect::<Result<_, _>>()?,
            body: Body::compile(event)?,
            target: target.clone(),
            live: Live::default(),
        })
    }

    /// What a parameter stands for that is known before any row changes.
    pub fn fixed(&self, fixed: Fixed) -> &str {
        match fixed {
            Fixed::EventId => self.event.as_str(),
            Fixed::WebhookId => self.target.webhook.as_str(),
            Fixed::AccountId => self.target.account.as_str(),
            Fixed::Secret => self.target.secret.expose(),
            Fixed::EventType => self.operation.event_type(),
            Fixed::ObjectName => &self.object_name,
        }
    }
}
