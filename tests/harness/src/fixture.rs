//! Records and definitions of most tests: orders of the account `acme`.

/// The secret of each webhook that [`webhooks`] defines.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";

/// Key and value of a record that inserts an order. Row number and change id are `number`.
pub fn order(number: usize) -> (String, String) {
    let row =
        format!(r#"{{"id":{number},"item":"Café au lait \"grande\"","total":12.50,"shipped":false,"note":null}}"#);
    (number.to_string(), format!(r#"{{"id":"{number}","table":"orders","operation":"insert","after":{row}}}"#))
}

/// An [`order`] with an item of `bytes` bytes that compression hardly reduces.
pub fn large_order(number: usize, bytes: usize) -> (String, String) {
    let mut rng = fastrand::Rng::with_seed(number as u64);
    let item: String = (0..bytes).map(|_| rng.lowercase()).collect();
    let (key, change) = order(number);
    (key, change.replace("Café au lait", &item))
}

/// A file of webhooks for `apply`. Each has a name, its URLs, and its events in YAML's flow style, such as
/// `EventType: table.recordInsert, ObjectName: orders`.
pub fn webhooks(webhooks: &[(&str, &[String], &[&str])]) -> String {
    let mut yaml = "Webhooks:\n".to_owned();
    for (name, urls, events) in webhooks {
        let urls: Vec<_> = urls.iter().map(|url| format!("{url:?}")).collect();
        yaml += &format!("  - Account: acme\n    Name: {name}\n    OutgoingUrls: [{}]\n", urls.join(", "));
        yaml += &format!("    Secret: {SECRET}\n    Events:\n");
        for event in *events {
            yaml += &format!("      - {{ {event} }}\n");
        }
    }
    yaml
}

/// A webhook that sends inserted orders to URLs.
pub fn inserted_orders(name: &str, urls: &[String]) -> String {
    webhooks(&[(name, urls, &["EventType: table.recordInsert, ObjectName: orders"])])
}
