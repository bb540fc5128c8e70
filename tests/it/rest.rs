//! The REST API for its clients: the requests of the seed page, all methods, all rejections.

use std::process::Command;

use harness::api::{keys, request};
use harness::{Answer, Api, Broker, Receiver, Site, order};
use serde_json::{Value, json};

use crate::{OUTHOOK, SOON};

const BASES: [&str; 6] = ["/v2", "/v3", "/rest/v2", "/rest/v3", "/integrations/rest/v2", "/integrations/rest/v3"];
const MISSING: &str = "zzzzzz";

fn webhook(name: &str) -> Value {
    json!({"Name": name, "OutgoingUrls": ["https://a.example/hook"]})
}

fn event(event_type: &str, table: &str) -> Value {
    json!({"EventType": event_type, "ObjectName": table})
}

fn create(api: &Api, name: &str) -> String {
    let made = api.post("/v2/outgoingWebhooks", &webhook(name));
    assert_eq!(made.status, 201, "{made:?}");
    made.text("Id")
}

/// Whether a date has Caspio's format: 7 decimals and Z.
fn is_date(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    shape == "9999-99-99T99:99:99.9999999Z"
}

#[test]
fn requests_of_the_seed_page_get_its_responses() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let path = format!("/v2/outgoingWebhooks/{}/events", create(&api, "Seed page"));

    let made = api.send("POST", &path, include_bytes!("seed_page/request_1.txt"));
    assert_eq!(made.status, 201, "{made:?}");
    let page = include_str!("seed_page/response_1.txt");
    let mut expected: Value = serde_json::from_str(page).unwrap();
    // Values that differ each time: an id of the same form, and the time.
    assert!(made.text("Id").len() == 6 && is_date(&made.text("DateCreated")), "{made:?}");
    expected["Id"] = made.body["Id"].clone();
    expected["DateCreated"] = made.body["DateCreated"].clone();
    assert_eq!((made.keys(), &made.body), (keys(page), &expected), "the page's keys in the page's order");

    let raw = include_str!("seed_page/request_2.txt");
    let made = api.send("POST", &path, raw.as_bytes());
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.keys(), keys(include_str!("seed_page/response_2.txt")));
    let template = raw.split("\"CustomPayloadTemplate\":\"").nth(1).unwrap().rsplit_once('"').unwrap().0;
    assert_eq!(made.body["CustomPayloadTemplate"], template, "echoed unchanged, with line breaks");
    assert_eq!((&made.body["Status"], &made.body["ObjectFields"]), (&"Active".into(), &json!([])));
    assert_eq!(
        (&made.body["CustomPayloadFields"], &made.body["CreatedBy"]),
        (&Value::Null, &"John Doe (john.doe@acme.com)".into())
    );

    let event = format!("{path}/{}", made.text("Id"));
    assert_eq!(api.get(&path).body.as_array().unwrap().len(), 2);
    let read = api.get(&event);
    assert_eq!((read.status, read.text("Id")), (200, made.text("Id")));
    let put = api.send("PUT", &event, raw.as_bytes());
    assert_eq!((put.status, put.text("ModifiedBy").as_str()), (200, "John Doe (john.doe@acme.com)"));
    let deleted = api.delete(&event);
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    assert_eq!(api.get(&event).status, 404);
    assert_eq!(api.get(&path).body.as_array().unwrap().len(), 1);
}

#[test]
fn call_throttling_is_always_a_number_and_the_maximum_means_none() {
    let mut site = Site::new(OUTHOOK, 1);
    site.set("limits.call_throttling", 100);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let list = "/v3/outgoingWebhooks";
    let made = api.post(list, &webhook("A"));
    assert_eq!((made.status, &made.body["CallThrottling"]), (201, &100.into()), "{made:?}");
    let one = format!("{list}/{}", made.text("Id"));
    let throttle = |calls: i64| api.put(&one, &json!({ "CallThrottling": calls }));
    assert_eq!(throttle(50).body["CallThrottling"], 50);
    let refused = throttle(101);
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(
        refused.text("Message").contains("CallThrottling is 101: give calls per second from 1 to 100"),
        "{refused:?}"
    );
    assert!(site.run(&["get"]).stdout.contains("CallThrottling: 50"));
    // A response of GET can be sent back by PUT. That also resets the throttle.
    assert_eq!(throttle(100).body["CallThrottling"], 100);
    assert!(!site.run(&["get"]).stdout.contains("CallThrottling"));
    assert_eq!(api.get(list).body[0]["CallThrottling"], 100);
}

