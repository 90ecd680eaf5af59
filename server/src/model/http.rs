//! One HTTP call to a provider, and what its refusal means.

use super::{
    ConfigProblem, ModelError, ModelErrorKind, Secret, anthropic,
    error::{DETAIL_CHARS_MAX, bounded},
    trouble::{kind_of_status, trouble_of},
};
use reqwest::{
    Client, RequestBuilder, Response,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use std::{error::Error, time::Duration};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const ERROR_BODY_LIMIT: Duration = Duration::from_secs(5);
const ERROR_BODY_BYTES_MAX: usize = 64 << 10;
const RETRY_AFTER_MS_MAX: u64 = 3_600_000;
const CONNECTIONS_IDLE_MAX: usize = 64;

/// HTTP clients, each built when the first lane needs it.
///
/// Plain HTTP has one of its own, so that a machine without any certificates still reaches a model on localhost.
#[derive(Default)]
pub(super) struct Clients {
    plain: Option<Client>,
    secure: Option<Client>,
}

impl Clients {
    pub(super) fn for_url(&mut self, base_url: &str) -> Result<Client, ConfigProblem> {
        // Fails if somebody has installed a provider already, and then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let secure = base_url.starts_with("https:");
        let slot = if secure { &mut self.secure } else { &mut self.plain };
        if let Some(client) = slot {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(CONNECTIONS_IDLE_MAX)
            .no_proxy()
            .referer(false);
        if !secure {
            builder = builder.http1_only().tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            let cause = innermost(&error);
            ConfigProblem(format!(
                "{base_url} needs TLS, which cannot be set up: {cause} (on Debian: apt-get install ca-certificates)"
            ))
        })?;
        Ok(slot.insert(client).clone())
    }
}

/// How a provider wants its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Anthropic,
    OpenAi,
}

/// Where a lane's calls go.
pub(super) struct Endpoint {
    client: Client,
    wire: Wire,
    /// For people.
    provider: String,
    base_url: String,
    headers: HeaderMap,
    key: Option<Secret>,
}

