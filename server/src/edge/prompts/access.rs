//! The way to a prompt, for every route and every socket: found, visible, and made where it is missing.

use super::{NewPromptBody, slug};
use crate::domain::{
    document::{EditRefusal, first_state},
    prompt::{ContentPatch, shown_title},
    refusal::Refusal,
    rights::{Visibility, rights},
};
use crate::edge::state::App;
use crate::live::{
    clock::{new_id, now_ms, random},
    runs::unavailable,
};
use crate::store::{CreateOutcome, NewPrompt, Principal, PromptRow};
use bytes::Bytes;
use promptroom_protocol::{LineageId, PromptId, Rights, Role};
use uuid::Uuid;

/// Slugs made from a title are tried this often with another suffix.
const TRIES: u32 = 4;

/// By id, or by a slug that is or was its own; deleted ones too.
pub async fn find(app: &App, id_or_slug: &str) -> Result<PromptRow, Refusal> {
    let found = match Uuid::parse_str(id_or_slug) {
        Ok(id) => app.store.prompt(PromptId(id)).await,
        Err(_) if slug::check(id_or_slug).is_ok() => app.store.prompt_by_slug(id_or_slug).await,
        Err(_) => Ok(None),
    };
    found.map_err(unavailable)?.ok_or(Refusal::PromptNotFound)
}

/// The prompt and what the principal may do in it. One that they may not see is as if it did not exist; that it
/// was deleted is told only to those who could see it.
pub async fn visible(
    app: &App,
    principal: &Principal,
    id_or_slug: &str,
) -> Result<(PromptRow, Rights), Refusal> {
    let (row, rights) = seen(app, principal, id_or_slug).await?;
    if row.deleted_at_ms.is_some() {
        return Err(Refusal::PromptDeleted);
    }
    Ok((row, rights))
}

/// As `visible`, but deleted ones too.
pub async fn seen(
    app: &App,
    principal: &Principal,
    id_or_slug: &str,
) -> Result<(PromptRow, Rights), Refusal> {
    let row = find(app, id_or_slug).await?;
    let rights = rights_in(principal, &row).ok_or(Refusal::PromptNotFound)?;
    Ok((row, rights))
}

pub fn rights_in(principal: &Principal, row: &PromptRow) -> Option<Rights> {
    rights(principal.id, principal.role, row.owner.id, row.visibility)
}

/// Makes a prompt of the principal's own.
pub async fn create(app: &App, principal: &Principal, body: NewPromptBody) -> Result<PromptRow, Refusal> {
    if principal.role < Role::Editor {
        return Err(Refusal::Forbidden { what: "create prompts" });
    }
    let mut content = body.content.unwrap_or_default();
    content.title = body.title.or(content.title);
    let title = shown_title(content.title.as_deref().unwrap_or_default());
    if let Some(slug) = &body.slug {
        slug::check(slug)?;
    }
    let mut new = NewPrompt {
        id: PromptId(new_id()),
        lineage: LineageId(new_id()),
        slug: body.slug.clone().unwrap_or_else(|| slug::make(&title)),
        owner: principal.id,
        visibility: body.visibility.unwrap_or(Visibility::Private),
        title,
        first_row: first_row(app, content).await?,
        now_ms: now_ms(),
    };
    for _ in 0..TRIES {
        match app.store.create_prompt(&new).await.map_err(unavailable)? {
            CreateOutcome::Created(row) => return Ok(row),
            CreateOutcome::SlugTaken | CreateOutcome::SlugDeleted if body.slug.is_none() => {
                new.slug = slug::make(&new.title);
            }
            CreateOutcome::SlugTaken => return Err(Refusal::SlugTaken),
            CreateOutcome::SlugDeleted => return Err(Refusal::SlugDeleted),
        }
    }
    Err(Refusal::SlugTaken)
}

/// For `?create=1`: makes the prompt under this slug, or finds the one that somebody else made meanwhile.
///
/// It is the workspace's: tools that come with the same address mean to meet there.
pub async fn create_at(app: &App, principal: &Principal, slug: &str) -> Result<(PromptRow, Rights), Refusal> {
    let (slug, visibility) = (Some(slug.to_owned()), Some(Visibility::Workspace));
    let body = NewPromptBody { slug: slug.clone(), visibility, ..NewPromptBody::default() };
    match create(app, principal, body).await {
        Ok(row) => {
            let rights = rights_in(principal, &row).ok_or(Refusal::PromptNotFound)?;
            Ok((row, rights))
        }
        Err(Refusal::SlugTaken) => visible(app, principal, &slug.unwrap_or_default()).await,
        Err(refusal) => Err(refusal),
    }
}

/// Writing a long content takes milliseconds, which sockets must not wait for.
async fn first_row(app: &App, content: ContentPatch) -> Result<Bytes, Refusal> {
    let model = app.settings.default_model.clone();
    let limit_bytes = app.settings.limits.document_bytes as usize;
    let client_id = u64::from(random() as u32);
    let work = app.tasks.block(move || first_state(client_id, &content, &model));
    let row = match work.await.map_err(|_| Refusal::Internal)? {
        Ok(row) => row,
        Err(EditRefusal::TooLarge) => return Err(Refusal::DocumentTooLarge { limit_bytes }),
        Err(EditRefusal::Broken(_)) => return Err(Refusal::Internal),
        Err(refusal) => return Err(Refusal::BadRequest { detail: refusal.to_string() }),
    };
    if row.len() > limit_bytes {
        return Err(Refusal::DocumentTooLarge { limit_bytes });
    }
    Ok(Bytes::from(row))
}
