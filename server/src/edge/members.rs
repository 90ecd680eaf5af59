//! Who is in the workspace, with which role, and how others come in.

use crate::domain::refusal::Refusal;
use crate::edge::{
    auth::{self, Caller, new_secret},
    problem::{Json, bad},
    routes::shapes::RoleShape,
    state::App,
};
use crate::live::{clock::now_ms, runs::unavailable};
use crate::store::{Invite, NewInvite, Principal, PrincipalKind, RightsOutcome};
use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use promptroom_protocol::{MemberId, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

const INVITE_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

#[derive(Serialize, ToSchema)]
pub struct Members {
    members: Vec<Member>,
}

#[derive(Serialize, ToSchema)]
pub struct Member {
    id: Uuid,
    name: String,
    #[schema(value_type = RoleShape)]
    role: Role,
    kind: MemberKind,
    created_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen_at_ms: Option<u64>,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberKind {
    Member,
    Token,
}

#[derive(Deserialize, ToSchema)]
pub struct RoleChange {
    #[schema(value_type = RoleShape)]
    role: Role,
}

#[derive(Deserialize, ToSchema)]
pub struct NewInvitation {
    role: InvitedRole,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvitedRole {
    Editor,
    Viewer,
}

#[derive(Serialize, ToSchema)]
pub struct Invitations {
    invites: Vec<Invitation>,
}

#[derive(Serialize, ToSchema)]
pub struct Invitation {
    id: Uuid,
    /// Only in the answer that made it: it holds the secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[schema(value_type = RoleShape)]
    role: Role,
    created_at_ms: u64,
    expires_at_ms: u64,
}

/// Everybody in the workspace, oldest first.
#[utoipa::path(get, path = "/api/v1/members", operation_id = "list_members", tag = "members",
    responses((status = 200, body = Members)))]
pub async fn list(State(app): State<App>, _caller: Caller) -> Result<axum::Json<Members>, Refusal> {
    let principals = app.store.principals().await.map_err(unavailable)?;
    Ok(axum::Json(Members { members: principals.into_iter().filter_map(member).collect() }))
}

/// Gives a member another role; holds at once, on open sockets too.
#[utoipa::path(patch, path = "/api/v1/members/{id}", operation_id = "change_member", tag = "members",
    params(("id" = Uuid, Path)), request_body = RoleChange, responses((status = 200, body = Member)))]
pub async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(RoleChange { role }): Json<RoleChange>,
) -> Result<axum::Json<Member>, Refusal> {
    let caller = caller.still(&app).await?;
    let mut principal = found(&app, &id).await?;
    may_change(caller.principal.role, principal.role, role)?;
    outcome(app.store.set_role(principal.id, role).await.map_err(unavailable)?)?;
    rights_changed(&app).await;
    principal.role = role;
    member(principal).map(axum::Json).ok_or(Refusal::MemberNotFound)
}

/// Removes a member with all sessions; what they made stays.
#[utoipa::path(delete, path = "/api/v1/members/{id}", operation_id = "remove_member", tag = "members",
    params(("id" = Uuid, Path)), responses((status = 204, description = "Removed.")))]
pub async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let principal = found(&app, &id).await?;
    may_change(caller.principal.role, principal.role, Role::Viewer)?;
    outcome(app.store.remove_principal(principal.id, now_ms()).await.map_err(unavailable)?)?;
    rights_changed(&app).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a link by which whoever has it can join, for seven days.
#[utoipa::path(post, path = "/api/v1/invites", operation_id = "create_invite", tag = "members",
    request_body = NewInvitation, responses((status = 201, body = Invitation)))]
pub async fn invite(
    State(app): State<App>,
    caller: Caller,
    Json(NewInvitation { role }): Json<NewInvitation>,
) -> Result<(StatusCode, axum::Json<Invitation>), Refusal> {
    let caller = caller.still(&app).await?;
    caller.at_least(Role::Admin, "invite people")?;
    let (secret, hash) = new_secret(auth::INVITE);
    let now_ms = now_ms();
    let role = match role {
        InvitedRole::Editor => Role::Editor,
        InvitedRole::Viewer => Role::Viewer,
    };
    let (id, by, expires_at_ms) = (Uuid::new_v4(), caller.principal.id, now_ms + INVITE_MS);
    let new = NewInvite { id, hash, role, by, now_ms, expires_at_ms };
    let invite = app.store.add_invite(&new).await.map_err(unavailable)?;
    let url = format!("{}/invite/{secret}", app.settings.public_url);
    Ok((StatusCode::CREATED, axum::Json(Invitation { url: Some(url), ..invitation(invite) })))
}