#[test]
fn webhook_is_served_under_every_base_path_with_the_contract_keys() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let created = ["Id", "Name", "Description", "OutgoingUrls", "CallThrottling", "Secret", "DateCreated", "CreatedBy"];
    let shown = [
        "Id",
        "Name",
        "Description",
        "OutgoingUrls",
        "CallThrottling",
        "Status",
        "DateCreated",
        "CreatedBy",
        "LastModified",
        "ModifiedBy",
    ];
    for base in BASES {
        let list = format!("{base}/outgoingWebhooks");
        let mut wanted = webhook(base);
        wanted["Description"] = "Two\nlines".into();
        wanted["CallThrottling"] = 7.into();
        let made = api.post(&list, &wanted);
        assert_eq!((made.status, made.keys()), (201, created.map(str::to_owned).to_vec()), "{made:?}");
        assert!(made.text("Secret").starts_with("whsec_") && made.text("Secret").len() == 50, "{made:?}");
        assert_eq!((&made.body["CallThrottling"], &made.body["Description"]), (&7.into(), &"Two\nlines".into()));
        let one = format!("{list}/{}", made.text("Id"));
        let read = api.get(&one);
        assert_eq!(read.status, 200);
        assert_eq!(read.keys()[..shown.len()], shown.map(str::to_owned));
        for key in ["Events", "Messages", "Calls", "Errors"] {
            assert_eq!(read.body[key], 0, "{read:?}");
        }
        assert!(!read.text.contains("whsec_") && !api.get(&list).text.contains("whsec_"));
        let changed = api.put(&one, &json!({"Name": format!("{base} changed")}));
        assert_eq!((changed.status, changed.keys()), (200, shown.map(str::to_owned).to_vec()), "{changed:?}");
        assert_eq!(changed.body["OutgoingUrls"], wanted["OutgoingUrls"], "an omitted key keeps its value");
        assert_eq!(api.get(&list).body.as_array().unwrap().len(), 1);
        assert_eq!(api.delete(&one).status, 204);
        let gone = api.get(&one);
        assert_eq!((gone.status, gone.text("Code").as_str(), gone.text("Resource")), (404, "ObjectNotFound", one));
        assert_eq!(gone.request_id, Some(gone.text("RequestId")), "header and body contain the same request id");
        assert!(made.request_id.is_some() && made.content_type.as_deref() == Some("application/json"));
    }
}

