//! The page, embedded in the binary: files that never change under their name, and one document for all addresses.
//!
//! Styles may be inline because the editor writes its own into the document as it needs them; scripts may not, and
//! neither styles nor anything else can reach another host.

mod negotiation;

use crate::domain::refusal::Refusal;
use crate::edge::state::{App, Settings};
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use negotiation::{accepts_encoding, accepts_html, is_known};
use rust_embed::{EmbeddedFile, RustEmbed};
use std::{borrow::Cow, fmt::Write as _};

const NOT_BUILT: &str = "The page was not built. Run `make build`, then start the server again.\n";
const DOCUMENT: &str = "index.html";
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web/dist"]
#[allow_missing = true]
struct Files;

/// What is left when no other route fits: a file of the page, the page itself, or nothing.
pub async fn serve(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    let path = request.uri().path().trim_start_matches('/');
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read || path.split('/').next().is_some_and(|first| matches!(first, "api" | "ws")) {
        return Err(Refusal::RouteNotFound);
    }
    let headers = request.headers();
    let mut response = if is_file(path) {
        file(path, headers).ok_or(Refusal::RouteNotFound)?
    } else if is_page(path) || accepts_html(headers) {
        file(DOCUMENT, headers)
            .unwrap_or_else(|| (StatusCode::SERVICE_UNAVAILABLE, NOT_BUILT).into_response())
    } else {
        return Err(Refusal::RouteNotFound);
    };
    guard(response.headers_mut(), &app.settings);
    Ok(response)
}

/// Addresses that the page itself knows.
fn is_page(path: &str) -> bool {
    matches!(path.split('/').next(), Some("" | "p" | "link" | "invite" | "signin"))
}

/// Compressed copies are reached through the file that they are of.
fn is_file(path: &str) -> bool {
    let copy = path.ends_with(".br") || path.ends_with(".gz");
    path.starts_with("assets/") || (!copy && path != DOCUMENT && Files::get(path).is_some())
}

fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let whole = Files::get(path)?;
    let compressed = [("br", ".br"), ("gzip", ".gz")]
        .into_iter()
        .filter(|(encoding, _)| accepts_encoding(headers, encoding))
        .find_map(|(encoding, suffix)| Some((Files::get(&format!("{path}{suffix}"))?, Some(encoding))));
    let (file, encoding) = compressed.unwrap_or((whole, None));
    let tag = tag(&file);
    let mut response = match is_known(headers, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Response::new(Body::from(bytes(file))),
    };
    let head = response.headers_mut();
    head.insert(header::CACHE_CONTROL, if path.starts_with("assets/") { FOREVER } else { ASK_AGAIN });
    head.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    head.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    if response.status() == StatusCode::OK {
        let kind = HeaderValue::from_str(&kind(path)).ok();
        let encoding = encoding.map(HeaderValue::from_static);
        let head = response.headers_mut();
        head.extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
        head.extend(encoding.map(|encoding| (header::CONTENT_ENCODING, encoding)));
    }
    Some(response)
}

/// Each encoding is bytes of its own, so each has a tag of its own: the tags are strong.
fn tag(file: &EmbeddedFile) -> String {
    let mut tag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..16] {
        // Writing to a String cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

fn kind(path: &str) -> String {
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let text = kind.type_() == "text" || kind.subtype() == "javascript" || kind.subtype() == "json";
    if text { format!("{kind}; charset=utf-8") } else { kind.to_string() }
}

fn bytes(file: EmbeddedFile) -> Bytes {
    match file.data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    }
}

/// Addresses may hold a one-time secret, so they are told to nobody.
fn guard(headers: &mut HeaderMap, settings: &Settings) {
    let policy = HeaderValue::from_str(&policy(&settings.public_url));
    headers.extend(policy.ok().map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// `'self'` covers our own sockets in today's browsers; older ones need the address spelled out.
fn policy(public_url: &str) -> String {
    let sockets = public_url.replacen("http", "ws", 1);
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         font-src 'self'; connect-src 'self' {sockets}; manifest-src 'self'; frame-ancestors 'none'; \
         base-uri 'none'; form-action 'self'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_connections_are_our_own_only() {
        let policy = policy("https://p.example");
        assert!(policy.contains("script-src 'self';") && policy.contains("default-src 'none'"));
        assert!(policy.contains("connect-src 'self' wss://p.example;"));
    }

    #[test]
    fn the_page_knows_its_own_addresses() {
        for path in ["", "p/support", "link/prl_x", "invite/pri_x", "signin"] {
            assert!(is_page(path), "{path}");
        }
        assert!(!is_page("pages") && !is_page("api/v1/me"));
    }

    #[test]
    fn texts_say_that_they_are_utf_8() {
        assert_eq!(kind("assets/a.js"), "text/javascript; charset=utf-8");
        assert_eq!(kind("assets/a.woff2"), "font/woff2");
    }
}
