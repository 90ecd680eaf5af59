//! Prompts over HTTP: the library, and a prompt's content, which is changed through its room like any other edit.

mod access;
mod slug;

pub use access::{create, create_at, find, seen, visible};

use crate::domain::{
    log::SocketId,
    prompt::{ContentPatch, PromptContent},
    refusal::Refusal,
    rights::Visibility,
};
use crate::edge::{
    auth::Caller,
    members::rights_changed,
    problem::{CONTENT_BYTES_MAX, Json},
    routes::shapes::{ContentPatchShape, PromptContentShape, RightsShape, RunSummaryShape},
    state::App,
};
use crate::live::{clock::now_ms, member::Member, room::Edit, runs::unavailable};
use crate::store::{ChangeOutcome, LibraryEntry, PromptRow};
use axum::{
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use promptroom_protocol::{MemberId, PromptId, RequestId, Rights, RunSummary};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, atomic::Ordering};
use utoipa::ToSchema;
use uuid::Uuid;

/// The newest runs of a prompt that is deleted, among which all are that can still be going.
const RUNS_STOPPED: u32 = 1_000;
/// Times that a change is tried because rights move meanwhile.
const TRIES: u32 = 3;

#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPromptBody {
    #[serde(default)]
    pub title: Option<String>,
    /// Made from the title if absent.
    #[serde(default)]
    pub slug: Option<String>,
    /// `private` if absent.
    #[serde(default)]
    pub visibility: Option<Visibility>,
    #[serde(default)]
    #[schema(value_type = Option<ContentPatchShape>)]
    pub content: Option<ContentPatch>,
}

#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptChange {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    slug: Option<String>,
    #[serde(default)]
    visibility: Option<Visibility>,
    #[serde(default)]
    #[schema(value_type = Option<ContentPatchShape>)]
    content: Option<ContentPatch>,
}

#[derive(Serialize, ToSchema)]
pub struct Prompts {
    prompts: Vec<Prompt>,
}

#[derive(Serialize, ToSchema)]
pub struct Prompt {
    id: Uuid,
    slug: String,
    title: String,
    visibility: Visibility,
    owner: Owner,
    /// The caller's.
    #[schema(value_type = RightsShape)]
    rights: Rights,
    created_at_ms: u64,
    updated_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at_ms: Option<u64>,
    /// How many are in its room now.
    people: usize,
    /// How many of its runs are under way.
    running: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RunSummaryShape>)]
    last_run: Option<RunSummary>,
}

#[derive(Serialize, ToSchema)]
pub struct Owner {
    id: Uuid,
    name: String,
}

#[derive(Serialize, ToSchema)]
pub struct PromptWithContent {
    #[serde(flatten)]
    prompt: Prompt,
    #[schema(value_type = PromptContentShape)]
    content: PromptContent,
}

/// Makes a prompt of the caller's own.
#[utoipa::path(post, path = "/api/v1/prompts", operation_id = "create_prompt", tag = "prompts",
    request_body = NewPromptBody, responses((status = 201, body = Prompt)))]
pub async fn add(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<NewPromptBody, CONTENT_BYTES_MAX>,
) -> Result<Response, Refusal> {
    let caller = caller.still(&app).await?;
    let row = create(&app, &caller.principal, body).await?;
    let location =
        HeaderValue::from_str(&format!("/api/v1/prompts/{}", row.id)).map_err(|_| Refusal::Internal)?;
    let prompt = one(&app, &caller, row).await?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(prompt)).into_response())
}

/// The caller's own prompts and the workspace's, newest change first.
#[utoipa::path(get, path = "/api/v1/prompts", operation_id = "list_prompts", tag = "prompts",
    responses((status = 200, body = Prompts)))]
pub async fn list(State(app): State<App>, caller: Caller) -> Result<axum::Json<Prompts>, Refusal> {
    let entries = app.store.prompts_for(caller.principal.id).await.map_err(unavailable)?;
    let prompts = entries.into_iter().filter_map(|LibraryEntry { prompt, last_run }| {
        let rights = access::rights_in(&caller.principal, &prompt)?;
        Some(shown(&app, prompt, rights, last_run))
    });
    Ok(axum::Json(Prompts { prompts: prompts.collect() }))
}

