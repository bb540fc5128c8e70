use super::*;

const PUBLIC: [&str; 24] = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:831::200e",
    // The same public IPv4 address, mapped and behind NAT64.
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
];

const REFUSED: [(&str, &str); 55] = [
    ("0.0.0.0", "this network"),
    ("0.1.2.3", "this network"),
    ("10.0.0.1", "private"),
    ("10.255.255.255", "private"),
    ("100.64.0.0", "shared"),
    ("100.100.100.200", "shared"),
    ("100.127.255.255", "shared"),
    ("127.0.0.1", "loopback"),
    ("127.255.255.254", "loopback"),
    ("168.63.129.16", "metadata"),
    ("169.254.0.1", "link-local"),
    ("169.254.169.254", "metadata"),
    ("172.16.0.1", "private"),
    ("172.31.255.255", "private"),
    ("192.0.0.1", "protocol"),
    ("192.0.0.192", "protocol"),
    ("192.0.2.1", "documentation"),
    ("192.88.99.1", "6to4"),
    ("192.168.0.1", "private"),
    ("192.168.255.255", "private"),
    ("198.18.0.1", "benchmarking"),
    ("198.19.255.255", "benchmarking"),
    ("198.51.100.7", "documentation"),
    ("203.0.113.9", "documentation"),
    ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"),
    ("240.0.0.1", "reserved"),
    ("255.255.255.254", "reserved"),
    ("255.255.255.255", "broadcast"),
    ("::", "unspecified"),
    ("::1", "loopback"),
    ("::127.0.0.1", "IPv4-compatible"),
    ("::8.8.8.8", "IPv4-compatible"),
    ("::ffff:127.0.0.1", "loopback"),
    ("::ffff:10.1.2.3", "private"),
    ("::ffff:169.254.169.254", "metadata"),
    ("64:ff9b::10.0.0.1", "private"),
    ("64:ff9b::169.254.169.254", "metadata"),
    ("64:ff9b:1::1", "local NAT64"),
    ("100::1", "discard"),
    ("2001::1", "Teredo"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
    ("2001:2::1", "benchmarking"),
    ("2001:1::1", "protocol"),
    ("2001:10::1", "ORCHID"),
    ("2001:2f:ffff::1", "ORCHID"),
    ("2001:db8::1", "documentation"),
    ("2002:7f00:1::1", "6to4"),
    ("3fff::1", "documentation"),
    ("fc00::1", "unique local"),
    ("fd00:ec2::254", "unique local"),
    ("fe80::1", "link-local"),
    ("fec0::1", "reserved"),
    ("ff02::1", "multicast"),
    ("5f00::1", "reserved"),
];

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn public_addresses_pass() {
    for text in PUBLIC {
        assert_eq!(AddressGuard::default().check(address(text)), Ok(()), "{text}");
    }
}

#[test]
fn non_public_addresses_are_refused_with_their_kind() {
    for (text, kind) in REFUSED {
        let refused = AddressGuard::default().check(address(text)).expect_err(text);
        let refused = refused.to_string();
        assert!(refused.contains(kind) && refused.contains("delivery.allow_addresses"), "{text}: {refused}");
    }
}

#[test]
fn allowed_network_permits_only_its_own_addresses() {
    let guard = AddressGuard::new(networks(&["127.0.0.0/8", "fd12::/16"]), vec![]);
    for text in ["127.0.0.1", "::ffff:127.0.0.1", "fd12::7"] {
        assert_eq!(guard.check(address(text)), Ok(()), "{text}");
    }
    for text in ["10.0.0.1", "::1", "fd13::7"] {
        assert!(guard.check(address(text)).is_err(), "{text}");
    }
}

#[test]
fn denied_network_is_refused_in_every_notation_even_if_allowed() {
    let guard = AddressGuard::new(
        networks(&["10.0.0.0/8", "::/0"]),
        networks(&["10.9.0.0/16", "8.8.8.0/24", "2606:4700::/32"]),
    );
    for text in ["10.9.1.2", "8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "::ffff:10.9.1.2", "2606:4700::1111"] {
        let refused = guard.check(address(text)).expect_err(text).to_string();
        assert!(refused.contains("delivery.deny_addresses"), "{refused}");
    }
    for text in ["10.8.1.2", "8.8.4.4", "2606:4701::1"] {
        assert_eq!(guard.check(address(text)), Ok(()), "{text}");
    }
}

#[test]
fn literal_and_localhost_hosts_are_checked_by_the_address_they_mean() {
    let lead_to = [
        ("10.0.0.1", "10.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("192.168.257.", "192.168.1.1"),
        ("0", "0.0.0.0"),
        ("4294967295", "255.255.255.255"),
        ("[::ffff:169.254.169.254]", "::ffff:169.254.169.254"),
        ("LocalHost.", "127.0.0.1"),
        ("any.localhost", "127.0.0.1"),
        ("ip6-loopback", "127.0.0.1"),
    ];
    for (host, expected) in lead_to {
        let refused = AddressGuard::default().check_host(host).expect_err(host);
        assert_eq!(refused.address(), address(expected), "{host}");
        assert_eq!(AddressGuard::allow_all().check_host(host), Ok(()), "{host}");
    }
    let public = ["8.8.8.8", "134744072", "[2606:4700::1]", "a.example", "localhost.example"];
    let names = ["4294967296", "256.1.1.1", "1.2.3.4.5", "1..2", "08.1.1.1", "+1", "0x", "", "."];
    for host in public.iter().chain(&names) {
        assert_eq!(AddressGuard::default().check_host(host), Ok(()), "{host}");
    }
    let guard = AddressGuard::new(networks(&["::1/128"]), networks(&["8.8.0.0/16"]));
    assert_eq!(guard.check_host("localhost"), Ok(()), "one of what it means may be dialled");
    assert_eq!(guard.check_host("8.525320").unwrap_err().kind(), "an address that this installation denies");
}

#[test]
fn address_is_known_if_public_or_spelled_by_the_host() {
    for (host, known) in [("a.example", "8.8.8.8"), ("0x7f.1", "127.0.0.1"), ("[::1]", "::1"), ("localhost", "::1")] {
        assert!(may_show_address(host, address(known)), "{host} {known}");
    }
    for (host, unknown) in [("a.example", "10.0.0.1"), ("a.example", "::ffff:10.0.0.1"), ("10.0.0.2", "10.0.0.1")] {
        assert!(!may_show_address(host, address(unknown)), "{host} {unknown}");
    }
}
