//! Who is calling: a person by the session cookie, or a program by its API token.

mod secret;

pub use secret::{INVITE, LINK, SESSION, TOKEN, new_secret, secret_hash};

use crate::domain::refusal::Refusal;
use crate::edge::state::{App, Settings};
use crate::live::{clock::now_ms, runs::unavailable};
use crate::store::{Principal, SecretHash};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
};
use promptroom_protocol::{Person, Role};
use std::time::Duration;
use tokio::time::Instant;

/// As long as the store keeps a session that nobody uses.
const SESSION_S: u64 = 90 * 24 * 60 * 60;

/// For as long as what was read of a caller holds: less than the second in which a "no" must.
const HOLDS: Duration = Duration::from_millis(400);

#[derive(Clone, Debug)]
pub struct Caller {
    pub principal: Principal,
    pub via: Via,
    secret: SecretHash,
    read_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Session,
    Token,
}

impl Caller {
    pub fn person(&self) -> Person {
        person(&self.principal)
    }

    /// The session that they came by; a token has none.
    pub fn session(&self) -> Option<SecretHash> {
        (self.via == Via::Session).then_some(self.secret)
    }

    /// The caller as they are now, for whoever has waited since they were read: for the rest of a request, or for others.
    pub async fn still(self, app: &App) -> Result<Caller, Refusal> {
        if self.read_at.elapsed() <= HOLDS { Ok(self) } else { self.again(app).await }
    }

    pub async fn again(&self, app: &App) -> Result<Caller, Refusal> {
        read(app, self.via, self.secret).await
    }

    /// Refuses unless the caller's role is at least `least`; `what` completes "Your role does not allow to …".
    pub fn at_least(&self, least: Role, what: &'static str) -> Result<(), Refusal> {
        if self.principal.role >= least { Ok(()) } else { Err(Refusal::Forbidden { what }) }
    }
}

pub fn person(principal: &Principal) -> Person {
    Person { id: principal.id, name: principal.name.clone(), role: principal.role, client: None }
}

/// For handlers. Whatever changes something must not come from a foreign page.
impl FromRequestParts<App> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let found = caller(app, &parts.headers).await?;
        let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if found.via == Via::Session && !safe {
            check_origin(&app.settings, &parts.headers)?;
        }
        Ok(found)
    }
}

/// Whoever the `Authorization` header names, else a token among the WebSocket subprotocols, else the session cookie.
/// Does not look at the origin.
pub async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Refusal> {
    if headers.contains_key(header::AUTHORIZATION) {
        return by_token(app, bearer(headers).ok_or(Refusal::SignInNeeded)?).await;
    }
    if let Some(token) = subprotocol_token(headers) {
        return by_token(app, token).await;
    }
    let hash = session_hash(&app.settings, headers).ok_or(Refusal::SignInNeeded)?;
    read(app, Via::Session, hash).await
}

/// Whether nobody has signed out of it; whoever came without one has nothing to lose.
pub async fn session_lives(app: &App, session: Option<SecretHash>) -> Result<bool, Refusal> {
    let Some(session) = session else { return Ok(true) };
    let live = app.store.sessions_that_live(&[session], now_ms()).await.map_err(unavailable)?;
    Ok(!live.is_empty())
}

/// Whether a handshake comes from a page of ours or from no page: browsers send cookies along whatever page opens
/// a WebSocket, and always name that page's origin.
pub fn origin_is_own(settings: &Settings, headers: &HeaderMap) -> bool {
    named_origin_is_own(settings, headers).unwrap_or(true)
}

/// The API token in `Sec-WebSocket-Protocol: promptroom, token.<API token>`.
pub fn subprotocol_token(headers: &HeaderMap) -> Option<&str> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut names = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    names.find_map(|name| name.trim().strip_prefix("token."))
}

/// Whether a request that changes something comes from a page of ours or from no page at all.
///
/// Browsers name the origin of every such request. One that has none comes from a program with a cookie jar, or
/// from a browser too old to say: then it must be same-origin by `Sec-Fetch-Site`, or JSON, which a foreign page
/// cannot send without asking us first.
pub fn check_origin(settings: &Settings, headers: &HeaderMap) -> Result<(), Refusal> {
    let ours = named_origin_is_own(settings, headers).unwrap_or_else(|| {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        matches!(site, Some(b"same-origin" | b"none")) || is_json(headers)
    });
    if ours { Ok(()) } else { Err(Refusal::OriginForeign) }
}

pub fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// The session that the cookie names, if it can be one.
pub fn session_hash(settings: &Settings, headers: &HeaderMap) -> Option<SecretHash> {
    secret_hash(SESSION, session_secret(settings, headers)?)
}

pub fn session_secret<'a>(settings: &Settings, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = cookie_name(settings);
    let jars = headers.get_all(header::COOKIE).iter().filter_map(|jar| jar.to_str().ok());
    jars.flat_map(|jar| jar.split(';')).find_map(|cookie| cookie.trim().strip_prefix(name)?.strip_prefix('='))
}