/// A prompt with its content as it is now.
#[utoipa::path(get, path = "/api/v1/prompts/{id}", operation_id = "read_prompt", tag = "prompts",
    params(("id" = String, Path, description = "Id or slug")), responses((status = 200, body = PromptWithContent)))]
pub async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<PromptWithContent>, Refusal> {
    let (row, _rights) = visible(&app, &caller.principal, &id).await?;
    let content = app.hub.read(row.id).await?;
    Ok(axum::Json(PromptWithContent { prompt: one(&app, &caller, row).await?, content }))
}

/// Changes a prompt; answered when all of it is durable.
///
/// Whatever can be refused is looked at before anything is changed; only a race for the same slug can leave the
/// content changed and the slug not.
#[utoipa::path(patch, path = "/api/v1/prompts/{id}", operation_id = "change_prompt", tag = "prompts",
    params(("id" = String, Path, description = "Id or slug")), request_body = PromptChange,
    responses((status = 200, body = Prompt)))]
pub async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    Json(change): Json<PromptChange, CONTENT_BYTES_MAX>,
) -> Result<axum::Json<Prompt>, Refusal> {
    let mut changed = change_once(&app, &caller, &id, &change).await;
    for _ in 1..TRIES {
        if !matches!(changed, Err(Refusal::RightsChanged | Refusal::RoomRestarted)) {
            break;
        }
        changed = change_once(&app, &caller, &id, &change).await;
    }
    let id = changed?;
    let (row, _rights) = seen(&app, &caller.principal, &id.to_string()).await?;
    one(&app, &caller, row).await.map(axum::Json)
}

/// Refused with `RightsChanged` or `RoomRestarted` where somebody's rights moved meanwhile, whoever's they are. To do it
/// again changes only what is not changed yet.
async fn change_once(
    app: &App,
    caller: &Caller,
    id: &str,
    change: &PromptChange,
) -> Result<PromptId, Refusal> {
    let of_content = change.content.is_some() || change.title.is_some();
    let mut checked_under = 0;
    if of_content {
        // What takes long comes before the look at rights, which may change meanwhile.
        let (row, _rights) = visible(app, &caller.principal, id).await?;
        checked_under = app.hub.reach_head(row.id).await?;
    }
    let caller = caller.again(app).await?;
    let (row, rights) = visible(app, &caller.principal, id).await?;
    let of_access = change.slug.is_some() || change.visibility.is_some();
    if of_content && !rights.edit {
        return Err(Refusal::Forbidden { what: "edit this prompt" });
    }
    if of_access && !rights.manage {
        return Err(Refusal::Forbidden { what: "change who sees this prompt, or its address" });
    }
    if let Some(slug) = &change.slug {
        check_free(app, row.id, slug).await?;
    }
    if of_content {
        let mut patch = change.content.clone().unwrap_or_default();
        patch.title = change.title.clone().or(patch.title);
        let author = Arc::new(author(app, &caller, rights));
        app.hub.edit(row.id, Edit { patch, author, checked_under }).await?;
    }
    if of_access {
        let changed = app.store.change_prompt(row.id, change.slug.as_deref(), change.visibility).await;
        apply(app, changed.map_err(unavailable)?).await?;
    }
    Ok(row.id)
}

/// Whoever edits over HTTP, as the room knows its people: what they may do counts until their edit is durable.
fn author(app: &App, caller: &Caller, rights: Rights) -> Member {
    let socket = SocketId(app.next_socket.fetch_add(1, Ordering::Relaxed));
    Member::new(socket, &caller.person(), rights, false, caller.session(), RequestId(Uuid::now_v7()))
}

/// Deletes a prompt and stops its runs; its content and what the runs put out are kept, and it can be restored.
#[utoipa::path(delete, path = "/api/v1/prompts/{id}", operation_id = "delete_prompt", tag = "prompts",
    params(("id" = String, Path, description = "Id or slug")),
    responses((status = 204, description = "Deleted, now or before.")))]