#[test]
fn invalid_requests_are_rejected_with_field_and_value_and_change_nothing() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let list = "/v3/outgoingWebhooks";
    let id = create(&api, "Taken");
    let events = format!("{list}/{id}/events");
    let update =
        |fields: &[&str]| json!({"EventType": "table.recordUpdate", "ObjectName": "T", "ObjectFields": fields});
    let first = api.post(&events, &update(&["a", "b"]));
    let all =
        api.post(&events, &json!({"EventType": "TABLE.RECORDINSERT", "ObjectName": "T", "EventSources": ["tasks"]}));
    assert_eq!(
        (all.status, all.text("Type").as_str(), &all.body["EventSources"]),
        (201, "TABLE.RECORDINSERT", &json!(["tasks"]))
    );
    let before = (api.get(list).text, api.get(&events).text);
    let cases: Vec<(&str, &str, Value, &str)> = vec![
        ("POST", list, json!({}), "Name is required"),
        ("POST", list, json!({"Name": "x"}), "OutgoingUrls is required"),
        ("POST", list, json!({"Name": "x", "OutgoingUrls": []}), "OutgoingUrls is required"),
        ("POST", list, webhook("Taken"), "is taken"),
        ("POST", list, webhook(&"x".repeat(256)), "Name has 256 characters"),
        ("POST", list, json!({"Name": "x", "OutgoingUrls": ["ftp://a"]}), "https://"),
        ("POST", list, json!({"Name": "x", "OutgoingUrls": ["https://a.example", "https://A.example:443/"]}), "twice"),
        ("POST", list, json!({"Name": "x", "OutgoingUrls": "https://a.example"}), "OutgoingUrls: invalid type: string"),
        ("POST", list, json!({"Name": 1, "OutgoingUrls": []}), "Name: invalid type: integer"),
        (
            "POST",
            list,
            json!({"Name": "x", "OutgoingUrls": ["https://a.example"], "CallThrottling": 0}),
            "CallThrottling is 0",
        ),
        (
            "POST",
            list,
            json!({"Name": "x", "OutgoingUrls": ["https://a.example"], "CallThrottling": -1}),
            "CallThrottling is -1",
        ),
        (
            "POST",
            list,
            json!({"Name": "x", "OutgoingUrls": ["https://a.example"], "Secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}),
            "Secret can't be chosen",
        ),
        (
            "POST",
            list,
            json!({"Name": "x", "OutgoingUrls": ["https://0xa000001/hook"]}),
            "OutgoingUrls: \"https://0xa000001/hook\" leads to 10.0.0.1, which is a private address",
        ),
        (
            "POST",
            list,
            json!({"Name": "x", "OutgoingUrls": ["https://a.example"], "Headers": {"Webhook_Signature": "v1,x"}}),
            "Headers has \"Webhook_Signature\"",
        ),
        ("POST", list, json!([]), "must be a JSON object"),
        ("PUT", "/v3/outgoingWebhooks/ID", json!({}), "at least one of"),
        ("POST", "EVENTS", json!({"ObjectName": "T"}), "EventType is required"),
        ("POST", "EVENTS", event("table.recordTruncate", "T"), "\"table.recordTruncate\" is unknown"),
        ("POST", "EVENTS", json!({"EventType": "table.recordInsert"}), "ObjectName is required"),
        ("POST", "EVENTS", event("table.recordInsert", "T"), "ALL"),
        ("POST", "EVENTS", update(&["b", "a"]), "FIRST"),
        ("POST", "EVENTS", update(&[]), "FIRST"),
        (
            "POST",
            "EVENTS",
            json!({"EventType": "table.recordDelete", "ObjectName": "T", "ObjectFields": ["a"]}),
            "ObjectFields is only for",
        ),
        (
            "POST",
            "EVENTS",
            json!({"EventType": "table.recordDelete", "ObjectName": "T", "EventSources": ["Moon"]}),
            "\"Moon\"",
        ),
        (
            "POST",
            "EVENTS",
            json!({"EventType": "table.recordDelete", "ObjectName": "T", "CustomPayloadFields": ["a"],
            "CustomPayloadTemplate": "{}"}),
            "exclude each other",
        ),
        (
            "POST",
            "EVENTS",
            json!({"EventType": "table.recordDelete", "ObjectName": "T",
            "CustomPayloadTemplate": "{'a':\n 'b' x}"}),
            "line 2",
        ),
    ];
    for (method, path, body, expected) in cases {
        let path = if path == "EVENTS" { events.clone() } else { path.replace("/ID", &format!("/{id}")) };
        let expected = match expected {
            "FIRST" => first.text("Id"),
            "ALL" => all.text("Id"),
            other => other.to_owned(),
        };
        let refused = api.send(method, &path, body.to_string().as_bytes());
        assert_eq!(
            (refused.status, refused.text("Code").as_str()),
            (400, "IncorrectBodyParameter"),
            "{body}\n{refused:?}"
        );
        assert!(refused.text("Message").contains(&expected), "{body}\n{refused:?}");
        assert_eq!(refused.keys(), ["Code", "Message", "Resource", "RequestId"]);
    }
    let broken = api.send("POST", list, b"{\n  'Name': 1}");
    assert!(broken.text("Message").contains("line 2, column 3"), "{broken:?}");
    assert_eq!((api.get(list).text, api.get(&events).text), before, "no rejected request has changed anything");
    assert!(!instance.said().contains("panicked"));
}

#[test]
fn missing_objects_give_404_and_all_errors_have_the_same_shape() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let id = create(&api, "A");
    let one = format!("/v2/outgoingWebhooks/{MISSING}");
    let event_of = |webhook: &str| format!("/v2/outgoingWebhooks/{webhook}/events/{MISSING}");
    for (method, path, body) in [
        ("GET", one.clone(), json!({})),
        ("PUT", one.clone(), json!({"Name": "x"})),
        ("DELETE", one.clone(), json!({})),
        ("PATCH", format!("{one}/regenerateSecret"), json!({})),
        ("GET", format!("{one}/endpoints"), json!({})),
        ("POST", format!("{one}/endpoints/retryNow"), json!({})),
        ("GET", "/v2/outgoingWebhooks/..%2f/endpoints".to_owned(), json!({})),
        ("GET", format!("{one}/events"), json!({})),
        ("POST", format!("{one}/events"), event("table.recordInsert", "T")),
        ("GET", event_of(&id), json!({})),
        ("PUT", event_of(&id), event("table.recordInsert", "T")),
        ("DELETE", event_of(&id), json!({})),
        ("GET", "/v2/outgoingWebhooks/..%2f..%2f".to_owned(), json!({})),
        ("GET", "/v2/nothing".to_owned(), json!({})),
        ("GET", "/v4/outgoingWebhooks".to_owned(), json!({})),
    ] {
        let answer = api.send(
            method,
            &path,
            if method == "GET" || method == "DELETE" { b"".to_vec() } else { body.to_string().into_bytes() }.as_slice(),
        );
        assert_eq!(
            (answer.status, answer.text("Code").as_str()),
            (404, "ObjectNotFound"),
            "{method} {path} {answer:?}"
        );
    }
    assert_eq!(api.send("PATCH", "/v2/outgoingWebhooks", b"{}").status, 405);
    assert_eq!(api.get("/v2/outgoingWebhooks/%ff").status, 400);
    let huge = format!("{{\"Name\": \"{}\"}}", "x".repeat(2 * 1024 * 1024));
    let refused = api.fork().send("POST", "/v2/outgoingWebhooks", huge.as_bytes());
    assert_eq!((refused.status, refused.text("Code").as_str()), (413, "RequestTooLarge"));
}

