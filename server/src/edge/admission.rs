//! The way from a handshake to a room: credentials, origin, rights, and the slug that may be made.

use crate::domain::refusal::Refusal;
use crate::edge::{
    auth::{self, Via},
    problem, prompts, session,
    socket::{self, Socket},
    state::App,
};
use crate::live::runs::unavailable;
use crate::store::SecretHash;
use axum::{
    extract::{Path, Query, State, WebSocketUpgrade},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use promptroom_protocol::{Person, PromptId, RequestId, Rights, VERSION};
use serde::Deserialize;
use std::sync::atomic::Ordering;
use uuid::Uuid;

#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    #[serde(default)]
    v: Option<String>,
    #[serde(default)]
    create: Option<String>,
}

/// Where an accepted socket goes, and as whom.
pub struct Ticket {
    pub prompt: PromptId,
    pub slug: String,
    pub person: Person,
    pub rights: Rights,
    /// Read before the rights, which are at least as new.
    pub rights_epoch: u64,
    pub session: Option<SecretHash>,
    pub versioned: bool,
    pub request_id: RequestId,
}

/// `/ws/{prompt}`. A refusal is told by a close code, not by an HTTP status: stock clients read only the former.
pub async fn upgrade(
    State(app): State<App>,
    Path(prompt): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let request_id = RequestId(Uuid::now_v7());
    let versioned = asked.v.is_some();
    let admitted = admit(&app, &prompt, &asked, &headers, request_id).await;
    if let Err(refusal @ Refusal::OriginForeign) = &admitted {
        return problem::response(refusal, request_id);
    }
    let upgrade =
        socket::bounded(upgrade, app.settings.limits.message_bytes as usize).protocols(["promptroom"]);
    let tasks = app.tasks.clone();
    // Boxed, because what the closure holds stays with the socket for good.
    let arrival = Box::new((app, admitted));
    upgrade
        .on_upgrade(move |socket| {
            let (app, admitted) = *arrival;
            let socket = Socket::new(socket);
            let entering = Box::pin(async move {
                match admitted {
                    Ok(ticket) => session::enter(app, socket, ticket).await,
                    Err(refusal) => {
                        socket.close(&refusal, request_id, versioned).await;
                        None
                    }
                }
            });
            tasks.track(Box::pin(session::live(entering)))
        })
        .into_response()
}

async fn admit(
    app: &App,
    prompt: &str,
    asked: &Asked,
    headers: &HeaderMap,
    request_id: RequestId,
) -> Result<Ticket, Refusal> {
    if let Some(version) = asked.v.as_ref().filter(|version| **version != VERSION.to_string()) {
        return Err(Refusal::VersionUnknown { asked: version.chars().take(20).collect() });
    }
    if app.tasks.is_draining() {
        return Err(Refusal::Draining);
    }
    if app.sockets.load(Ordering::Relaxed) >= app.settings.connections {
        return Err(Refusal::NodeFull);
    }
    let rights_epoch = app.store.workspace().await.map_err(unavailable)?.rights_epoch;
    let caller = auth::caller(app, headers).await?;
    // Only cookies come along whatever page opens the socket.
    if caller.via == Via::Session && !auth::origin_is_own(&app.settings, headers) {
        return Err(Refusal::OriginForeign);
    }
    let (session, principal) = (caller.session(), caller.principal);
    let visible = prompts::visible(app, &principal, prompt).await;
    let (row, rights) = match visible {
        Err(Refusal::PromptNotFound) if asked.create.as_deref() == Some("1") => {
            prompts::create_at(app, &principal, prompt).await?
        }
        visible => visible?,
    };
    let person = Person { id: principal.id, name: principal.name, role: principal.role, client: None };
    Ok(Ticket {
        prompt: row.id,
        slug: row.slug,
        person,
        rights,
        rights_epoch,
        session,
        versioned: asked.v.is_some(),
        request_id,
    })
}

/// Whether the rights still hold in the room that was entered: between the two they may have changed unseen.
pub async fn check_again(app: &App, ticket: &Ticket, entered_under: u64) -> Result<(), Refusal> {
    if ticket.rights_epoch == entered_under {
        return Ok(());
    }
    if !auth::session_lives(app, ticket.session).await? {
        return Err(Refusal::SignInNeeded);
    }
    let principal = app.store.principal(ticket.person.id).await.map_err(unavailable)?;
    let principal = principal.ok_or(Refusal::AccessLost)?;
    let (_row, rights) = prompts::visible(app, &principal, &ticket.prompt.to_string()).await?;
    if rights == ticket.rights { Ok(()) } else { Err(Refusal::RightsChanged) }
}
