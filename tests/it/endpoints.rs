//! Authentication that endpoints require, configured over REST.

use harness::{Broker, Receiver, Site, order};
use serde_json::{Value, json};

use crate::{OUTHOOK, SOON};

const LIST: &str = "/v3/outgoingWebhooks";

#[test]
fn calls_are_authorized_as_configured_and_secrets_are_never_shown() {
    let mut site = Site::new(OUTHOOK, 1);
    site.set("definitions.secret_keys", vec!["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="]);
    let (receiver, credentials) = (Receiver::start(), site.client(&[]));
    let instance = site.start();
    let api = instance.api(&credentials);
    // The API itself issues OAuth2 tokens, so it is a real token endpoint.
    let token_url = format!("{}/oauth/token", instance.base());
    let secret = &credentials.secret;
    let oauth = json!({"TokenUrl": token_url, "ClientId": credentials.id, "ClientSecret": secret});
    for (name, authentication) in [
        ("basic", json!({"Basic": {"Username": "Aladdin", "Password": "open sesame"}})),
        ("bearer", json!({"Bearer": {"Token": "t0ken"}})),
        ("oauth", json!({"OAuth2": oauth})),
    ] {
        let url = receiver.url(&format!("/{name}"));
        let made = api.post(LIST, &json!({"Name": name, "OutgoingUrls": [url], "Authentication": authentication}));
        assert_eq!(made.status, 201, "{made:?}");
        let one = format!("{LIST}/{}", made.text("Id"));
        let event = json!({"EventType": "table.recordInsert", "ObjectName": "orders"});
        assert_eq!(api.post(&format!("{one}/events"), &event).status, 201);

        // A response of GET can be sent back by PUT: the secret stays.
        let read = api.get(&one);
        let changed = api.put(&one, &json!({"Authentication": read.body["Authentication"], "Timeout": 10}));
        assert_eq!((changed.status, &changed.body["Authentication"]), (200, &read.body["Authentication"]));
        for answer in [&made, &read, &changed] {
            assert!(answer.text.contains('…'), "{answer:?}");
            assert!(!["open sesame", "t0ken", secret].iter().any(|secret| answer.text.contains(secret)), "{answer:?}");
        }
    }

    site.produce([order(7)]);
    let authorization = |path: &str| {
        let [request] = receiver.wait(path, 1, SOON).try_into().expect("one change is one message");
        request.headers["authorization"].to_str().expect("it is text").to_owned()
    };
    assert_eq!(authorization("/basic"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert_eq!(authorization("/bearer"), "Bearer t0ken");
    let token = authorization("/oauth");
    let token = token.strip_prefix("Bearer ").expect("it is a bearer token");
    assert_eq!(api.with_token(token).get(LIST).status, 200, "the issuer accepts the token");

    let kept = Broker::get().read_all(&site.definitions);
    let kept: Vec<_> = kept.iter().filter_map(|record| record.value.as_deref()).map(String::from_utf8_lossy).collect();
    let printed = site.run(&["get"]);
    for secret in ["open sesame", "t0ken", secret] {
        assert!(!kept.iter().any(|record| record.contains(secret)), "the secret is sealed in the topic");
        assert!(!printed.stdout.contains(secret) && !instance.said().contains(secret));
    }
    let again = site.apply(&printed.stdout);
    assert!(
        again.stdout.contains("nothing to change"),
        "applying the output of `get` changes nothing: {}",
        again.stdout
    );
}

#[test]
fn invalid_authorization_is_rejected_with_its_field() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let wanted = |settings: Value| {
        let mut wanted = json!({"Name": "a", "OutgoingUrls": ["https://a.example/"]});
        wanted.as_object_mut().expect("an object").extend(settings.as_object().expect("an object").clone());
        wanted
    };
    for (settings, words) in [
        (json!({"Authentication": {"Digest": {}}}), "Authentication: unknown variant `Digest`"),
        (json!({"Authentication": {"Basic": {"Username": "a"}}}), "missing field `Password`"),
        (
            json!({"Authentication": {"Basic": {"Username": "a:b", "Password": "s3cret"}}}),
            "Authentication.Basic.Username",
        ),
        (json!({"Authentication": {"Bearer": {"Token": "…"}}}), "Authentication.Bearer.Token: its value is …"),
        (
            json!({"Authentication": {"OAuth2": {"TokenUrl": "ftp://a", "ClientId": "a", "ClientSecret": "s3cret"}}}),
            "Authentication.OAuth2.TokenUrl",
        ),
        (
            json!({"Authentication": {"Bearer": {"Token": "s3cret"}}, "Headers": {"authorization": "s3cret"}}),
            "omit one of the two",
        ),
        (json!({"Tls": {}}), "Tls: it is empty"),
        (json!({"Tls": {"CaCertificates": "s3cret"}}), "Tls.CaCertificates: it holds no certificate"),
        (json!({"Tls": {"ClientKey": "s3cret"}}), "Tls.ClientCertificate: it is required"),
        (json!({"Tls": {"CaCertificates": 1}}), "Tls.CaCertificates: invalid type"),
    ] {
        let refused = api.post(LIST, &wanted(settings));
        assert_eq!((refused.status, refused.text("Code").as_str()), (400, "IncorrectBodyParameter"), "{refused:?}");
        assert!(refused.text("Message").contains(words) && !refused.text.contains("s3cret"), "{refused:?}");
    }
    assert_eq!(api.get(LIST).body, json!([]));
}