#[test]
fn tokens_are_required_and_belong_to_one_account() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, foreign) = (site.client(&[]), site.client(&["--account", "zoo"]));
    let instance = site.start();
    let api = instance.api(&credentials);
    let id = create(&api, "Ours");
    for token in ["", "nonsense", "a.b.c"] {
        let refused = api.with_token(token).get("/v2/outgoingWebhooks");
        assert_eq!((refused.status, refused.keys().len()), (401, 4), "{refused:?}");
    }
    let theirs = instance.api(&foreign);
    assert_eq!(theirs.get("/v2/outgoingWebhooks").body, json!([]));
    assert_eq!(theirs.get(&format!("/v2/outgoingWebhooks/{id}")).status, 404);
    assert_eq!(theirs.delete(&format!("/v2/outgoingWebhooks/{id}")).status, 404);
    create(&theirs, "Ours");

    let url = format!("{}/oauth/token", instance.base());
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let ask = |body: String| request("POST", &url, &form, body.as_bytes());
    let known = format!("client_id={}&client_secret={}", credentials.id, credentials.secret);
    let token = ask(format!("grant_type=client_credentials&{known}&scope="));
    assert_eq!(
        (token.status, token.keys()),
        (200, ["access_token", "token_type", "expires_in", "refresh_token"].map(str::to_owned).to_vec())
    );
    assert_eq!((&token.body["token_type"], &token.body["expires_in"]), (&"bearer".into(), &86399.into()));
    let refreshed = ask(format!("grant_type=refresh_token&{known}&refresh_token={}", token.text("refresh_token")));
    assert_eq!(api.with_token(&refreshed.text("access_token")).get("/v2/outgoingWebhooks").status, 200);
    assert_eq!(
        api.with_token(&token.text("refresh_token")).get("/v2/outgoingWebhooks").status,
        401,
        "not an access token"
    );
    assert_eq!(ask(format!("grant_type=password&{known}")).status, 400);
    assert_eq!(ask(format!("grant_type=refresh_token&{known}&refresh_token=x")).status, 400);
    assert_eq!(ask("grant_type=client_credentials".to_owned()).status, 401);
    let wrong = format!("grant_type=client_credentials&client_id={}&client_secret=x", credentials.id);
    let statuses: Vec<_> = (0..12).map(|_| ask(wrong.clone()).status).collect();
    assert_eq!((statuses[0], statuses[11]), (401, 429), "wrong credentials are limited: {statuses:?}");
    assert_eq!(instance.api(&foreign).get("/v2/outgoingWebhooks").status, 200, "other clients are not limited");

    let revoked = site.run(&["clients", "revoke", &foreign.id]);
    assert_eq!(revoked.code, Some(0), "{}", revoked.stderr);
    harness::eventually("the token of a revoked client is rejected", SOON, || {
        (theirs.get("/v2/outgoingWebhooks").status == 401).then_some(())
    });
    let listed = site.run(&["clients", "list"]).stdout;
    assert!(listed.contains(&credentials.id) && !listed.contains(&foreign.id), "{listed}");
    assert!(!instance.said().contains(&credentials.secret));
}

