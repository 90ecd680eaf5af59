//! Signing in by a link or an invitation, out again, and who one is.

use crate::domain::refusal::Refusal;
use crate::edge::{
    address::client_address,
    auth::{
        self, Caller, Via, check_origin, new_secret, no_cookie, secret_hash, session_cookie, session_hash,
        session_secret,
    },
    problem::{Json, bad},
    routes::shapes::PersonShape,
    state::App,
};
use crate::live::{clock::now_ms, runs::unavailable};
use crate::store::Principal;
use axum::{
    extract::{FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{AppendHeaders, IntoResponse, Response},
};
use parking_lot::Mutex;
use promptroom_protocol::Person;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
};
use utoipa::ToSchema;
use uuid::Uuid;

const NAME_CHARS_MAX: usize = 60;
/// Attempts that fail one after the other before an address has to wait.
const ATTEMPTS_MAX: u64 = 10;
/// Another attempt is given back in this time.
const ATTEMPT_MS: u64 = 5_000;
const ADDRESSES_MAX: usize = 10_000;

/// One of the two: the link that the server printed, or an invitation and the name to be known by.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Credential {
    Link { link: String },
    Invite { invite: String, name: String },
}

#[derive(Deserialize, ToSchema)]
pub struct NameChange {
    /// 1 to 60 characters.
    name: String,
}

#[derive(Serialize, ToSchema)]
pub struct Me {
    #[schema(value_type = PersonShape)]
    me: Person,
    workspace: WorkspaceName,
    /// Whether the credential is an API token.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    token: bool,
    /// Of the server.
    version: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct WorkspaceName {
    id: Uuid,
    name: String,
}

/// Opens a session and sets its cookie.
#[utoipa::path(post, path = "/api/v1/session", operation_id = "sign_in", tag = "access", security(()),
    request_body = Credential, responses((status = 200, body = Me)))]
pub async fn sign_in(State(app): State<App>, request: Request) -> Result<Response, Refusal> {
    // Else a foreign page could sign somebody in as somebody else.
    check_origin(&app.settings, request.headers())?;
    let address = client_address(&request, &app.settings.trusted_proxies);
    app.sign_ins.attempt(address, now_ms())?;
    let Json(credential): Json<Credential> = Json::from_request(request, &app).await?;
    let (session, principal) = open_session(&app, credential).await?;
    app.sign_ins.forgive(address);
    let me = me(&app, auth::person(&principal), Via::Session).await?;
    Ok(with_cookie(session_cookie(&app.settings, &session), axum::Json(me)))
}

/// Ends the session of the cookie; without one there is nothing to end.
#[utoipa::path(delete, path = "/api/v1/session", operation_id = "sign_out", tag = "access", security(()),
    responses((status = 204, description = "Signed out.")))]
pub async fn sign_out(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refusal> {
    if let Some(hash) = session_hash(&app.settings, &headers) {
        check_origin(&app.settings, &headers)?;
        app.store.remove_session(hash).await.map_err(unavailable)?;
        app.hub.close_session(hash);
    }
    Ok(with_cookie(no_cookie(&app.settings), StatusCode::NO_CONTENT))
}

/// Who is asking.
#[utoipa::path(get, path = "/api/v1/me", operation_id = "read_me", tag = "access", responses((status = 200, body = Me)))]
pub async fn read_me(
    State(app): State<App>,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, Refusal> {
    let me = axum::Json(me(&app, caller.person(), caller.via).await?);
    // The page asks this when it opens: from then on the browser keeps the cookie as long as the store the session.
    match session_secret(&app.settings, &headers).filter(|_| caller.via == Via::Session) {
        Some(secret) => Ok(with_cookie(session_cookie(&app.settings, secret), me)),
        None => Ok(me.into_response()),
    }
}

/// Changes the caller's own name.
#[utoipa::path(patch, path = "/api/v1/me", operation_id = "rename_me", tag = "access",
    request_body = NameChange, responses((status = 200, body = Me)))]
pub async fn rename_me(
    State(app): State<App>,
    caller: Caller,
    Json(change): Json<NameChange>,
) -> Result<axum::Json<Me>, Refusal> {
    let mut caller = caller.still(&app).await?;
    let name = display_name(&change.name)?;
    let renamed = app.store.rename_principal(caller.principal.id, name).await.map_err(unavailable)?;
    caller.principal = renamed.ok_or(Refusal::SignInNeeded)?;
    me(&app, caller.person(), caller.via).await.map(axum::Json)
}

/// Bounds how often an address may try a secret that opens nothing.
///
/// Secrets cannot be guessed; this keeps those who try from costing much. One theoretical arrival time per
/// address (GCRA), for the newest addresses only.
#[derive(Default)]
pub struct SignInLimiter {
    full_at_ms: Mutex<HashMap<IpAddr, u64>>,
}