pub async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let row = managed(&app, &caller, &id, "delete this prompt").await?;
    app.store.delete_prompt(row.id, caller.principal.id, now_ms()).await.map_err(unavailable)?;
    rights_changed(&app).await;
    stop_runs(&app, row.id, caller.principal.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Nobody would see them any more, nor what they cost.
async fn stop_runs(app: &App, prompt: PromptId, by: MemberId) -> Result<(), Refusal> {
    let runs = app.store.runs(prompt, None, RUNS_STOPPED).await.map_err(unavailable)?;
    for run in runs.iter().filter(|run| !run.state.is_terminal()) {
        app.runs.cancel(prompt, run.id, by).await?;
    }
    Ok(())
}

/// Takes a deletion back.
#[utoipa::path(post, path = "/api/v1/prompts/{id}/restore", operation_id = "restore_prompt", tag = "prompts",
    params(("id" = String, Path, description = "Id or slug")), responses((status = 200, body = Prompt)))]
pub async fn restore(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<Prompt>, Refusal> {
    let row = managed(&app, &caller, &id, "restore this prompt").await?;
    let restored = app.store.restore_prompt(row.id).await.map_err(unavailable)?;
    one(&app, &caller, restored.ok_or(Refusal::PromptNotFound)?).await.map(axum::Json)
}

async fn managed(app: &App, caller: &Caller, id: &str, what: &'static str) -> Result<PromptRow, Refusal> {
    let (row, rights) = seen(app, &caller.principal, id).await?;
    if rights.manage { Ok(row) } else { Err(Refusal::Forbidden { what }) }
}

async fn check_free(app: &App, prompt: PromptId, slug: &str) -> Result<(), Refusal> {
    slug::check(slug)?;
    match app.store.prompt_by_slug(slug).await.map_err(unavailable)? {
        Some(holder) if holder.id == prompt => Ok(()),
        Some(holder) if holder.deleted_at_ms.is_some() => Err(Refusal::SlugDeleted),
        Some(_) => Err(Refusal::SlugTaken),
        None => Ok(()),
    }
}

/// Lets the open room know at once.
async fn apply(app: &App, outcome: ChangeOutcome) -> Result<(), Refusal> {
    match outcome {
        ChangeOutcome::Changed(_) => {}
        ChangeOutcome::SlugTaken => return Err(Refusal::SlugTaken),
        ChangeOutcome::SlugDeleted => return Err(Refusal::SlugDeleted),
        ChangeOutcome::Gone => return Err(Refusal::PromptDeleted),
    }
    rights_changed(app).await;
    Ok(())
}

async fn one(app: &App, caller: &Caller, row: PromptRow) -> Result<Prompt, Refusal> {
    let rights = access::rights_in(&caller.principal, &row).ok_or(Refusal::PromptNotFound)?;
    let last_run = app.store.runs(row.id, None, 1).await.map_err(unavailable)?.pop();
    Ok(shown(app, row, rights, last_run))
}

fn shown(app: &App, row: PromptRow, rights: Rights, last_run: Option<RunSummary>) -> Prompt {
    let room = app.hub.peek(row.id);
    // Without a room only the newest run is known of; older ones that still go on are rare, and seen when it opens.
    let running = room.as_ref().map_or_else(
        || last_run.iter().filter(|run| !run.state.is_terminal()).count(),
        |room| room.runs().iter().filter(|run| !run.state.is_terminal()).count(),
    );
    Prompt {
        id: row.id.0,
        slug: row.slug,
        title: row.title,
        visibility: row.visibility,
        owner: Owner { id: row.owner.id.0, name: row.owner.name },
        rights,
        created_at_ms: row.created_at_ms,
        updated_at_ms: row.updated_at_ms,
        deleted_at_ms: row.deleted_at_ms,
        people: room.map_or(0, |room| room.people()),
        running,
        last_run,
    }
}