#[test]
fn legacy_client_gets_results_with_secrets() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, legacy) = (site.client(&[]), site.client(&["--legacy"]));
    let instance = site.start();
    let id = create(&instance.api(&credentials), "A");
    let api = instance.api(&legacy);
    let list = api.get("/rest/v2/outgoingWebhooks");
    assert!(list.body["Result"][0]["Secret"].as_str().unwrap().starts_with("whsec_"), "{list:?}");
    assert_eq!(api.get(&format!("/rest/v2/outgoingWebhooks/{id}/events")).body, json!({"Result": []}));
}

#[test]
fn the_first_change_after_a_201_fires_and_nothing_after_a_204() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let list = "/v2/outgoingWebhooks";
    for round in 0..5 {
        let path = format!("/round-{round}");
        let made = api.post(list, &json!({"Name": path, "OutgoingUrls": [receiver.url(&path)]}));
        let one = format!("{list}/{}", made.text("Id"));
        assert_eq!(api.post(&format!("{one}/events"), &event("table.recordInsert", "orders")).status, 201);
        site.produce([order(round * 2)]);
        receiver.wait(&path, 1, SOON);
        assert_eq!(api.put(&one, &json!({"Enabled": false})).text("Status"), "Inactive");
        assert_eq!(api.get(&format!("{one}/events")).body[0]["Status"], "Inactive");
        assert_eq!(api.put(&one, &json!({"Enabled": true})).text("Status"), "Active");
        assert_eq!(api.delete(&one).status, 204);
        site.produce([order(round * 2 + 1)]);
        site.await_settled(SOON);
        assert_eq!(receiver.requests(&path).len(), 1);
    }
}

#[test]
fn new_and_old_secret_both_sign_during_the_overlap() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let made = api.post("/v2/outgoingWebhooks", &json!({"Name": "A", "OutgoingUrls": [receiver.url("/a")]}));
    let one = format!("/v2/outgoingWebhooks/{}", made.text("Id"));
    assert_eq!(api.post(&format!("{one}/events"), &event("table.recordInsert", "orders")).status, 201);
    let signed_by = |number: usize, secret: &str| {
        let request = receiver.requests("/a").into_iter().nth(number).expect("the request has arrived");
        standardwebhooks::Webhook::new(secret).unwrap().verify(&request.body, &request.headers).is_ok()
    };
    let changed = api.send("PATCH", &format!("{one}/regenerateSecret"), b"{\"OverlapSeconds\": 3600}");
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_ne!(changed.text("Secret"), made.text("Secret"));
    site.produce([order(1)]);
    receiver.wait("/a", 1, SOON);
    assert!(signed_by(0, &made.text("Secret")) && signed_by(0, &changed.text("Secret")));

    let last = api.send("PATCH", &format!("{one}/regenerateSecret"), b"{\"OverlapSeconds\": 0}");
    site.produce([order(2)]);
    receiver.wait("/a", 2, SOON);
    assert!(signed_by(1, &last.text("Secret")) && !signed_by(1, &changed.text("Secret")));
    assert_eq!(api.send("PATCH", &format!("{one}/regenerateSecret"), b"{\"OverlapSeconds\": 99999999}").status, 400);
}