impl Endpoint {
    pub(super) fn new(
        clients: &mut Clients,
        wire: Wire,
        provider: &str,
        base_url: &str,
        key: Option<Secret>,
    ) -> Result<Endpoint, ConfigProblem> {
        let base_url =
            checked_base_url(base_url).map_err(|why| ConfigProblem(format!("{provider}: {why}")))?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if wire == Wire::Anthropic {
            headers.insert("anthropic-version", HeaderValue::from_static(anthropic::VERSION));
        }
        if let Some(key) = &key {
            let (name, text) = key_header(wire, key.reveal());
            let mut value = HeaderValue::from_str(&text).map_err(|_| {
                ConfigProblem(format!(
                    "{provider}: the key has a character in it that no HTTP header can carry"
                ))
            })?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let client = clients.for_url(&base_url)?;
        Ok(Endpoint { client, wire, provider: provider.to_owned(), base_url, headers, key })
    }

    pub(super) fn wire(&self) -> Wire {
        self.wire
    }

    pub(super) fn provider(&self) -> &str {
        &self.provider
    }

    /// What a call looks like, the key hidden.
    pub(super) fn shown(&self, path: &str, body: Value) -> Value {
        let mut headers = json!({ "content-type": "application/json" });
        for (name, value) in &self.headers {
            headers[name.as_str()] = if value.is_sensitive() {
                hidden(self.wire).into()
            } else {
                value.to_str().unwrap_or("").into()
            };
        }
        json!({ "method": "POST", "url": format!("{}{path}", self.base_url), "headers": headers, "body": body })
    }

    /// Resolves when the head of a successful response has arrived.
    pub(super) async fn post(
        &self,
        path: &str,
        body: &Value,
        limit: Duration,
    ) -> Result<Response, ModelError> {
        let request = self
            .client
            .post(format!("{}{path}", self.base_url))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream")
            .body(body.to_string());
        let response = self.send(request, limit).await?;
        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        if content_type.starts_with("application/json") || content_type.starts_with("text/html") {
            return Err(self.not_a_stream(response).await);
        }
        Ok(response)
    }

    /// The whole body of a small answer.
    pub(super) async fn get(
        &self,
        path: &str,
        limit: Duration,
        bytes_max: usize,
    ) -> Result<Vec<u8>, ModelError> {
        let request = self.client.get(format!("{}{path}", self.base_url)).header(ACCEPT, "application/json");
        let response = self.send(request, limit).await?;
        let (body, whole) = read_bounded(response, limit, bytes_max).await;
        if whole {
            return Ok(body);
        }
        Err(ModelError::new(
            ModelErrorKind::Malformed,
            format!("{} answered too much or too slowly.", self.provider),
        ))
    }

    async fn send(&self, request: RequestBuilder, limit: Duration) -> Result<Response, ModelError> {
        let request = request.headers(self.headers.clone());
        let Ok(answer) = tokio::time::timeout(limit, request.send()).await else {
            let message = format!("{} did not answer within {} seconds.", self.provider, limit.as_secs());
            return Err(ModelError::new(ModelErrorKind::Stalled, message));
        };
        let response = answer.map_err(|error| self.not_answered(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    /// Only what failed before the request left is safe to send again; the rest may have been read.
    fn not_answered(&self, error: &reqwest::Error) -> ModelError {
        let (kind, what) = if error.is_connect() {
            (ModelErrorKind::Unreachable, "could not be reached")
        } else {
            (ModelErrorKind::CutShort, "broke off before it answered")
        };
        let message = format!("{} {what}: {}.", self.provider, innermost(error));
        ModelError::new(kind, self.redacted(&message))
    }

    async fn refusal(&self, response: Response) -> ModelError {
        let status = response.status();
        let provider = &self.provider;
        if status.is_redirection() {
            let message =
                format!("{provider} answered with a redirect, which is never followed: check the base URL.");
            return ModelError::new(ModelErrorKind::Provider, message).with_status(status.as_u16());
        }
        let retry_after_ms = retry_after_ms(response.headers());
        let request = provider_request(response.headers());
        let (body, _) = read_bounded(response, ERROR_BODY_LIMIT, ERROR_BODY_BYTES_MAX).await;
        let trouble = trouble_of(&body);
        let kind = match trouble.kind.as_str() {
            "overloaded_error" => ModelErrorKind::Overloaded,
            // A 429 that waiting does not cure: the account has no money left.
            "insufficient_quota" => ModelErrorKind::Provider,
            _ => kind_of_status(status.as_u16()),
        };
        let said = if trouble.message.is_empty() {
            status.canonical_reason().unwrap_or("no reason was given").to_owned()
        } else {
            self.redacted(&trouble.message)
        };
        let named = request.map(|id| format!(" (its request {id})")).unwrap_or_default();
        let message = format!("{provider} {} ({}): {said}{named}", verdict(kind), status.as_u16());
        ModelError::new(kind, message).with_status(status.as_u16()).with_retry_after(retry_after_ms)
    }

    /// A success that is no stream: an error inside a 200, or a page of something else.
    async fn not_a_stream(&self, response: Response) -> ModelError {
        let status = response.status().as_u16();
        let (body, _) = read_bounded(response, ERROR_BODY_LIMIT, ERROR_BODY_BYTES_MAX).await;
        let trouble = trouble_of(&body);
        if !trouble.is_error {
            let message = format!("{} answered without streaming: check the base URL.", self.provider);
            return ModelError::new(ModelErrorKind::Malformed, message).with_status(status);
        }
        let kind = trouble.status.map_or(ModelErrorKind::Provider, kind_of_status);
        let message = format!("{} {}: {}", self.provider, verdict(kind), self.redacted(&trouble.message));
        ModelError::new(kind, message).with_status(trouble.status.unwrap_or(status))
    }

    pub(super) fn redacted(&self, text: &str) -> String {
        self.key.as_ref().map_or_else(|| text.to_owned(), |key| key.redact(text))
    }

    pub(super) fn key(&self) -> Option<Secret> {
        self.key.clone()
    }
}

fn verdict(kind: ModelErrorKind) -> &'static str {
    match kind {
        ModelErrorKind::Overloaded => "is overloaded",
        ModelErrorKind::RateLimited => "asks us to slow down",
        ModelErrorKind::BadRequest => "refused the request",
        ModelErrorKind::Unauthorized => "refused the key",
        ModelErrorKind::NotFound => "does not know this model or address",
        _ => "failed",
    }
}

/// Seconds or milliseconds; a date is not read, since our clock need not be theirs.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let wait_ms =
        number("retry-after-ms").or_else(|| number("retry-after").map(|seconds| seconds * 1_000.0))?;
    (wait_ms.is_finite() && wait_ms >= 0.0).then(|| (wait_ms.ceil() as u64).min(RETRY_AFTER_MS_MAX))
}

/// What the provider calls this request, which its support will ask for.
fn provider_request(headers: &HeaderMap) -> Option<String> {
    let named = ["request-id", "x-request-id"].into_iter().find_map(|name| headers.get(name)?.to_str().ok());
    let is_name = |id: &&str| (1..=80).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    named.filter(is_name).map(str::to_owned)
}

/// What arrives in time and in size, and whether that is all of it.
async fn read_bounded(mut response: Response, limit: Duration, bytes_max: usize) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    let read = async {
        while let Ok(chunk) = response.chunk().await {
            let Some(chunk) = chunk else { return true };
            let room = bytes_max - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return false;
            }
        }
        false
    };
    let whole = tokio::time::timeout(limit, read).await.unwrap_or(false);
    (body, whole)
}

