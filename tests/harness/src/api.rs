//! A client of the REST API that behaves as users' programs do: one kept-alive connection, one token.

use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request};

/// A client of an instance's API with a token.
#[derive(Clone)]
pub struct Api {
    agent: Agent,
    /// `http://127.0.0.1:12345`
    pub base: String,
    token: String,
}

/// Credentials of an API client.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub id: String,
    pub secret: String,
}

/// A response: its status, some headers, and its body as JSON. `body` is null if the body is not JSON.
#[derive(Debug, Clone)]
pub struct ApiAnswer {
    pub status: u16,
    pub request_id: Option<String>,
    pub content_type: Option<String>,
    pub text: String,
    pub body: Value,
}

impl Api {
    /// Gets a token.
    ///
    /// # Panics
    /// The credentials are rejected.
    pub fn connect(base: &str, credentials: &Credentials) -> Self {
        Self::try_connect(base, credentials).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Gets a token; the error says why that failed.
    pub fn try_connect(base: &str, credentials: &Credentials) -> Result<Self, String> {
        let agent = agent();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=",
            credentials.id, credentials.secret
        );
        let answer = send(&agent, Method::POST, &format!("{base}/oauth/token"), &[FORM], form.as_bytes())?;
        let token = answer.body["access_token"].as_str().ok_or_else(|| format!("no token: {answer:?}"))?;
        Ok(Self { token: token.to_owned(), base: base.to_owned(), agent })
    }

    /// The same client with another token, or without one.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same client with a separate connection.
    pub fn fork(&self) -> Self {
        Self { agent: agent(), ..self.clone() }
    }

    /// Sends bytes to a path.
    ///
    /// # Panics
    /// No response arrives.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> ApiAnswer {
        self.try_send(method, path, body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends bytes to a path; the error says why no response arrived.
    pub fn try_send(&self, method: &str, path: &str, body: &[u8]) -> Result<ApiAnswer, String> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let headers = if self.token.is_empty() { &headers[1..] } else { &headers[..] };
        let method = method.parse().expect("a method");
        send(&self.agent, method, &format!("{}{path}", self.base), headers, body)
    }

    pub fn get(&self, path: &str) -> ApiAnswer {
        self.send("GET", path, b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> ApiAnswer {
        self.send("POST", path, body.to_string().as_bytes())
    }

    pub fn put(&self, path: &str, body: &Value) -> ApiAnswer {
        self.send("PUT", path, body.to_string().as_bytes())
    }

    pub fn delete(&self, path: &str) -> ApiAnswer {
        self.send("DELETE", path, b"")
    }
}

impl ApiAnswer {
    /// A string of the body, such as `Id`.
    #[track_caller]
    pub fn text(&self, key: &str) -> String {
        self.body[key].as_str().unwrap_or_else(|| panic!("no string {key} in {self:?}")).to_owned()
    }

    /// The keys of the body, in order.
    pub fn keys(&self) -> Vec<String> {
        keys(&self.text)
    }
}

/// The keys of a JSON object's first level, in order.
pub fn keys(json: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut depth = 0;
    let mut text: Option<String> = None;
    let mut last = String::new();
    let mut characters = json.chars();
    while let Some(character) = characters.next() {
        match (&mut text, character) {
            (Some(_), '"') => last = text.take().unwrap_or_default(),
            (Some(_), '\\') => drop(characters.next()),
            (Some(text), other) => text.push(other),
            (None, '"') => text = Some(String::new()),
            (None, ':') if depth == 1 => keys.push(last.clone()),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => depth -= 1,
            (None, _) => {}
        }
    }
    keys
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
    config.build().into()
}

/// Sends a request and reads the whole response; the error says why no response arrived.
fn send(agent: &Agent, method: Method, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<ApiAnswer, String> {
    let mut request = Request::builder().method(&method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).unwrap_or_else(|error| panic!("{method} {url}: {error}"));
    let request = agent.configure_request(request).allow_non_standard_methods(true).build();
    let mut answer = agent.run(request).map_err(|error| format!("{method} {url}: {error}"))?;
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (request_id, content_type) = (header("x-caspio-request-id"), header("content-type"));
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(64 * 1024 * 1024).read_to_string();
    let text = text.map_err(|error| format!("{method} {url}: {error}"))?;
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(ApiAnswer { status, request_id, content_type, text, body })
}

/// Sends a request with custom headers over a separate connection.
///
/// # Panics
/// No response arrives.
#[track_caller]
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> ApiAnswer {
    let method = method.parse().expect("a method");
    send(&agent(), method, url, headers, body).unwrap_or_else(|error| panic!("{error}"))
}