#[test]
fn delivery_settings_of_a_webhook_apply_and_their_values_are_hidden() {
    let (site, receiver) = (Site::new(OUTHOOK, 1), Receiver::start());
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    receiver.answer("/slow", Answer::Hang);
    let wanted = json!({"Name": "A", "OutgoingUrls": [receiver.url("/slow"), receiver.url("/fine")], "Timeout": 1,
        "RetrySchedule": [0], "Headers": {"X-Api-Key": "k3y"}, "PayloadSecret": false});
    let made = api.post("/v3/outgoingWebhooks", &wanted);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!((&made.body["Timeout"], &made.body["Headers"]), (&1.into(), &json!({"X-Api-Key": "…"})));
    let one = format!("/v3/outgoingWebhooks/{}", made.text("Id"));
    assert_eq!(api.post(&format!("{one}/events"), &event("table.recordInsert", "orders")).status, 201);
    site.produce([order(1)]);
    receiver.wait("/fine", 1, SOON);
    let request = &receiver.requests("/fine")[0];
    assert_eq!(request.headers["x-api-key"], "k3y");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((body.get("secret"), &body["objectName"]), (None, &"orders".into()));
    site.await_settled(SOON);
    assert_eq!(receiver.requests("/slow").len(), 2, "the webhook's one retry, not the configured ones");
    let letters = Broker::get().read_all(&site.dead_letters);
    assert_eq!(letters.len(), 1);
    let counted = || api.get(&one).body["Errors"] == 2;
    harness::eventually("both failed attempts are counted", SOON, || counted().then_some(()));
    for refused in [
        json!({"Timeout": 0}),
        json!({"Headers": {"Host": "x"}}),
        json!({"Headers": {"New": "…"}}),
        json!({"RetrySchedule": [-1]}),
    ] {
        assert_eq!(api.put(&one, &refused).status, 400, "{refused}");
    }
    let reset = api.put(&one, &json!({"Timeout": null, "PayloadSecret": null}));
    assert_eq!((reset.body.get("Timeout"), reset.body.get("PayloadSecret")), (None, None), "{reset:?}");
    assert_eq!(reset.body["RetrySchedule"], json!([0]), "an omitted key keeps its value");
    let (shown, whole) = (site.run(&["get"]).stdout, site.run(&["get", "--show-secrets"]).stdout);
    assert!(!shown.contains("k3y") && shown.contains("X-Api-Key") && whole.contains("k3y"), "{shown}");
    let before = Broker::get().read_all(&site.definitions).len();
    site.apply(&shown);
    assert_eq!(Broker::get().read_all(&site.definitions).len(), before, "apply accepts the output of get");
}

#[test]
fn response_of_get_can_be_put_back_without_changes() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let wanted = json!({"Name": "A", "OutgoingUrls": ["https://a.example/"], "Headers": {"X-Key": "k"}, "Timeout": 9});
    let one = format!("/v2/outgoingWebhooks/{}", api.post("/v2/outgoingWebhooks", &wanted).text("Id"));
    let events = format!("{one}/events");
    let mut off = event("table.recordUpdate", "T");
    off["Enabled"] = false.into();
    for wanted in [&off, &event("table.recordInsert", "T")] {
        assert_eq!(api.post(&events, wanted).status, 201);
    }
    let without = |mut read: Value| {
        ["LastModified", "ModifiedBy", "Version"]
            .iter()
            .for_each(|key| drop(read.as_object_mut().unwrap().remove(*key)));
        read
    };
    let before = api.get(&one);
    assert_eq!(api.send("PUT", &one, before.text.as_bytes()).status, 200);
    assert_eq!(without(api.get(&one).body), without(before.body));
    let all = api.get(&events);
    let statuses =
        |all: &Value| all.as_array().unwrap().iter().map(|event| event["Status"].clone()).collect::<Vec<_>>();
    assert_eq!(statuses(&all.body), ["Inactive", "Active"]);
    for event in all.body.as_array().unwrap() {
        let path = format!("{events}/{}", event["Id"].as_str().unwrap());
        assert_eq!(api.put(&path, event).status, 200);
        assert_eq!(without(api.get(&path).body), without(event.clone()));
    }
    let on_creation = api
        .post("/v2/outgoingWebhooks", &json!({"Name": "B", "OutgoingUrls": ["https://a.example/"], "Enabled": false}));
    assert_eq!(on_creation.status, 400, "it has no effect on creation: {on_creation:?}");
}