/// Invitations that still let somebody in, newest first.
#[utoipa::path(get, path = "/api/v1/invites", operation_id = "list_invites", tag = "members",
    responses((status = 200, body = Invitations)))]
pub async fn invites(State(app): State<App>, caller: Caller) -> Result<axum::Json<Invitations>, Refusal> {
    caller.at_least(Role::Admin, "see invitations")?;
    let invites = app.store.invites(now_ms()).await.map_err(unavailable)?;
    Ok(axum::Json(Invitations { invites: invites.into_iter().map(invitation).collect() }))
}

/// Withdraws an invitation; who came in by it stays.
#[utoipa::path(delete, path = "/api/v1/invites/{id}", operation_id = "remove_invite", tag = "members",
    params(("id" = Uuid, Path)), responses((status = 204, description = "Withdrawn, or gone already.")))]
pub async fn uninvite(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    caller.at_least(Role::Admin, "withdraw invitations")?;
    let id = id.parse().map_err(|_| bad("An invitation's id is a UUID."))?;
    app.store.remove_invite(id).await.map_err(unavailable)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether `by` may turn a member's role from `from` into `to`: owners are made and changed by owners only.
fn may_change(by: Role, from: Role, to: Role) -> Result<(), Refusal> {
    if by < Role::Admin {
        return Err(Refusal::Forbidden { what: "change members" });
    }
    if by < Role::Owner && (from == Role::Owner || to == Role::Owner) {
        return Err(Refusal::Forbidden { what: "change owners" });
    }
    Ok(())
}

async fn found(app: &App, id: &str) -> Result<Principal, Refusal> {
    let id: MemberId = id.parse().map_err(|_| Refusal::MemberNotFound)?;
    app.store.principal(id).await.map_err(unavailable)?.ok_or(Refusal::MemberNotFound)
}

fn outcome(outcome: RightsOutcome) -> Result<(), Refusal> {
    match outcome {
        RightsOutcome::Changed { .. } => Ok(()),
        RightsOutcome::LastOwner => Err(Refusal::LastOwner),
        RightsOutcome::Gone => Err(Refusal::MemberNotFound),
    }
}

/// The change is durable; now it reaches the sockets of this node, before it is answered.
pub(super) async fn rights_changed(app: &App) {
    if app.authority.look().await.is_err() {
        // The one who watches tries on, and says so if it goes on failing.
        app.rights_bell.notify_one();
    }
}

fn member(principal: Principal) -> Option<Member> {
    let kind = match principal.kind {
        PrincipalKind::Person => MemberKind::Member,
        PrincipalKind::Token => MemberKind::Token,
        PrincipalKind::Link => return None,
    };
    let Principal { id, name, role, created_at_ms, last_seen_at_ms, .. } = principal;
    Some(Member { id: id.0, name, role, kind, created_at_ms, last_seen_at_ms })
}

fn invitation(invite: Invite) -> Invitation {
    let Invite { id, role, created_at_ms, expires_at_ms, .. } = invite;
    Invitation { id, url: None, role, created_at_ms, expires_at_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_owners_make_and_change_owners() {
        assert!(may_change(Role::Owner, Role::Owner, Role::Viewer).is_ok());
        assert!(may_change(Role::Owner, Role::Editor, Role::Owner).is_ok());
        assert!(may_change(Role::Admin, Role::Owner, Role::Viewer).is_err());
        assert!(may_change(Role::Admin, Role::Editor, Role::Owner).is_err());
    }

    #[test]
    fn only_admins_and_owners_change_anybody() {
        assert!(may_change(Role::Admin, Role::Admin, Role::Viewer).is_ok());
        for by in [Role::Editor, Role::Runner, Role::Viewer] {
            assert!(may_change(by, Role::Viewer, Role::Viewer).is_err());
        }
    }
}
