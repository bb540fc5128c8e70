//! Where metrics and health are served: the `[listen]` section.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;

/// Where metrics and health are served.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address and port; port 0 takes a free one. Nothing is asked of who connects, so keep it inside. Default "127.0.0.1:8080".
    pub address: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self { address: (Ipv4Addr::LOCALHOST, 8080).into() }
    }
}
