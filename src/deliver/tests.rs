//! Lanes against real servers on loopback. Signatures are checked by the `standardwebhooks` crate.

mod authorization;
mod calls;
mod ended_connections;
mod entries;
mod hostile;
mod http2;
mod in_order;
mod lanes;
mod malformed_heads;
mod nginx;
mod node;
mod proxy;
mod receiver;
mod retries;
mod slow;
mod stream_limits;
mod tls;
mod tls_causes;