/// The `Set-Cookie` that opens a session in a browser.
pub fn session_cookie(settings: &Settings, secret: &str) -> String {
    cookie(settings, secret, SESSION_S)
}

pub fn no_cookie(settings: &Settings) -> String {
    cookie(settings, "", 0)
}

async fn by_token(app: &App, token: &str) -> Result<Caller, Refusal> {
    let hash = secret_hash(TOKEN, token).ok_or(Refusal::SignInNeeded)?;
    read(app, Via::Token, hash).await
}

async fn read(app: &App, via: Via, secret: SecretHash) -> Result<Caller, Refusal> {
    let read_at = Instant::now();
    let found = match via {
        Via::Session => app.store.principal_by_session(secret, now_ms()).await,
        Via::Token => app.store.principal_by_token(secret, now_ms()).await,
    };
    let principal = found.map_err(unavailable)?.ok_or(Refusal::SignInNeeded)?;
    Ok(Caller { principal, via, secret, read_at })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// `None` if the request names no origin.
fn named_origin_is_own(settings: &Settings, headers: &HeaderMap) -> Option<bool> {
    let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let at_host = authority.is_some() && authority == host;
    Some(at_host || origin.eq_ignore_ascii_case(origin_of(&settings.public_url)))
}

/// The URL up to its path.
fn origin_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    &url[..end]
}

fn is_https(settings: &Settings) -> bool {
    settings.public_url.starts_with("https://")
}

/// Under https the name itself makes browsers refuse a cookie that another host planted.
fn cookie_name(settings: &Settings) -> &'static str {
    if is_https(settings) { "__Host-promptroom" } else { "promptroom" }
}

fn cookie(settings: &Settings, value: &str, age_s: u64) -> String {
    let secure = if is_https(settings) { "; Secure" } else { "" };
    format!("{}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}", cookie_name(settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptroom_protocol::Limits;

    fn settings(public_url: &str) -> Settings {
        Settings {
            public_url: public_url.to_owned(),
            limits: Limits { message_bytes: 1, document_bytes: 1, awareness_bytes: 1, watched_runs: 1 },
            frames_per_s: 1,
            trusted_proxies: Vec::new(),
            connections: 1,
            default_model: String::new(),
            version: "0",
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn a_cookie_is_found_among_others_and_only_under_its_own_name() {
        let (https, http) = (settings("https://p.example"), settings("http://127.0.0.1:8080"));
        let jar = headers(&[("cookie", "a=b; __Host-promptroom=one;promptroom=two; promptroom2=x")]);
        assert_eq!(session_secret(&https, &jar), Some("one"));
        assert_eq!(session_secret(&http, &jar), Some("two"));
        assert_eq!(session_secret(&http, &headers(&[("cookie", "promptroomer=x; =; promptroom")])), None);
    }

    #[test]
    fn under_https_the_cookie_is_secure_and_bound_to_the_host() {
        let cookie = session_cookie(&settings("https://p.example"), "s");
        assert_eq!(cookie, "__Host-promptroom=s; Path=/; Max-Age=7776000; HttpOnly; SameSite=Lax; Secure");
        assert!(!session_cookie(&settings("http://p.example"), "s").contains("Secure"));
        assert!(no_cookie(&settings("http://p.example")).contains("Max-Age=0"));
    }

    #[test]
    fn only_pages_of_the_public_url_or_of_the_host_asked_are_ours() {
        let settings = settings("https://p.example/");
        let asked =
            |origin| check_origin(&settings, &headers(&[("origin", origin), ("host", "10.0.0.1:8080")]));
        for ours in ["https://p.example", "http://10.0.0.1:8080", "https://10.0.0.1:8080"] {
            assert_eq!(asked(ours), Ok(()), "{ours}");
        }
        for foreign in
            ["https://evil.example", "null", "", "http://p.example", "http://10.0.0.1", "10.0.0.1:8080"]
        {
            assert_eq!(asked(foreign), Err(Refusal::OriginForeign), "{foreign}");
        }
    }

    #[test]
    fn without_an_origin_a_change_must_be_same_origin_or_json() {
        let settings = settings("https://p.example");
        let asked = |pairs: &[(&'static str, &str)]| check_origin(&settings, &headers(pairs)).is_ok();
        assert!(asked(&[("sec-fetch-site", "same-origin")]));
        assert!(asked(&[("content-type", "application/json; charset=utf-8")]));
        assert!(!asked(&[("content-type", "text/plain")]));
        assert!(!asked(&[("sec-fetch-site", "cross-site")]));
        assert!(!asked(&[]));
    }

    #[test]
    fn a_token_comes_as_bearer_or_as_a_subprotocol() {
        assert_eq!(bearer(&headers(&[("authorization", "bearer prt_x")])), Some("prt_x"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic prt_x")])), None);
        let offered = headers(&[("sec-websocket-protocol", "promptroom, token.prt_x")]);
        assert_eq!(subprotocol_token(&offered), Some("prt_x"));
        assert_eq!(subprotocol_token(&headers(&[("sec-websocket-protocol", "promptroom")])), None);
    }
}
