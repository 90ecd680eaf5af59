//! For those who run the server: alive, ready, and its figures.

use crate::domain::refusal::Refusal;
use crate::edge::{auth, state::App};
use axum::{
    extract::{ConnectInfo, Extension, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use promptroom_protocol::Role;
use std::{net::SocketAddr, time::Duration};
use tokio::time::timeout;

const READ_WAIT: Duration = Duration::from_secs(1);

/// The process answers.
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "operations", security(()),
    responses((status = 200, body = str, content_type = "text/plain")))]
pub async fn alive() -> &'static str {
    "ok"
}

/// Whether a load balancer should send people here: not while the node drains or its database is silent.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "operations", security(()),
    responses((status = 200, body = str, content_type = "text/plain"),
        (status = 503, body = str, content_type = "text/plain")))]
pub async fn ready(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.tasks.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining");
    }
    match timeout(READ_WAIT, app.store.workspace()).await {
        Ok(Ok(_)) => (StatusCode::OK, "ready"),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer"),
    }
}

/// Figures for Prometheus: counts and times, never names or texts.
///
/// Open to a scraper on the same machine, and to tokens and sessions of admins and owners. A request that a proxy
/// passes on counts as coming from elsewhere, whatever machine the proxy is on.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operations",
    responses((status = 200, body = str, content_type = "text/plain")))]
pub async fn metrics(
    State(app): State<App>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<SocketAddr>>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if !is_local(peer, &headers) {
        auth::caller(&app, &headers).await?.at_least(Role::Admin, "read the server's figures")?;
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, app.metrics.render()).into_response())
}

fn is_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let passed_on = [header::FORWARDED.as_str(), "x-forwarded-for", "x-real-ip", header::VIA.as_str()];
    peer.ip().to_canonical().is_loopback() && !passed_on.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_scraper_on_this_machine_needs_no_credentials() {
        let near = |address: &str| is_local(address.parse().expect("an address"), &HeaderMap::new());
        assert!(near("127.0.0.1:1") && near("[::1]:1") && near("[::ffff:127.0.0.1]:1"));
        assert!(!near("10.0.0.1:1"));
        let passed_on = [(header::FORWARDED, "for=10.0.0.1".parse().expect("a value"))].into_iter().collect();
        assert!(!is_local(SocketAddr::from(([127, 0, 0, 1], 1)), &passed_on));
    }
}