/// The base URL without a slash at its end.
pub(super) fn checked_base_url(text: &str) -> Result<String, String> {
    let url =
        reqwest::Url::parse(text).map_err(|error| format!("base URL {text:?} is not a URL ({error})"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("base URL {text:?} must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a base URL must not have a name or a password in it".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("base URL {text:?} must end with its path"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The last cause of an error: the one that says something, and never a URL.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if cause.is::<reqwest::Error>() {
        "the request failed".to_owned()
    } else {
        bounded(&cause.to_string(), DETAIL_CHARS_MAX)
    }
}

fn key_header(wire: Wire, key: &str) -> (HeaderName, String) {
    match wire {
        Wire::Anthropic => (HeaderName::from_static("x-api-key"), key.to_owned()),
        Wire::OpenAi => (AUTHORIZATION, format!("Bearer {key}")),
    }
}

fn hidden(wire: Wire) -> &'static str {
    match wire {
        Wire::Anthropic => "•••",
        Wire::OpenAi => "Bearer •••",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_times_are_read_and_bounded() {
        let wait = |name: &'static str, value: &'static str| {
            retry_after_ms(&HeaderMap::from_iter([(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(wait("retry-after", "7"), Some(7_000));
        assert_eq!(wait("retry-after", "0.25"), Some(250));
        assert_eq!(wait("retry-after-ms", "1500"), Some(1_500));
        assert_eq!(wait("retry-after", "1e99"), Some(RETRY_AFTER_MS_MAX));
        for nonsense in ["-1", "NaN", "inf", "Wed, 21 Oct 2026 07:28:00 GMT", ""] {
            assert_eq!(wait("retry-after", nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_base_url_carries_no_secrets_and_ends_with_its_path() {
        assert_eq!(checked_base_url("http://127.0.0.1:8000/v1/").as_deref(), Ok("http://127.0.0.1:8000/v1"));
        assert_eq!(checked_base_url("https://api.example.com").as_deref(), Ok("https://api.example.com"));
        for bad in ["", "localhost:8000", "ftp://x", "http://a:b@x/v1", "http://x/v1?key=1", "http://x/#y"] {
            assert!(checked_base_url(bad).is_err(), "{bad}");
        }
        assert!(!checked_base_url("http://ann:hush@x/v1").unwrap_err().contains("hush"));
    }
}
