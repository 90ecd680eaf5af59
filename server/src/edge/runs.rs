//! Runs over HTTP: starting, reading, stopping and repeating them. Their output as it comes is `events`.

use crate::domain::{prompt::PromptContent, refusal::Refusal};
use crate::edge::{
    auth::Caller,
    problem::{Json, bad},
    prompts::{seen, visible},
    routes::shapes::{BlockKindShape, OverridesShape, PromptContentShape, RunSummaryShape},
    state::App,
};
use crate::live::{room::CutAsk, runs::unavailable};
use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use promptroom_protocol::{
    BlockKind, CommandId, MemberId, Overrides, PromptId, Rights, RunId, RunOrigin, RunSummary,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

const LISTED: u32 = 50;
const LISTED_MAX: u32 = 100;
const KEY_CHARS_MAX: usize = 128;

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunBody {
    /// A variant's id; the first one if absent.
    #[serde(default)]
    variant: Option<String>,
    /// The id of the input set whose values fill the variables; the first one if absent.
    #[serde(default)]
    inputs: Option<String>,
    /// For this run only; the draft stays as it is.
    #[serde(default)]
    #[schema(value_type = Option<OverridesShape>)]
    overrides: Overrides,
}

#[derive(Deserialize, utoipa::IntoParams)]
pub struct RunsAsked {
    /// Only runs with a smaller number.
    before: Option<u32>,
    /// At most 100; 50 if absent.
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub struct RunList {
    #[schema(value_type = Vec<RunSummaryShape>)]
    runs: Vec<RunSummary>,
}

#[derive(Serialize, ToSchema)]
pub struct RunRead {
    #[schema(value_type = RunSummaryShape)]
    run: RunSummary,
    /// Exactly what was sent to the model, secrets redacted.
    #[schema(value_type = Object)]
    request: Box<RawValue>,
    source: RunSource,
    blocks: Vec<Block>,
}

/// What the run was cut from.
#[derive(Serialize, ToSchema)]
pub struct RunSource {
    #[schema(value_type = PromptContentShape)]
    content: PromptContent,
    variant: String,
    values: BTreeMap<String, String>,
    /// Variables in the texts that had no value.
    unset: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Block {
    block: u32,
    #[schema(value_type = BlockKindShape)]
    kind: BlockKind,
    text: String,
}

/// Cuts a run from the prompt as it is now and starts it.
///
/// The same `Idempotency-Key` returns the run that it started, whatever has become of the draft since; it is a
/// conflict only where the run that is asked for is plainly another one: of another prompt, variant or model.
#[utoipa::path(post, path = "/api/v1/prompts/{id}/runs", operation_id = "start_run", tag = "runs",
    params(("id" = String, Path, description = "Id or slug"), ("Idempotency-Key" = Option<String>, Header,
        description = "1 to 128 characters; a UUID is best")),
    request_body = RunBody, responses((status = 202, body = RunSummaryShape)))]
pub async fn start(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<RunBody>,
) -> Result<Response, Refusal> {
    let caller = caller.still(&app).await?;
    let (prompt, rights) = visible(&app, &caller.principal, &id).await?;
    may_run(rights)?;
    let command = command_id(&headers)?;
    let (variant, model) = (body.variant.clone(), body.overrides.model.clone());
    let is_it = |run: &RunSummary| {
        let same_variant = variant.as_ref().is_none_or(|variant| *variant == run.variant);
        let same_model = model.as_ref().is_none_or(|model| *model == run.model);
        run.prompt == prompt.id && run.origin == RunOrigin::Run && same_variant && same_model
    };
    if let Some(run) = repeated(&app, caller.principal.id, command).await? {
        return accepted(run, is_it);
    }
    let ask = CutAsk { variant: body.variant, inputs: body.inputs, overrides: body.overrides };
    let (id, runs) = (caller.principal.id, app.runs.clone());
    let work = async move {
        let cut = app.hub.cut(prompt.id, ask).await;
        // The room may have been loaded for it.
        let caller = caller.still(&app).await?;
        let (_prompt, rights) = visible(&app, &caller.principal, &prompt.id.to_string()).await?;
        may_run(rights)?;
        app.runs.run(prompt.id, command, caller.person(), cut).await
    };
    // Another request may have begun under the same key meanwhile, here or elsewhere.
    accepted(runs.once(id, command, work).await?, is_it)
}

/// A prompt's runs, newest first.
#[utoipa::path(get, path = "/api/v1/prompts/{id}/runs", operation_id = "list_runs", tag = "runs",
    params(("id" = String, Path, description = "Id or slug"), RunsAsked), responses((status = 200, body = RunList)))]
