//! Lanes against real servers on loopback. Signatures are checked by the `standardwebhooks` crate.

mod calls;
mod lanes;
mod receiver;
mod retries;
mod tls;
