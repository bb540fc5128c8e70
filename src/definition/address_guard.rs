//! Decides which addresses may be dialled. Pure.
//!
//! A user chooses a webhook's URL, and must not reach through it hosts that only this machine can reach. So the guard
//! checks the dialled address, not the name, against the IANA special-purpose registries (RFC 6890 and its
//! successors). Only public unicast addresses pass. A URL whose host shows its address is refused when it is written,
//! before any call becomes a dead letter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Decides which addresses may be dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressGuard {
    allowed: Vec<IpNet>,
    denied: Vec<IpNet>,
}

/// Why an address may not be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressRefused {
    #[error("{address} is {kind}; to allow it, add its network to delivery.allow_addresses")]
    NotPublic { address: IpAddr, kind: &'static str },
    #[error("{address} is in {network}, which delivery.deny_addresses names")]
    Denied { address: IpAddr, network: IpNet },
}

impl AddressRefused {
    pub fn address(&self) -> IpAddr {
        match self {
            AddressRefused::NotPublic { address, .. } | AddressRefused::Denied { address, .. } => *address,
        }
    }

    /// The kind of the address, without the networks that the configuration names.
    pub fn kind(&self) -> &'static str {
        match self {
            AddressRefused::NotPublic { kind, .. } => kind,
            AddressRefused::Denied { .. } => "an address that this installation denies",
        }
    }
}

impl AddressGuard {
    /// `allowed` networks may be dialled whatever their kind, except those in `denied`.
    pub fn new(allowed: Vec<IpNet>, denied: Vec<IpNet>) -> Self {
        Self { allowed, denied }
    }

    /// A guard that lets any address pass, for code that dials nothing.
    pub fn allow_all() -> Self {
        Self::new(vec![Ipv4Net::default().into(), Ipv6Net::default().into()], Vec::new())
    }

    /// Checks a URL's host if its address is known without a lookup: the host is an address, or a name of this
    /// machine. The address of any other name may change, and is checked when it is dialled.
    ///
    /// # Errors
    /// None of its possible addresses may be dialled.
    pub fn check_host(&self, host: &str) -> Result<(), AddressRefused> {
        let addresses = match host_address(host) {
            Some(address) => vec![address],
            None if is_local(host) => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            None => return Ok(()),
        };
        let refused: Vec<_> = addresses.iter().filter_map(|address| self.check(*address).err()).collect();
        match refused.first() {
            Some(first) if refused.len() == addresses.len() => Err(*first),
            _ => Ok(()),
        }
    }

    /// # Errors
    /// The address is in a denied network, or it is not public and not in an allowed network.
    pub fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        let effective = effective_address(address);
        let contains = |network: &&IpNet| network.contains(&effective) || network.contains(&address);
        if let Some(network) = self.denied.iter().find(contains) {
            return Err(AddressRefused::Denied { address, network: *network });
        }
        if self.allowed.iter().any(|network| contains(&network)) {
            return Ok(());
        }
        let kind = match effective {
            IpAddr::V4(v4) => kind_of_v4(v4),
            IpAddr::V6(v6) => kind_of_v6(v6),
        };
        kind.map_or(Ok(()), |kind| Err(AddressRefused::NotPublic { address, kind }))
    }
}

/// The address that a URL's host is, in any notation that the system's resolver accepts.
pub fn host_address(host: &str) -> Option<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    bare.parse().ok().or_else(|| parse_ipv4(bare).map(IpAddr::V4))
}

/// Whether a user who knows a URL's host may see its address: the address is public, or the host itself is the
/// address or a name of this machine.
pub fn may_show_address(host: &str, address: IpAddr) -> bool {
    let shows_address = host_address(host).is_some_and(|shown| shown.to_canonical() == address.to_canonical());
    shows_address
        || is_local(host) && address.to_canonical().is_loopback()
        || AddressGuard::default().check(address).is_ok()
}

