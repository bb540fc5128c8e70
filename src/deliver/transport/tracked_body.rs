//! Records whether a request was taken out of the queue of its HTTP/2 connection.
//!
//! hyper passes requests through a channel to the task that writes them. If a request is passed at the moment when
//! that task ends, as it does after GOAWAY, the request stays in the channel: it is neither written nor refused, and
//! its caller would wait until the timeout. So the body records that it was taken.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

/// Set when hyper asks for the body.
#[derive(Debug, Clone, Default)]
pub(in crate::deliver) struct TakenFlag(Arc<AtomicBool>);

impl TakenFlag {
    /// Returns whether hyper has asked for the body. Reliable once the task that asks for it has ended.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A body that records when it is taken.
pub(in crate::deliver) struct TrackedBody {
    body: Full<Bytes>,
    taken: TakenFlag,
}

impl TrackedBody {
    pub fn new(body: Full<Bytes>, taken: TakenFlag) -> Self {
        Self { body, taken }
    }
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    /// hyper calls this before it writes anything of the request.
    fn is_end_stream(&self) -> bool {
        self.taken.0.store(true, Ordering::Release);
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