pub async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Result<Query<RunsAsked>, QueryRejection>,
) -> Result<axum::Json<RunList>, Refusal> {
    let (prompt, _rights) = visible(&app, &caller.principal, &id).await?;
    let Query(asked) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let limit = asked.limit.unwrap_or(LISTED).clamp(1, LISTED_MAX);
    let runs = app.store.runs(prompt.id, asked.before, limit).await.map_err(unavailable)?;
    Ok(axum::Json(RunList { runs }))
}

/// Everything about a run. While it goes on, `blocks` holds what its viewers see at this moment, which may be ahead
/// of `run.bytes`.
#[utoipa::path(get, path = "/api/v1/runs/{id}", operation_id = "read_run", tag = "runs",
    params(("id" = Uuid, Path)), responses((status = 200, body = RunRead)))]
pub async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<RunRead>, Refusal> {
    let (run, _rights) = visible_run(&app, &caller, &id).await?;
    let detail = app.store.run_detail(run.id).await.map_err(unavailable)?.ok_or(Refusal::RunNotFound)?;
    let source = app.runs.source(run.id).await?;
    let blocks = blocks(&app, run.prompt, run.id).await?;
    let request = RawValue::from_string(detail.request_json).map_err(|error| {
        tracing::error!(run.id = %run.id, %error, "a run's request cannot be read");
        Refusal::Internal
    })?;
    let source = RunSource {
        content: source.content,
        variant: source.variant,
        values: source.values,
        unset: source.unset,
    };
    Ok(axum::Json(RunRead { run, request, source, blocks }))
}

/// Stops a run; what it has put out is kept. An ended run stays as it is.
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", operation_id = "cancel_run", tag = "runs",
    params(("id" = Uuid, Path)), responses((status = 200, body = RunSummaryShape)))]
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<RunSummary>, Refusal> {
    // Also in a prompt that was deleted meanwhile: what is spent can always be stopped.
    let (run, rights) = run_seen(&app, &caller, &id).await?;
    may_run(rights)?;
    app.runs.cancel(run.prompt, run.id, caller.principal.id).await.map(axum::Json)
}

/// The same request once more, as a run of its own.
#[utoipa::path(post, path = "/api/v1/runs/{id}/regenerate", operation_id = "regenerate_run", tag = "runs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = RunSummaryShape)))]
pub async fn regenerate(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let parent = runnable(&app, &caller, &id).await?;
    let command = command_id(&headers)?;
    if let Some(run) = repeated(&app, caller.principal.id, command).await? {
        return accepted(run, is_child(parent.id, RunOrigin::Regenerate));
    }
    let (runs, by) = (app.runs.clone(), caller.person());
    let work = async move { runs.regenerate(parent.prompt, parent.id, command, by).await };
    let run = app.runs.once(caller.principal.id, command, work).await?;
    accepted(run, is_child(parent.id, RunOrigin::Regenerate))
}

/// A run that goes on where this one's text ends, where the model is known to accept that.
#[utoipa::path(post, path = "/api/v1/runs/{id}/continue", operation_id = "continue_run", tag = "runs",
    params(("id" = Uuid, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = RunSummaryShape)))]
pub async fn go_on(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let parent = runnable(&app, &caller, &id).await?;
    let command = command_id(&headers)?;
    if let Some(run) = repeated(&app, caller.principal.id, command).await? {
        return accepted(run, is_child(parent.id, RunOrigin::Continue));
    }
    let (runs, by) = (app.runs.clone(), caller.person());
    let work = async move { runs.continue_from(parent.prompt, parent.id, command, by).await };
    let run = app.runs.once(caller.principal.id, command, work).await?;
    accepted(run, is_child(parent.id, RunOrigin::Continue))
}

/// A run and the caller's rights in its prompt; one that they may not see is as if it did not exist.
pub(super) async fn visible_run(
    app: &App,
    caller: &Caller,
    id: &str,
) -> Result<(RunSummary, Rights), Refusal> {
    let (run, rights) = run_seen(app, caller, id).await?;
    visible(app, &caller.principal, &run.prompt.to_string()).await?;
    Ok((run, rights))
}

