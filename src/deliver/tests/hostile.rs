//! URLs and names that lead to addresses which are not public. Each is refused as a URL or at the dialled address.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::super::Config;
use super::calls::config;
use super::receiver::{Receiver, Reply};
use crate::definition::Endpoint;
use crate::definition::address_guard::AddressGuard;
use crate::deliver::policy::classify;
use crate::deliver::transport::dial::{AlpnOffer, Dialer};
use crate::deliver::transport::failure::AttemptFailure;
use crate::deliver::transport::resolve::Resolver;

/// When a URL is refused. The text contains these words.
#[derive(Debug)]
enum Refused {
    /// When its webhook is written.
    AsUrl(&'static str),
    /// When it is dialled, because of one of its addresses.
    ByAddress(&'static str),
    /// When it is dialled, because TLS does not accept the name.
    ByTls(&'static str),
}
use Refused::{AsUrl, ByAddress, ByTls};

/// Uses only the system's own resolver, which parses all of these as numbers and asks no server.
const SPELLINGS: [(&str, Refused); 49] = [
    ("http://127.0.0.1/", ByAddress("a loopback address")),
    ("http://127.0.0.1:80/", ByAddress("a loopback address")),
    ("https://127.0.0.1/", ByAddress("a loopback address")),
    ("HTTP://127.0.0.1/", ByAddress("a loopback address")),
    ("http://2130706433/", ByAddress("127.0.0.1 is a loopback address")),
    ("http://0x7f000001/", ByAddress("127.0.0.1 is a loopback address")),
    ("http://0X7F.1/", ByAddress("127.0.0.1 is a loopback address")),
    ("http://0x7f.0x0.0x0.0x1/", ByAddress("127.0.0.1 is a loopback address")),
    ("http://0177.0.0.1/", ByAddress("127.0.0.1 is a loopback address")),
    ("http://00000177.1/", ByAddress("127.0.0.1 is a loopback address")),
    ("http://017700000001/", ByAddress("127.0.0.1 is a loopback address")),
    ("http://127.1/", ByAddress("127.0.0.1 is a loopback address")),
    ("http://127.0.1/", ByAddress("127.0.0.1 is a loopback address")),
    ("http://127.0.0.01/", ByAddress("127.0.0.1 is a loopback address")),
    ("https://127.1/", ByTls("invalid dns name")),
    ("http://0/", ByAddress("0.0.0.0 is an address of this network")),
    ("http://0x0/", ByAddress("0.0.0.0 is an address of this network")),
    ("http://0.0.0.0/", ByAddress("an address of this network")),
    ("http://4294967295/", ByAddress("255.255.255.255 is the broadcast address")),
    ("http://2852039166/", ByAddress("169.254.169.254 is a link-local (cloud metadata) address")),
    ("http://0xA9FEA9FE/", ByAddress("169.254.169.254 is a link-local (cloud metadata) address")),
    ("http://0251.0376.0251.0376/", ByAddress("169.254.169.254 is a link-local (cloud metadata) address")),
    ("http://169.254.43518/", ByAddress("169.254.169.254 is a link-local (cloud metadata) address")),
    ("http://10.1/", ByAddress("10.0.0.1 is a private address")),
    ("http://192.168.257/", ByAddress("192.168.1.1 is a private address")),
    ("http://localhost/", ByAddress("a loopback address")),
    ("http://LocalHost/", ByAddress("a loopback address")),
    ("http://[::1]/", ByAddress("the loopback address")),
    ("https://[::1]:8443/", ByAddress("the loopback address")),
    ("http://[0:0:0:0:0:0:0:1]/", ByAddress("the loopback address")),
    ("http://[::]/", ByAddress("the unspecified address")),
    ("http://[::ffff:127.0.0.1]/", ByAddress("a loopback address")),
    ("http://[::FFFF:7F00:1]/", ByAddress("a loopback address")),
    ("http://[0:0:0:0:0:ffff:a9fe:a9fe]/", ByAddress("a link-local (cloud metadata) address")),
    ("http://[::127.0.0.1]/", ByAddress("an IPv4-compatible address")),
    ("http://[64:ff9b::7f00:1]/", ByAddress("a loopback address")),
    ("http://[64:ff9b:1::a00:1]/", ByAddress("a local NAT64 address")),
    ("http://[2002:7f00:1::]/", ByAddress("a 6to4 address")),
    ("http://[2001::1]/", ByAddress("a Teredo address")),
    ("http://[fd00:ec2::254]/", ByAddress("a unique local address")),
    ("http://[fe80::1]/", ByAddress("a link-local address")),
    ("http://[fe80::1%25lo]/", AsUrl("in brackets")),
    ("http://[fe80::1%lo]/", AsUrl("in brackets")),
    ("http://[::1/", AsUrl("a form that a URL can't have")),
    ("http://::1/", AsUrl("a form that a URL can't have")),
    ("http://[[::1]]/", AsUrl("a form that a URL can't have")),
    ("http://[127.0.0.1]/", AsUrl("in brackets")),
    ("http://[::1%25lo]/", AsUrl("in brackets")),
    ("http://127.0.0.1:00080/", ByAddress("a loopback address")),
];

/// Tricks with hosts that are not numbers, with a resolver that returns 127.0.0.1 for any name.
const TRICKS: [(&str, Refused); 26] = [
    ("http://127.0.0.1./", ByAddress("a loopback address")),
    ("http://localhost./", ByAddress("a loopback address")),
    ("http://4294967296/", ByAddress("a loopback address")),
    ("http://127.0.0.256/", ByAddress("a loopback address")),
    ("http://127.0.0.1.example/", ByAddress("a loopback address")),
    ("http://xn--nxasmm1c/", ByAddress("a loopback address")),
    ("http://a_b.example/", ByAddress("a loopback address")),
    ("http://hook.example@127.0.0.1/", AsUrl("a user name or password")),
    ("http://127.0.0.1@hook.example/", AsUrl("a user name or password")),
    ("http://hook.example:80@127.0.0.1/", AsUrl("a user name or password")),
    ("http://hook.example%40127.0.0.1/", AsUrl("a form that a URL can't have")),
    ("http://127%2e0%2e0%2e1/", AsUrl("a form that a URL can't have")),
    ("http://%31%32%37.0.0.1/", AsUrl("a form that a URL can't have")),
    ("http://１２７.０.０.１/", AsUrl("punycode")),
    ("http://①②⑦.0.0.1/", AsUrl("punycode")),
    ("http://127。0。0。1/", AsUrl("punycode")),
    ("http://bücher.example/", AsUrl("punycode")),
    ("http://hook.example\\@127.0.0.1/", AsUrl("a backslash")),
    ("http://hook.example#@127.0.0.1/", AsUrl("a fragment")),
    ("http://127.0.0.1\t/", AsUrl("a blank")),
    ("http://127.0.0.1\r\nHost: x/", AsUrl("a line break")),
    (" http://127.0.0.1/", AsUrl("a blank")),
    ("http:///127.0.0.1/", AsUrl("a form that a URL can't have")),
    ("http:127.0.0.1/", AsUrl("must start with https://")),
    ("//127.0.0.1/", AsUrl("https://")),
    ("gopher://127.0.0.1/", AsUrl("https://")),
];

/// Possible results of a name's lookup, and why they are not dialled.
const ANSWERS: [(&[&str], &str); 31] = [
    (&["127.0.0.1"], "a loopback address"),
    (&["127.255.255.254"], "a loopback address"),
    (&["10.0.0.5"], "a private address"),
    (&["172.31.0.1"], "a private address"),
    (&["192.168.1.1"], "a private address"),
    (&["100.64.0.1"], "a shared (carrier-grade NAT) address"),
    (&["100.100.100.200"], "a shared (carrier-grade NAT) address"),
    (&["169.254.169.254"], "a link-local (cloud metadata) address"),
    (&["168.63.129.16"], "a cloud metadata address"),
    (&["192.0.0.192"], "an address for protocol assignments"),
    (&["0.0.0.0"], "an address of this network"),
    (&["224.0.0.1"], "a multicast address"),
    (&["240.0.0.1"], "a reserved address"),
    (&["255.255.255.255"], "the broadcast address"),
    (&["192.0.2.1"], "a documentation address"),
    (&["198.18.0.1"], "a benchmarking address"),
    (&["192.88.99.1"], "a 6to4 relay's address"),
    (&["::1"], "the loopback address"),
    (&["::ffff:192.168.1.1"], "a private address"),
    (&["::10.0.0.1"], "an IPv4-compatible address"),
    (&["64:ff9b::10.0.0.1"], "a private address"),
    (&["64:ff9b:1::1"], "a local NAT64 address"),
    (&["100::1"], "a discard address"),
    (&["2001:20::1"], "an ORCHID"),
    (&["2002:a00:1::1"], "a 6to4 address"),
    (&["2001:db8::1"], "a documentation address"),
    (&["fc00::1"], "a unique local address"),
    (&["ff02::1"], "a multicast address"),
    (&["127.0.0.1", "10.0.0.1", "::1"], "127.0.0.1 is a loopback address"),
    (&["203.0.113.66"], "delivery.deny_addresses"),
    (&[], "the name has no address"),
];

/// The tricks that count as names until they are looked up.
const NAMES: [&str; 5] = [
    "http://4294967296/",
    "http://127.0.0.256/",
    "http://127.0.0.1.example/",
    "http://xn--nxasmm1c/",
    "http://a_b.example/",
];

#[tokio::test]
async fn every_spelling_of_a_non_public_address_is_refused() {
    for (url, refused) in &SPELLINGS {
        assert_refused(url, refused, Resolver::system()).await;
    }
}

#[tokio::test]
async fn every_host_name_trick_is_refused() {
    for (url, refused) in &TRICKS {
        assert_refused(url, refused, answering(|_| vec!["127.0.0.1"]).0).await;
    }
}

#[tokio::test]
async fn non_public_lookup_results_are_refused() {
    for (answer, words) in &ANSWERS {
        for url in ["http://hook.example/", "https://hook.example/"] {
            let resolver = answering(|_| answer.to_vec()).0;
            let failure = dial(url, &open(), resolver).await.unwrap_err();
            assert!(failure.to_string().contains(words), "{url} as {answer:?}: {failure}");
        }
    }
}

#[tokio::test]
async fn rebinding_host_is_dialled_at_the_checked_address() {
    // One port at two addresses. Only one of them may be dialled.
    let public = Receiver::start_at("127.0.0.2:0", None, |_| Reply::Status(200)).await;
    let secret =
        Receiver::start_at(&format!("127.0.0.1:{}", public.address.port()), None, |_| Reply::Status(200)).await;
    let config = Config { allow_addresses: vec!["127.0.0.2/32".parse().unwrap()], ..config() };
    let url = format!("http://rebind.example:{}/", public.address.port());

    // The first lookup returns the public address. A second one would return the secret address.
    let (resolver, look_ups) = answering(|n| vec![if n == 0 { "127.0.0.2" } else { "127.0.0.1" }]);
    dial(&url, &config, resolver.clone()).await.unwrap();
    assert_eq!(look_ups.load(Ordering::SeqCst), 1, "one look-up a connection");
    let failure = dial(&url, &config, resolver).await.unwrap_err();
    assert_eq!(classify::failure(&failure).0.as_str(), "refused_address", "{failure}");
    assert_eq!(look_ups.load(Ordering::SeqCst), 2);

    // If both are returned together, in either order, the secret one is ignored.
    for both in [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]] {
        dial(&url, &config, answering(move |_| both.to_vec()).0).await.unwrap();
    }
    // Nor is the secret one tried when the public one does not answer.
    let closed = format!("http://rebind.example:{}/", closed_port().await);
    let failure = dial(&closed, &config, answering(|_| vec!["127.0.0.2", "127.0.0.1"]).0).await.unwrap_err();
    assert_eq!(classify::failure(&failure).0.as_str(), "connect", "{failure}");
    assert_eq!((public.connections(), secret.connections()), (3, 0));
}

/// Allows http, and denies a documentation network.
fn open() -> Config {
    Config { allow_addresses: vec![], deny_addresses: vec!["203.0.113.64/26".parse().unwrap()], ..config() }
}

async fn dial(url: &str, config: &Config, resolver: Resolver) -> Result<(), AttemptFailure> {
    let endpoint = Endpoint::parse(url).unwrap();
    let dialer = Dialer::new(config, resolver).unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    dialer.dial(&endpoint, &dialer.connector(&endpoint), AlpnOffer::Both, deadline).await.map(drop)
}

async fn assert_refused(url: &str, refused: &Refused, resolver: Resolver) {
    let (class, words, text) = match (refused, Endpoint::parse(url)) {
        (AsUrl(words), Err(bad)) => ("", words, bad.to_string()),
        (AsUrl(_), Ok(endpoint)) => panic!("{url:?} is a URL, of host {:?}", endpoint.host),
        (_, Err(bad)) => panic!("{bad}"),
        (ByAddress(words) | ByTls(words), Ok(endpoint)) => {
            // A host that a resolver parses as an address is also refused when it is written, for the same reason.
            match AddressGuard::default().check_host(&endpoint.host) {
                Err(refused) if matches!(*words, "a loopback address") => assert!(refused.kind().contains("loopback")),
                Err(refused) => assert!(refused.to_string().contains(words) || words.contains("dns name"), "{url}"),
                Ok(()) => assert!(NAMES.contains(&url), "{url}"),
            }
            let failure = dial(url, &open(), resolver).await.expect_err(url);
            (classify::failure(&failure).0.as_str(), words, failure.to_string())
        }
    };
    let expected = match refused {
        AsUrl(_) => "",
        ByAddress(_) => "refused_address",
        ByTls(_) => "tls",
    };
    assert!(class == expected && text.contains(words), "{url:?}, expected {refused:?}: {class} {text}");
}

/// A resolver that returns `answer(n)` for lookup number n, counted from 0, whatever the name. Also returns the number
/// of lookups so far.
fn answering(answer: impl Fn(usize) -> Vec<&'static str> + Send + Sync + 'static) -> (Resolver, Arc<AtomicUsize>) {
    let look_ups = Arc::new(AtomicUsize::new(0));
    let counted = look_ups.clone();
    let resolver = Resolver::new(move |_| {
        let answer = answer(counted.fetch_add(1, Ordering::SeqCst));
        let addresses: Vec<IpAddr> = answer.iter().map(|address| address.parse().unwrap()).collect();
        async move { Ok(addresses) }
    });
    (resolver, look_ups)
}

async fn closed_port() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap().port()
}
