//! Lanes against real servers on loopback. Signatures are checked by the `standardwebhooks` crate.

mod authorization;
mod calls;
mod entries;
mod gone;
mod heads;
mod hostile;
mod http2;
mod in_order;
mod lanes;
mod nginx;
mod node;
mod proxy;
mod receiver;
mod retries;
mod slow;
mod stream_limits;
mod tls;
mod tls_causes;
