//! Every route there is. Those of the API are described where they are written, so none can be left out.

mod openapi;
pub mod shapes;

use crate::domain::refusal::Refusal;
use crate::edge::{
    admission, events, health, members, models, page,
    problem::{bad, observe},
    prompts, runs, signin,
    state::App,
};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::get,
};
use percent_encoding::percent_decode_str;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Requests that are being answered at one time; a stream of events counts until it begins.
const REQUESTS_MAX: usize = 512;
const TURN_WAIT: Duration = Duration::from_secs(2);
/// Longer than anything that a handler itself waits for.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

pub fn router(app: App) -> Router {
    let (api, description) = api().split_for_parts();
    let description = openapi::complete(description);
    let turns = Arc::new(Semaphore::new(REQUESTS_MAX));
    api.route("/api/v1/openapi.json", get(async || axum::Json(description)))
        .route("/ws/{prompt}", get(admission::upgrade))
        .fallback(page::serve)
        .method_not_allowed_fallback(async || Refusal::MethodNotAllowed)
        .layer(from_fn_with_state(turns, bounded))
        .layer(from_fn(observe))
        .with_state(app)
}

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(signin::sign_in, signin::sign_out))
        .routes(routes!(signin::read_me, signin::rename_me))
        .routes(routes!(members::list))
        .routes(routes!(members::change, members::remove))
        .routes(routes!(members::invite, members::invites))
        .routes(routes!(members::uninvite))
        .routes(routes!(prompts::add, prompts::list))
        .routes(routes!(prompts::read, prompts::change, prompts::remove))
        .routes(routes!(prompts::restore))
        .routes(routes!(runs::start, runs::list))
        .routes(routes!(runs::read))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::regenerate))
        .routes(routes!(runs::go_on))
        .routes(routes!(events::read))
        .routes(routes!(models::list))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// A request waits for its turn, and is answered, within a limit.
async fn bounded(
    State(turns): State<Arc<Semaphore>>,
    request: Request,
    next: axum::middleware::Next,
) -> Response {
    if percent_decode_str(request.uri().path()).decode_utf8().is_err() {
        return bad("The address is not UTF-8.").into_response();
    }
    let Ok(Ok(_turn)) = timeout(TURN_WAIT, turns.acquire()).await else {
        return Refusal::NodeFull.into_response();
    };
    match timeout(ANSWER_WAIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::StoreUnavailable.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// What others rely on; a path is added here and never changed.
    const PROMISED: &[(&str, &[&str])] = &[
        ("/api/v1/session", &["post", "delete"]),
        ("/api/v1/me", &["get", "patch"]),
        ("/api/v1/members", &["get"]),
        ("/api/v1/members/{id}", &["patch", "delete"]),
        ("/api/v1/invites", &["get", "post"]),
        ("/api/v1/invites/{id}", &["delete"]),
        ("/api/v1/prompts", &["get", "post"]),
        ("/api/v1/prompts/{id}", &["get", "patch", "delete"]),
        ("/api/v1/prompts/{id}/restore", &["post"]),
        ("/api/v1/prompts/{id}/runs", &["get", "post"]),
        ("/api/v1/runs/{id}", &["get"]),
        ("/api/v1/runs/{id}/events", &["get"]),
        ("/api/v1/runs/{id}/cancel", &["post"]),
        ("/api/v1/runs/{id}/regenerate", &["post"]),
        ("/api/v1/runs/{id}/continue", &["post"]),
        ("/api/v1/models", &["get"]),
        ("/healthz", &["get"]),
        ("/readyz", &["get"]),
        ("/metrics", &["get"]),
    ];

    fn described() -> Value {
        let (_routes, description) = api().split_for_parts();
        serde_json::to_value(openapi::complete(description)).expect("a description")
    }

    #[test]
    fn every_promised_route_is_there_and_described_and_no_other() {
        let description = described();
        let paths = description["paths"].as_object().expect("paths");
        assert_eq!(paths.len(), PROMISED.len());
        for (path, methods) in PROMISED {
            let described = paths[*path].as_object().unwrap_or_else(|| panic!("{path} is described"));
            let mut found: Vec<&str> = described.keys().map(String::as_str).collect();
            let mut promised = methods.to_vec();
            found.sort_unstable();
            promised.sort_unstable();
            assert_eq!(found, promised, "{path}");
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_summary_and_says_how_it_refuses() {
        let description = described();
        let mut names = std::collections::HashSet::new();
        for (path, methods) in description["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                assert!(names.insert(operation["operationId"].clone()), "{method} {path}");
                assert!(operation["summary"].is_string(), "{method} {path}");
                let refusal = &operation["responses"]["default"]["content"]["application/problem+json"];
                assert_eq!(refusal["schema"]["$ref"], "#/components/schemas/Problem", "{method} {path}");
            }
        }
    }

    #[test]
    fn every_shape_that_is_referred_to_is_described() {
        let description = described();
        assert!(description["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
        let text = description.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap_or_default();
            assert!(description["components"]["schemas"][name].is_object(), "{name}");
        }
        assert!(description["components"]["schemas"]["RunSummary"]["properties"]["hash"].is_object());
    }
}