#[test]
fn hidden_secrets_do_not_follow_a_webhook_to_a_new_host() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let oauth = |url: &str, secret: &str| json!({"Authentication": {"OAuth2": {"TokenUrl": url, "ClientId": "c", "ClientSecret": secret}}});
    let mut wanted = oauth("https://login.example/token", "s3cret");
    wanted["Name"] = "A".into();
    wanted["OutgoingUrls"] = json!(["https://a.example/", "https://b.example/"]);
    wanted["Headers"] = json!({"X-Key": "k3y"});
    let one = format!("/v3/outgoingWebhooks/{}", api.post("/v3/outgoingWebhooks", &wanted).text("Id"));
    let before = api.get(&one).text;
    for (change, part) in [
        (
            json!({"OutgoingUrls": ["https://a.example/", "https://evil.example/"]}),
            "https://evil.example, which is new in OutgoingUrls",
        ),
        (
            oauth("https://evil.example/token", "…"),
            "https://evil.example, which is new in Authentication.OAuth2.TokenUrl",
        ),
    ] {
        let refused = api.put(&one, &change);
        assert_eq!((refused.status, refused.text("Code").as_str()), (400, "IncorrectBodyParameter"));
        assert!(refused.text("Message").contains(part), "{refused:?}");
    }
    assert_eq!(api.get(&one).text, before, "nothing has changed");
    assert_eq!(api.put(&one, &json!({"OutgoingUrls": ["https://a.example/other"]})).status, 200);
    let mut again = oauth("https://other.example/token", "s3cret");
    again["Headers"] = json!({"X-Key": "k3y"});
    again["OutgoingUrls"] = json!(["https://c.example/"]);
    assert_eq!(api.put(&one, &again).status, 200);
    let own = json!({"Secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
    let regenerated = api.send("PATCH", &format!("{one}/regenerateSecret"), own.to_string().as_bytes());
    assert!(regenerated.status == 400 && regenerated.text("Message").starts_with("Secret can't be chosen"));
}

#[test]
fn client_is_revoked_if_its_secret_cannot_be_printed() {
    let site = Site::new(OUTHOOK, 1);
    let kept = site.client(&[]);
    let config = site.configuration();
    let create = |to: &str| {
        let script = format!("exec \"$0\" clients create --name lost --config \"$1\" {to}");
        let ended = Command::new("sh").args(["-c", &script, OUTHOOK]).arg(&config).output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    for (to, told) in [
        ("> /dev/full", "the client was revoked"),
        (">&-", "no client was created"),
        ("> /dev/null", "no client was created"),
    ] {
        let (code, stderr) = create(to);
        assert!(code == Some(1) && stderr.contains(told), "{to}: {code:?} {stderr}");
        let listed = site.run(&["clients", "list"]).stdout;
        assert!(listed.contains(&kept.id) && !listed.contains("lost"), "{to}: {listed}");
    }
    let named = site.run(&["clients", "create", "--name", "red\u{1b}[31m\u{202e}"]);
    assert_eq!(named.code, Some(0), "{}", named.stderr);
    let listed = site.run(&["clients", "list"]).stdout;
    assert!(listed.contains("red [31m ") && !listed.contains(['\u{1b}', '\u{202e}']), "{listed:?}");
}

#[test]
fn preview_keeps_numbers_exact_and_invalid_changes_are_rejected() {
    let site = Site::new(OUTHOOK, 1);
    let (credentials, instance) = (site.client(&[]), site.start());
    let api = instance.api(&credentials);
    let one = format!("/v2/outgoingWebhooks/{}", create(&api, "A"));
    let made = api.post(&format!("{one}/events"), &event("table.recordInsert", "T"));
    let change = r#"{"table":"T","operation":"insert","after":{"a":123456789012345678901234567890.50,"b":1.10}}"#;
    let preview = format!("{one}/events/{}/preview", made.text("Id"));
    let shown = api.send("POST", &preview, format!(r#"{{"Change": {change}}}"#).as_bytes());
    assert!(
        shown.status == 200 && shown.text.contains(r#"{"a":123456789012345678901234567890.50,"b":1.10}"#),
        "{shown:?}"
    );
    assert_eq!(shown.body["Fires"], true);
    assert!(shown.body["Warnings"][0].as_str().unwrap().contains("was ever seen"), "{shown:?}");
    for (body, part) in [
        ("{}", "no row change"),
        (r#"{"Change": {"table": "T"}}"#, "operation"),
        (r#"{"Change": {"account":"zoo","table":"T","operation":"insert","after":{}}}"#, "zoo"),
        (r#"{"Change": 7}"#, "Change"),
    ] {
        let refused = api.send("POST", &preview, body.as_bytes());
        assert!(matches!(refused.status, 400 | 404) && refused.text("Message").contains(part), "{body} {refused:?}");
    }
    let explained = api.send("POST", &format!("{one}/explain"), format!(r#"{{"Change": {change}}}"#).as_bytes());
    assert_eq!(explained.body[0]["Fires"], true, "{explained:?}");
}