/// As `visible_run`, but those of deleted prompts too.
async fn run_seen(app: &App, caller: &Caller, id: &str) -> Result<(RunSummary, Rights), Refusal> {
    let id: RunId = id.parse().map_err(|_| Refusal::RunNotFound)?;
    let run = app.store.run(id).await.map_err(unavailable)?.ok_or(Refusal::RunNotFound)?;
    match seen(app, &caller.principal, &run.prompt.to_string()).await {
        Ok((_prompt, rights)) => Ok((run, rights)),
        Err(Refusal::PromptNotFound) => Err(Refusal::RunNotFound),
        Err(refusal) => Err(refusal),
    }
}

async fn runnable(app: &App, caller: &Caller, id: &str) -> Result<RunSummary, Refusal> {
    let (run, rights) = visible_run(app, caller, id).await?;
    may_run(rights)?;
    Ok(run)
}

fn may_run(rights: Rights) -> Result<(), Refusal> {
    if rights.run { Ok(()) } else { Err(Refusal::Forbidden { what: "run prompts" }) }
}

async fn repeated(app: &App, by: MemberId, command: CommandId) -> Result<Option<RunSummary>, Refusal> {
    app.store.run_by_command(by, command).await.map_err(unavailable)
}

fn is_child(parent: RunId, origin: RunOrigin) -> impl Fn(&RunSummary) -> bool {
    move |run| run.parent == Some(parent) && run.origin == origin
}

/// The run that the key stands for, if it is the one that was asked for.
fn accepted(run: RunSummary, is_it: impl Fn(&RunSummary) -> bool) -> Result<Response, Refusal> {
    if !is_it(&run) {
        return Err(Refusal::IdempotencyConflict);
    }
    let location =
        HeaderValue::from_str(&format!("/api/v1/runs/{}", run.id)).map_err(|_| Refusal::Internal)?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], axum::Json(run)).into_response())
}

/// The key as a command's id: a UUID stands for itself, any other text for its hash.
fn command_id(headers: &HeaderMap) -> Result<CommandId, Refusal> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(CommandId(Uuid::new_v4())) };
    let key = key.to_str().unwrap_or_default().trim();
    if key.is_empty() || key.len() > KEY_CHARS_MAX {
        return Err(bad(format!("An Idempotency-Key has 1 to {KEY_CHARS_MAX} characters.")));
    }
    if let Ok(id) = Uuid::parse_str(key) {
        return Ok(CommandId(id));
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(key)[..16]);
    Ok(CommandId(uuid::Builder::from_custom_bytes(bytes).into_uuid()))
}

/// The output so far, or the whole of it.
async fn blocks(app: &App, prompt: PromptId, run: RunId) -> Result<Vec<Block>, Refusal> {
    let mut blocks = Vec::new();
    for record in app.runs.output(prompt, run).await? {
        add(&mut blocks, record.block, record.kind, &record.bytes);
    }
    Ok(blocks)
}

fn add(blocks: &mut Vec<Block>, block: u32, kind: BlockKind, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match blocks.last_mut().filter(|last| last.block == block && last.kind == kind) {
        Some(last) => last.text.push_str(&text),
        None => blocks.push(Block { block, kind, text: text.into_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_key(key: &str) -> Result<CommandId, Refusal> {
        command_id(
            &[(header::HeaderName::from_static("idempotency-key"), key.parse().expect("a value"))]
                .into_iter()
                .collect(),
        )
    }

    #[test]
    fn a_key_names_the_same_command_every_time() {
        let id = "0190a5b2-6f5e-7c3a-9d1e-0123456789ab";
        assert_eq!(with_key(id).map(|command| command.to_string()), Ok(id.to_owned()));
        assert_eq!(with_key("nightly-1"), with_key(" nightly-1 "));
        assert_ne!(with_key("nightly-1"), with_key("nightly-2"));
    }

    #[test]
    fn without_a_key_every_request_is_a_command_of_its_own() {
        assert_ne!(command_id(&HeaderMap::new()), command_id(&HeaderMap::new()));
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        assert!(with_key("").is_err() && with_key(&"x".repeat(129)).is_err());
    }
}
