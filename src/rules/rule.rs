//! A compiled event: everything that matching, rendering and signing need.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{Authorization, CompiledBody, EventCounts};
use crate::definition::rules::Violation;
use crate::definition::template::{EventParameter, TemplateError};
use crate::definition::{
    BadUrl, Endpoint, Event, HiddenText, MessageOrder, OldSecret, Secret, Table, TlsSettings, Webhook,
};
use crate::id::{AccountId, EventId, WebhookId};
use crate::vocabulary::{EventSource, EventSources, Operation, UnknownEventSource};

/// An active event of an enabled webhook, compiled.
#[derive(Debug)]
pub struct Rule {
    pub event: EventId,
    pub operation: Operation,
    pub object_name: Box<str>,
    /// Fields whose change fires an update event; empty for all fields.
    pub fields: Box<[Box<str>]>,
    pub sources: EventSources,
    pub body: CompiledBody,
    pub target: Arc<Target>,
    pub event_state: EventState,
}

/// The state of an event for its messages under way: whether it is still active, and its counters. All clones share
/// the state.
#[derive(Debug, Clone, Default)]
pub struct EventState(Arc<EventStateInner>);

#[derive(Debug, Default)]
struct EventStateInner {
    has_ended: AtomicBool,
    counters: Arc<EventCounts>,
}

impl EventState {
    pub fn new(counts: Arc<EventCounts>) -> Self {
        Self(Arc::new(EventStateInner { has_ended: AtomicBool::new(false), counters: counts }))
    }

    /// Marks the event as ended: it or its webhook is deleted or disabled.
    pub fn mark_ended(&self) {
        self.0.has_ended.store(true, Ordering::Release);
    }

    pub fn has_ended(&self) -> bool {
        self.0.has_ended.load(Ordering::Acquire)
    }

    pub fn counters(&self) -> &EventCounts {
        &self.0.counters
    }
}

/// The part of a webhook that its messages need; shared by the rules of its events.
#[derive(Debug)]
pub struct Target {
    pub webhook: WebhookId,
    /// Version of its definition.
    pub version: u32,
    pub account: AccountId,
    pub secret: Secret,
    /// The previous secret, which signs too for a while.
    pub old_secret: Option<OldSecret>,
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// Max calls per second, over the whole group.
    pub call_throttling: Option<u32>,
    /// Max time of an attempt; None for the configured one.
    pub timeout: Option<Duration>,
    /// The delays before retries; None for the configured ones.
    pub retry: Option<Box<[Duration]>>,
    /// Additional headers of each request.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
    /// The source of the Authorization header.
    pub authorization: Option<Authorization>,
    /// The order in which its messages are sent.
    pub order: MessageOrder,
    /// A receiver answered 410 Gone. A changed definition gets another target, without this mark.
    pub is_gone: AtomicBool,
}

/// Why a definition can't be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error(transparent)]
    Url(#[from] BadUrl),
    #[error(transparent)]
    Tls(#[from] Violation),
    #[error("its header {0:?} can't be sent")]
    Header(String),
    #[error("its event sources: {0}")]
    EventSource(#[from] UnknownEventSource),
    #[error("its payload template: {0}")]
    Template(#[from] TemplateError),
}

impl Target {
    /// # Errors
    /// One of the webhook's URLs can't be called, or its TLS settings can't be read.
    pub fn of(webhook: &Webhook) -> Result<Target, CompileError> {
        let handling = &webhook.handling;
        let tls = handling.tls.as_ref().map(TlsSettings::compile).transpose()?.map(Arc::new);
        let endpoint = |url: &String| Ok::<_, BadUrl>(Arc::new(Endpoint::parse(url)?.with_tls(tls.clone())));
        let authorization = |authentication| Authorization::compile(authentication, tls.clone());
        Ok(Target {
            webhook: webhook.id,
            version: webhook.version,
            account: webhook.account.clone(),
            secret: webhook.secret.clone(),
            old_secret: webhook.old_secret.clone(),
            endpoints: webhook.urls.iter().map(endpoint).collect::<Result<_, _>>()?,
            call_throttling: webhook.call_throttling,
            timeout: handling.timeout.map(from_seconds),
            retry: handling.retry.as_ref().map(|waits| waits.iter().copied().map(from_seconds).collect()),
            headers: handling.headers.iter().map(header).collect::<Result<_, _>>()?,
            authorization: handling.authentication.as_ref().map(authorization).transpose()?,
            order: handling.order,
            is_gone: AtomicBool::new(false),
        })
    }
    /// Whether messages about one row are sent in the order of the row's changes.
    pub fn is_in_row_order(&self) -> bool {
        self.order == MessageOrder::RowKey
    }
}

fn from_seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

fn header((name, value): (&String, &HiddenText)) -> Result<(HeaderName, HeaderValue), CompileError> {
    let bad = || CompileError::Header(name.clone());
    let mut value = HeaderValue::from_str(&value.0).map_err(|_| bad())?;
    value.set_sensitive(true);
    Ok((name.parse().map_err(|_| bad())?, value))
}

impl Rule {
    /// Compiles an event, active or not, on a table without a declaration.
    ///
    /// # Errors
    /// An unknown event source, or a template that breaks the grammar.
    pub fn compile(webhook: &Webhook, event: &Event, target: &Arc<Target>) -> Result<Rule, CompileError> {
        Self::compile_on(None, webhook, event, target)
    }

    /// Compiles an event on a table with this declaration, if it has one.
    ///
    /// # Errors
    /// An unknown event source, or a template that breaks the grammar.
    pub fn compile_on(
        table: Option<&Table>,
        webhook: &Webhook,
        event: &Event,
        target: &Arc<Target>,
    ) -> Result<Rule, CompileError> {
        debug_assert_eq!(webhook.id, target.webhook, "the target is that of the event's webhook");
        let sources = event.event_sources.iter().map(|source| source.parse::<EventSource>());
        Ok(Rule {
            event: event.id,
            operation: event.operation,
            object_name: event.object_name.as_str().into(),
            fields: event.object_fields.iter().map(|field| field.as_str().into()).collect(),
            sources: sources.collect::<Result<_, _>>()?,
            body: CompiledBody::compile(webhook, event, table)?,
            target: target.clone(),
            event_state: EventState::default(),
        })
    }

    /// The value of a template parameter that is known before any row changes.
    pub fn fixed(&self, fixed: EventParameter) -> &str {
        match fixed {
            EventParameter::EventId => self.event.as_str(),
            EventParameter::WebhookId => self.target.webhook.as_str(),
            EventParameter::AccountId => self.target.account.as_str(),
            EventParameter::Secret => self.target.secret.expose(),
            EventParameter::EventType => self.operation.event_type(),
            EventParameter::ObjectName => &self.object_name,
        }
    }
}
