//! Every answer that says no, as RFC 9457, under an id that people can quote and operators can find.

use crate::domain::refusal::Refusal;
use crate::edge::auth::is_json;
use axum::{
    body::{Body, to_bytes},
    extract::{FromRequest, MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::LengthLimitError;
use promptroom_protocol::RequestId;
use serde::de::DeserializeOwned;
use std::{
    error::Error,
    time::{Duration, Instant},
};
use tokio::time::timeout;
use tracing::{Instrument as _, field::Empty};
use uuid::Uuid;

/// Enough for everything but a prompt's content.
pub const BODY_BYTES_MAX: usize = 256 << 10;
/// A prompt's content in JSON.
pub const CONTENT_BYTES_MAX: usize = 2 << 20;
/// A body that has not arrived by then will not.
const BODY_WAIT: Duration = Duration::from_secs(20);

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Only marks the answer: `observe` writes it, because it knows the request's id.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Outermost on every route: names the request, writes down how it ended, and gives refusals their words.
///
/// Neither paths nor queries, bodies or addresses are written down: they hold people's text and secrets.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = RequestId(Uuid::now_v7());
    request.extensions_mut().insert(id);
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!(
        "request", request.id = %id, http.method = method, http.route = route, status = Empty, duration_ms = Empty
    );
    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        let allowed = response.headers_mut().remove(header::ALLOW);
        response = self::response(&refusal, id);
        response.headers_mut().extend(allowed.map(|allowed| (header::ALLOW, allowed)));
    }
    let id = HeaderValue::from_str(&id.to_string());
    response.headers_mut().entry(REQUEST_ID).or_insert_with(|| id.unwrap_or(HeaderValue::from_static("")));
    let status = response.status();
    let took = began.elapsed();
    span.record("status", status.as_u16()).record("duration_ms", took.as_millis() as u64);
    metrics::histogram!(
        "promptroom_http_request_seconds", "method" => method, "route" => route, "status" => status.as_u16().to_string()
    )
    .record(took.as_secs_f64());
    span.in_scope(|| match status.is_server_error() {
        true => tracing::warn!("the request was not served"),
        false => tracing::debug!("answered"),
    });
    response
}

/// The whole answer, for those who know the request's id by themselves.
pub fn response(refusal: &Refusal, id: RequestId) -> Response {
    let problem = refusal.problem(Some(id));
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    match problem.status {
        401 => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        // Client libraries repeat these by themselves, although the same request can only fail again.
        402 | 409 => drop(headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"))),
        _ => {}
    }
    if let Some(after_ms) = problem.retry_after_ms {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after_ms.div_ceil(1_000)));
    }
    response
}

/// A JSON body of at most `BYTES_MAX` bytes; none at all reads as `{}`.
pub struct Json<T, const BYTES_MAX: usize = BODY_BYTES_MAX>(pub T);

impl<T: DeserializeOwned, S: Sync, const BYTES_MAX: usize> FromRequest<S> for Json<T, BYTES_MAX> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let bytes = match timeout(BODY_WAIT, to_bytes(body, BYTES_MAX)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) if is_too_long(&error) => {
                return Err(Refusal::BodyTooLarge { limit_bytes: BYTES_MAX });
            }
            Ok(Err(_)) => return Err(bad("The body broke off.")),
            Err(_) => return Err(Refusal::Idle),
        };
        if bytes.is_empty() {
            return read(b"{}").map(Json);
        }
        if !is_json(&parts.headers) {
            return Err(bad("The body must be JSON, sent as content-type: application/json."));
        }
        read(&bytes).map(Json)
    }
}

pub fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::BadRequest { detail: detail.into() }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| bad(format!("The body cannot be read: {error}.")))
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A closed set, so that a caller cannot make up names for our metrics.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, http::HeaderMap, middleware, routing::post};
    use serde::Deserialize;
    use serde_json::Value;
    use tower::ServiceExt as _;

    #[derive(Deserialize)]
    struct Asked {
        name: String,
    }

    async fn greet(Json(asked): Json<Asked, 64>) -> String {
        asked.name
    }

    async fn answer(request: Request) -> Response {
        let router = Router::new()
            .route("/greet", post(greet))
            .route("/taken", post(|| async { Refusal::SlugTaken }))
            .route("/full", post(|| async { Refusal::NodeFull }))
            .method_not_allowed_fallback(|| async { Refusal::MethodNotAllowed })
            .fallback(|| async { Refusal::RouteNotFound })
            .layer(middleware::from_fn(observe));
        router.oneshot(request).await.expect("a router always answers")
    }

    async fn said(method: &str, path: &str, kind: &str, body: &str) -> (StatusCode, HeaderMap, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let response = answer(request.body(Body::from(body.to_owned())).expect("a request")).await;
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 20).await.expect("a body");
        (parts.status, parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_refusal_is_a_problem_that_names_its_request() {
        let (status, headers, problem) = said("POST", "/taken", "application/json", "").await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(headers["content-type"], "application/problem+json");
        assert_eq!(headers["x-should-retry"], "false");
        assert_eq!(problem["code"], "prompt.slug_taken");
        assert_eq!(problem["request_id"].as_str(), headers["x-request-id"].to_str().ok());
    }

    #[tokio::test]
    async fn what_passes_by_itself_says_when_to_come_again() {
        let (status, headers, _) = said("POST", "/full", "application/json", "").await;
        assert_eq!(
            (status, &headers["retry-after"]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from(10))
        );
    }

    #[tokio::test]
    async fn addresses_and_methods_that_are_none_are_problems_too() {
        let (status, _, problem) = said("GET", "/nowhere", "", "").await;
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &Value::from("request.not_found")));
        let (status, headers, problem) = said("GET", "/greet", "", "").await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::METHOD_NOT_ALLOWED, &Value::from("request.method"))
        );
        assert_eq!(headers["allow"], "POST");
    }

    #[tokio::test]
    async fn a_body_is_read_only_if_it_is_short_json_of_the_right_shape() {
        let code = |body: &'static str, kind: &'static str| async move {
            let (status, _, problem) = said("POST", "/greet", kind, body).await;
            (status.as_u16(), problem["code"].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(code(r#"{"name":"Ana"}"#, "application/json").await.0, 200);
        assert_eq!(code(r#"{"name":"Ana"}"#, "text/plain").await, (400, "request.bad".to_owned()));
        assert_eq!(code(r#"{"name":1}"#, "application/json").await, (400, "request.bad".to_owned()));
        assert_eq!(code("", "").await, (400, "request.bad".to_owned()));
        let long = r#"{"name":"Anaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#;
        assert_eq!(code(long, "application/json").await, (413, "request.too_large".to_owned()));
    }
}