/// Parses an IPv4 address as inet_aton(3) does: one to four numbers, decimal, octal or hexadecimal. The last one
/// fills the remaining bytes.
fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(parse_ipv4_part).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last().filter(|(_, bytes)| bytes.len() < 4)?;
    let left = 8 * (4 - bytes.len() as u32);
    if left < 32 && *last >= 1 << left || bytes.iter().any(|byte| *byte > 255) {
        return None;
    }
    let high = bytes.iter().enumerate().map(|(index, byte)| byte << (24 - 8 * index)).sum::<u32>();
    Some(Ipv4Addr::from(high | last))
}

fn parse_ipv4_part(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // `from_str_radix` would accept a sign.
    let digits = Some(digits).filter(|digits| digits.starts_with(|first: char| first.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, radix).ok()
}

/// Whether a host is a name of this machine (RFC 6761), or one that hosts files define for it.
fn is_local(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or_default();
    last == "localhost" || ["localhost.localdomain", "ip6-localhost", "ip6-loopback"].contains(&&*host)
}

/// The IPv4 address that an IPv6 address leads to if it is mapped (RFC 4291) or behind NAT64 (RFC 6052), through
/// which an IPv6-only network reaches public IPv4. Any other address is returned as it is.
fn effective_address(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if NAT64.contains(&v6) => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        other => other,
    }
}

/// Networks that are not public in IPv4. Cloud metadata services are in link-local or shared networks or in
/// 192.0.0.0/24, except Azure's, which has a public address.
const NON_PUBLIC_V4: [(Ipv4Net, &str); 17] = [
    (v4([0, 0, 0, 0], 8), "an address of this network"),
    (v4([10, 0, 0, 0], 8), "a private address"),
    (v4([100, 64, 0, 0], 10), "a shared (carrier-grade NAT) address"),
    (v4([127, 0, 0, 0], 8), "a loopback address"),
    (v4([168, 63, 129, 16], 32), "a cloud metadata address"),
    (v4([169, 254, 0, 0], 16), "a link-local (cloud metadata) address"),
    (v4([172, 16, 0, 0], 12), "a private address"),
    (v4([192, 0, 0, 0], 24), "an address for protocol assignments"),
    (v4([192, 0, 2, 0], 24), "a documentation address"),
    (v4([192, 88, 99, 0], 24), "a 6to4 relay's address"),
    (v4([192, 168, 0, 0], 16), "a private address"),
    (v4([198, 18, 0, 0], 15), "a benchmarking address"),
    (v4([198, 51, 100, 0], 24), "a documentation address"),
    (v4([203, 0, 113, 0], 24), "a documentation address"),
    (v4([224, 0, 0, 0], 4), "a multicast address"),
    (v4([255, 255, 255, 255], 32), "the broadcast address"),
    (v4([240, 0, 0, 0], 4), "a reserved address"),
];

/// Networks that are not public in IPv6. The first one that contains the address names the kind. Outside 2000::/3
/// nothing is public.
const NON_PUBLIC_V6: [(Ipv6Net, &str); 16] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "the unspecified address"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "the loopback address"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "an IPv4-compatible address"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "a local NAT64 address"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "a discard address"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "a Teredo address"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "a benchmarking address"),
    (v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28), "an ORCHID, which can't be dialled"),
    (v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28), "an ORCHID, which can't be dialled"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "an address for protocol assignments"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "a documentation address"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "a 6to4 address"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "a documentation address"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "a unique local address"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "a link-local address"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "a multicast address"),
];

const PUBLIC_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

fn kind_of_v4(address: Ipv4Addr) -> Option<&'static str> {
    NON_PUBLIC_V4.iter().find(|(network, _)| network.contains(&address)).map(|(_, kind)| *kind)
}

fn kind_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    match NON_PUBLIC_V6.iter().find(|(network, _)| network.contains(&address)) {
        Some((_, kind)) => Some(kind),
        None if PUBLIC_V6.contains(&address) => None,
        None => Some("a reserved address"),
    }
}

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

#[cfg(test)]
mod tests;
