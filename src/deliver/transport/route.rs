//! How one endpoint is reached: the parts that all requests to it share, and its shared HTTP/2 connection.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::connection::{Body, Connection, Http2};
use super::dial::{AlpnOffer, Dialer};
use super::failure::{AttemptFailure, AttemptStage, Limit};
use super::signature::Signer;
use crate::definition::Endpoint;
use crate::deliver::metrics::DeliveryMetrics;
use crate::render::Message;

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const OUTHOOK_SEQUENCE: HeaderName = HeaderName::from_static("outhook-sequence");
const OUTHOOK_EVENT_DATE: HeaderName = HeaderName::from_static("outhook-event-date");
const CONTENT_TYPE_JSON: HeaderValue = HeaderValue::from_static("application/json");
const USER_AGENT_VALUE: HeaderValue = HeaderValue::from_static(concat!("outhook/", env!("CARGO_PKG_VERSION")));

/// Buffer size for the header values that differ per request, in bytes: id 36, time 10, signature 47 or 95, sequence
/// at most 50, date 30. They share one buffer.
const HEADER_VALUES_CAPACITY: usize = 192;

pub(in crate::deliver) struct Route {
    pub endpoint: Arc<Endpoint>,
    /// The endpoint as logs and dead letters show it: scheme, host and port. Path and query are omitted, because many
    /// receivers (Slack, Discord, Teams) have their token in them.
    pub origin: Box<str>,
    host: HeaderValue,
    path: Uri,
    /// Created once, so that TLS sessions can be resumed.
    connector: OnceLock<TlsConnector>,
    /// The connection that the lane's workers share when the endpoint speaks HTTP/2. The lock is held while it is
    /// dialled, so that the other workers wait for it instead of dialling too.
    shared_http2: Mutex<Option<Http2>>,
    /// The endpoint is known not to speak HTTP/2, so no worker waits for a shared connection.
    http1_only: AtomicBool,
    /// The endpoint speaks HTTP/2, but requires HTTP/1.1 (HTTP_1_1_REQUIRED), so only HTTP/1.1 is offered.
    http1_required: AtomicBool,
}

impl Route {
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            origin: endpoint.origin().into(),
            host: host(&endpoint),
            path: path(&endpoint),
            connector: OnceLock::new(),
            shared_http2: Mutex::default(),
            http1_only: AtomicBool::new(!endpoint.https),
            http1_required: AtomicBool::new(false),
            endpoint,
        }
    }

    /// Returns a connection for one worker: the shared one if the endpoint speaks HTTP/2, else a new one. True if it
    /// was open before, so it may turn out to be closed.
    pub async fn connect(
        &self,
        dialer: &Dialer,
        metrics: &DeliveryMetrics,
        attempt: Limit,
    ) -> Result<(Connection, bool), AttemptFailure> {
        let limit = Limit::new(AttemptStage::Connect, dialer.connect_timeout).earlier_of(attempt);
        let connecting = self.connect_until(dialer, metrics, limit.deadline);
        timeout_at(limit.deadline, connecting).await.unwrap_or(Err(AttemptFailure::Timeout(limit)))
    }

    async fn connect_until(
        &self,
        dialer: &Dialer,
        metrics: &DeliveryMetrics,
        deadline: Instant,
    ) -> Result<(Connection, bool), AttemptFailure> {
        let mut shared = None;
        if !self.http1_only.load(Ordering::Relaxed) {
            let slot = self.shared_http2.lock().await;
            if let Some(open) = slot.as_ref().filter(|open| open.is_ready()) {
                return Ok((Connection::Http2(open.clone()), true));
            }
            // The previous holder of the lock may have found out that the endpoint does not speak HTTP/2.
            shared = (!self.http1_only.load(Ordering::Relaxed)).then_some(slot);
        }
        let connector = self.connector.get_or_init(|| dialer.connector(&self.endpoint));
        let offer = if self.http1_required.load(Ordering::Relaxed) { AlpnOffer::Http1 } else { AlpnOffer::Both };
        let connection = dialer.dial(&self.endpoint, connector, offer, deadline).await?;
        self.record_protocol(&connection, metrics);
        if let (Connection::Http2(open), Some(slot)) = (&connection, &mut shared) {
            **slot = Some(open.clone());
        }
        Ok((connection, false))
    }

    /// New connections use HTTP/1.1 from here on, until the lane ends.
    pub fn require_http1(&self) {
        self.http1_required.store(true, Ordering::Relaxed);
        self.http1_only.store(true, Ordering::Relaxed);
    }

    /// Drops the shared connection. Called when no worker is left.
    pub fn disconnect(&self) {
        // A holder of the lock is about to use the connection.
        if let Ok(mut shared) = self.shared_http2.try_lock() {
            shared.take();
        }
    }

    fn record_protocol(&self, connection: &Connection, metrics: &DeliveryMetrics) {
        let http1 = matches!(connection, Connection::Http1(_));
        self.http1_only.store(http1, Ordering::Relaxed);
        if http1 { &metrics.opened_http1 } else { &metrics.opened_http2 }.increment(1);
    }

    /// Builds the request of one attempt. `now` is its time in seconds since 1970.
    pub fn request(
        &self,
        message: &Message,
        authorization: Option<&HeaderValue>,
        connection: &Connection,
        signer: &mut Signer,
        now: u64,
    ) -> Request<Body> {
        let buffer = &mut BytesMut::with_capacity(HEADER_VALUES_CAPACITY);
        let id = text(buffer, message.id);
        let timestamp = text(buffer, now);
        let signature = signer.sign(&message.target, &id, (now, &timestamp), &message.body);
        buffer.put_slice(signature.as_bytes());
        let signature = buffer.split().freeze();
        let sequence = text(buffer, message.sequence);
        let event_date = text(buffer, message.event_date);

        let mut request = Request::new(Body::new(message.body.clone()));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.reserve(9);
        let uri = match connection {
            Connection::Http1(_) => {
                headers.insert(HOST, self.host.clone());
                &self.path
            }
            Connection::Http2(_) => &self.endpoint.uri,
        };
        headers.insert(CONTENT_TYPE, CONTENT_TYPE_JSON);
        headers.insert(USER_AGENT, USER_AGENT_VALUE);
        headers.insert(WEBHOOK_ID, value(id));
        headers.insert(WEBHOOK_TIMESTAMP, value(timestamp));
        headers.insert(WEBHOOK_SIGNATURE, value(signature));
        headers.insert(OUTHOOK_SEQUENCE, value(sequence));
        headers.insert(OUTHOOK_EVENT_DATE, value(event_date));
        for (name, value) in &message.target.headers {
            headers.insert(name.clone(), value.clone());
        }
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        *request.uri_mut() = uri.clone();
        request
    }
}

/// Converts a request to the form of HTTP/1.1: only the path as the URI, and the host as a header.
pub(in crate::deliver) fn to_origin_form<B>(endpoint: &Endpoint, request: &mut Request<B>) {
    *request.uri_mut() = path(endpoint);
    request.headers_mut().insert(HOST, host(endpoint));
}

fn path(endpoint: &Endpoint) -> Uri {
    Uri::from(endpoint.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")))
}

fn host(endpoint: &Endpoint) -> HeaderValue {
    HeaderValue::try_from(endpoint.authority()).expect("a URL's host and port have only visible ASCII")
}

fn text(buffer: &mut BytesMut, value: impl Display) -> Bytes {
    write!(buffer, "{value}").expect("a buffer that grows takes any text");
    buffer.split().freeze()
}

fn value(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).expect("ids, numbers, dates and base64 are visible ASCII")
}