impl SignInLimiter {
    pub fn attempt(&self, address: IpAddr, now_ms: u64) -> Result<(), Refusal> {
        let mut known = self.full_at_ms.lock();
        let network = network(address);
        let next = known.get(&network).copied().unwrap_or(0).max(now_ms) + ATTEMPT_MS;
        let ahead = next - now_ms;
        if ahead > ATTEMPTS_MAX * ATTEMPT_MS {
            return Err(Refusal::TooManySignIns { retry_after_ms: ahead - ATTEMPTS_MAX * ATTEMPT_MS });
        }
        if known.len() >= ADDRESSES_MAX && !known.contains_key(&network) {
            known.retain(|_, full_at| *full_at > now_ms);
            // The one that has least to wait is the one least missed.
            let least = known.iter().min_by_key(|(_, full_at)| **full_at).map(|(network, _)| *network);
            if let Some(least) = least.filter(|_| known.len() >= ADDRESSES_MAX) {
                known.remove(&least);
            }
        }
        known.insert(network, next);
        Ok(())
    }

    /// An attempt that succeeded does not count: many people may share an address.
    pub fn forgive(&self, address: IpAddr) {
        if let Some(full_at) = self.full_at_ms.lock().get_mut(&network(address)) {
            *full_at = full_at.saturating_sub(ATTEMPT_MS);
        }
    }
}

/// A single person has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

async fn open_session(app: &App, credential: Credential) -> Result<(String, Principal), Refusal> {
    let (session, hash) = new_secret(auth::SESSION);
    let principal = match credential {
        Credential::Link { link } => {
            let link = secret_hash(auth::LINK, &link).ok_or(Refusal::LinkUsed)?;
            let found = app.store.use_sign_in_link(link, hash, now_ms()).await.map_err(unavailable)?;
            found.ok_or(Refusal::LinkUsed)?
        }
        Credential::Invite { invite, name } => {
            let name = display_name(&name)?;
            let invite = secret_hash(auth::INVITE, &invite).ok_or(Refusal::InviteUsed)?;
            let found = app.store.use_invite(invite, name, hash, now_ms()).await.map_err(unavailable)?;
            found.ok_or(Refusal::InviteUsed)?
        }
    };
    Ok((session, principal))
}

async fn me(app: &App, me: Person, via: Via) -> Result<Me, Refusal> {
    let workspace = app.store.workspace().await.map_err(unavailable)?;
    Ok(Me {
        me,
        workspace: WorkspaceName { id: workspace.id.0, name: workspace.name },
        token: via == Via::Token,
        version: app.settings.version,
    })
}

fn display_name(name: &str) -> Result<&str, Refusal> {
    let name = name.trim();
    let fits = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX;
    if fits && !name.chars().any(breaks_lines) {
        return Ok(name);
    }
    Err(bad(format!("A name has 1 to {NAME_CHARS_MAX} characters in one line.")))
}

/// Control characters, and those that turn the writing direction of what stands around a name.
fn breaks_lines(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn with_cookie(cookie: String, answer: impl IntoResponse) -> Response {
    let headers = [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".to_owned())];
    (AppendHeaders(headers), answer).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const ANA: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn an_address_has_ten_attempts_and_then_one_every_five_seconds() {
        let limiter = SignInLimiter::default();
        for _ in 0..10 {
            assert_eq!(limiter.attempt(ANA, 1_000), Ok(()));
        }
        assert_eq!(limiter.attempt(ANA, 1_000), Err(Refusal::TooManySignIns { retry_after_ms: 5_000 }));
        assert_eq!(limiter.attempt(ANA, 4_000), Err(Refusal::TooManySignIns { retry_after_ms: 2_000 }));
        assert_eq!(limiter.attempt(ANA, 6_000), Ok(()));
        assert!(limiter.attempt(ANA, 6_000).is_err());
    }

    #[test]
    fn those_who_get_in_do_not_use_up_the_attempts_of_others_at_their_address() {
        let limiter = SignInLimiter::default();
        for _ in 0..100 {
            assert_eq!(limiter.attempt(ANA, 1_000), Ok(()));
            limiter.forgive(ANA);
        }
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_and_does_not_lock_others_out() {
        let limiter = SignInLimiter::default();
        for number in 0..30_000_u32 {
            assert_eq!(limiter.attempt(IpAddr::V4(Ipv4Addr::from_bits(number)), u64::from(number)), Ok(()));
        }
        assert!(limiter.full_at_ms.lock().len() <= ADDRESSES_MAX);
    }

    #[test]
    fn a_whole_ipv6_network_counts_as_one_address() {
        let at = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), ANA);
    }

    #[test]
    fn a_name_is_one_short_line() {
        assert_eq!(display_name("  Ana María 🌱 "), Ok("Ana María 🌱"));
        for name in ["", "   ", "a\nb", "a\u{202e}b", &"x".repeat(61)] {
            assert!(display_name(name).is_err(), "{name:?}");
        }
    }
}
