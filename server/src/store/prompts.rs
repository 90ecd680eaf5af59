//! Prompts as the library knows them: slug, owner, visibility, and whether they are deleted.

use super::column::{Columns, int, len, word};
use super::database::{Row, Transaction};
use super::query::{Statement, query};
use super::{Result, Store, WorkspaceId, people, summary};
use crate::domain::rights::Visibility;
use bytes::Bytes;
use promptroom_protocol::{LineageId, MemberId, PromptId, RunSummary, Seq};
use std::collections::HashMap;
use uuid::Uuid;

#[derive(Clone, Debug)]
pub struct NewPrompt {
    pub id: PromptId,
    pub lineage: LineageId,
    pub slug: String,
    pub owner: MemberId,
    pub visibility: Visibility,
    pub title: String,
    /// The document's first state.
    pub first_row: Bytes,
    pub now_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    Created(PromptRow),
    SlugTaken,
    /// Taken by a prompt that was deleted: never a second history under the same name.
    SlugDeleted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptRow {
    pub id: PromptId,
    pub slug: String,
    /// A copy of the document's own title, as of the newest commit.
    pub title: String,
    pub visibility: Visibility,
    pub owner: Owner,
    pub lineage: LineageId,
    pub head: Seq,
    pub revision: u64,
    pub created_at_ms: u64,
    /// When the document last changed.
    pub updated_at_ms: u64,
    pub deleted_at_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub id: MemberId,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LibraryEntry {
    pub prompt: PromptRow,
    pub last_run: Option<RunSummary>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    Changed(PromptRow),
    SlugTaken,
    SlugDeleted,
    /// Unknown or deleted.
    Gone,
}

macro_rules! select_prompts {
    ($rest:literal) => {
        concat!(
            "SELECT prompts.id, prompts.slug, title, visibility, owner_id,
            principals.name AS owner_name, lineage, head, revision, prompts.created_at_ms, updated_at_ms,
            deleted_at_ms FROM prompts JOIN principals ON principals.id = prompts.owner_id ",
            $rest
        )
    };
}

statements! {
    SLUG_HOLDER = "SELECT prompts.id, prompts.deleted_at_ms FROM slugs JOIN prompts ON prompts.id = slugs.prompt_id
        WHERE slugs.workspace_id = $1 AND slugs.slug = $2";
    ADD = "INSERT INTO prompts (id, workspace_id, owner_id, slug, title, visibility, created_at_ms, updated_at_ms,
        lineage, head, tail_bytes) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8, 1, $9) ON CONFLICT (id) DO NOTHING";
    HOLD = "SELECT id FROM prompts WHERE id = $1";
    ADD_SLUG = "INSERT INTO slugs (workspace_id, slug, prompt_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    ADD_FIRST_ROW = "INSERT INTO room_updates (prompt_id, seq, workspace_id, bytes) VALUES ($1, 1, $2, $3)";
    FIND = select_prompts!("WHERE prompts.id = $1");
    FIND_BY_SLUG = select_prompts!("JOIN slugs ON slugs.prompt_id = prompts.id
        WHERE slugs.workspace_id = $1 AND slugs.slug = $2");
    FOR_PRINCIPAL = select_prompts!("WHERE prompts.workspace_id = $1 AND deleted_at_ms IS NULL
        AND (visibility = 'workspace' OR owner_id = $2) ORDER BY updated_at_ms DESC, prompts.id LIMIT 1000");
    SET_SLUG = "UPDATE prompts SET slug = $2, revision = revision + 1 WHERE id = $1";
    SET_VISIBILITY = "UPDATE prompts SET visibility = $2, revision = revision + 1 WHERE id = $1";
    DELETE = "UPDATE prompts SET deleted_at_ms = $2, deleted_by = $3, revision = revision + 1
        WHERE id = $1 AND deleted_at_ms IS NULL";
    RESTORE = "UPDATE prompts SET deleted_at_ms = NULL, deleted_by = NULL, revision = revision + 1
        WHERE id = $1 AND deleted_at_ms IS NOT NULL";
}

const SELECT_LAST_RUNS: &str = summary::select_runs!(
    "JOIN prompts ON prompts.id = runs.prompt_id AND prompts.runs = runs.number WHERE prompts.id"
);

const SELECT_SOME: &str = select_prompts!("WHERE prompts.id");

/// In one statement.
const PROMPTS_AT_ONCE: usize = 1_000;

impl Store {
    /// The prompt and row 1 of its document, in one transaction. Repeating it does nothing.
    pub async fn create_prompt(&self, new: &NewPrompt) -> Result<CreateOutcome> {
        Store::repeated(|| self.try_to_create(new)).await
    }

    async fn try_to_create(&self, new: &NewPrompt) -> Result<CreateOutcome> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        insert(&mut transaction, workspace, new).await?;
        match take_slug(&mut transaction, workspace, &new.slug, new.id).await? {
            Slug::Ours => {}
            Slug::Taken => return Ok(CreateOutcome::SlugTaken),
            Slug::Deleted => return Ok(CreateOutcome::SlugDeleted),
        }
        let row = query(FIND).bind(new.id.0).fetch_one(&mut transaction).await?;
        transaction.commit().await?;
        Ok(CreateOutcome::Created(read(&row)?))
    }

    /// Deleted ones too: see `deleted_at_ms`.
    pub async fn prompt(&self, id: PromptId) -> Result<Option<PromptRow>> {
        find(&mut self.db.read_once().await?, id).await
    }

    /// Those of `ids` that there are, deleted ones too.
    pub async fn prompts_of(&self, ids: &[PromptId]) -> Result<Vec<PromptRow>> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(PROMPTS_AT_ONCE) {
            let mut select = Statement::new(self.db.dialect(), SELECT_SOME);
            select.push_in(ids.iter().map(|id| id.0));
            let mut connection = self.db.read_once().await?;
            for row in select.build().persistent(false).fetch_all(&mut connection).await? {
                found.push(read(&row)?);
            }
        }
        Ok(found)
    }

    /// Former slugs of a prompt lead to it as well; deleted ones too.
    pub async fn prompt_by_slug(&self, slug: &str) -> Result<Option<PromptRow>> {
        let workspace = self.workspace_id().await?;
        let mut connection = self.db.read_once().await?;
        let row = query(FIND_BY_SLUG).bind(workspace.0).bind(slug).fetch_optional(&mut connection).await?;
        row.as_ref().map(read).transpose()
    }

    /// The principal's own and the workspace's, not deleted, newest change first, at most 1,000.
    pub async fn prompts_for(&self, principal: MemberId) -> Result<Vec<LibraryEntry>> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.read().await?;
        let rows = query(FOR_PRINCIPAL).bind(workspace.0).bind(principal.0);
        let rows = rows.fetch_all(&mut transaction).await?;
        let prompts = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        let mut last_runs = last_runs(&mut transaction, &prompts).await?;
        let entries = prompts.into_iter().map(|prompt| {
            let last_run = last_runs.remove(&prompt.id);
            LibraryEntry { prompt, last_run }
        });
        Ok(entries.collect())
    }

    /// A change of visibility moves the rights epoch.
    pub async fn change_prompt(
        &self,
        id: PromptId,
        slug: Option<&str>,
        visibility: Option<Visibility>,
    ) -> Result<ChangeOutcome> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        transaction.hold(HOLD, id.0).await?;
        let before = match find(&mut transaction, id).await? {
            Some(prompt) if prompt.deleted_at_ms.is_none() => prompt,
            _ => return Ok(ChangeOutcome::Gone),
        };
        if let Some(slug) = slug.filter(|slug| *slug != before.slug) {
            match take_slug(&mut transaction, workspace, slug, id).await? {
                Slug::Ours => {}
                Slug::Taken => return Ok(ChangeOutcome::SlugTaken),
                Slug::Deleted => return Ok(ChangeOutcome::SlugDeleted),
            }
            query(SET_SLUG).bind(id.0).bind(slug).execute(&mut transaction).await?;
        }
        if let Some(visibility) = visibility.filter(|visibility| *visibility != before.visibility) {
            query(SET_VISIBILITY).bind(id.0).bind(word(&visibility)).execute(&mut transaction).await?;
            people::move_rights_epoch(&mut transaction, workspace).await?;
        }
        let row = query(FIND).bind(id.0).fetch_one(&mut transaction).await?;
        transaction.commit().await?;
        Ok(ChangeOutcome::Changed(read(&row)?))
    }

    /// `None` if it is unknown; one that was deleted before stays as it was.
    pub async fn delete_prompt(&self, id: PromptId, by: MemberId, now_ms: u64) -> Result<Option<PromptRow>> {
        let mut transaction = self.db.write().await?;
        query(DELETE).bind(id.0).bind(int(now_ms)).bind(by.0).execute(&mut transaction).await?;
        let prompt = find(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(prompt)
    }

    /// `None` if it is unknown.
    pub async fn restore_prompt(&self, id: PromptId) -> Result<Option<PromptRow>> {
        let mut transaction = self.db.write().await?;
        query(RESTORE).bind(id.0).execute(&mut transaction).await?;
        let prompt = find(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(prompt)
    }
}

enum Slug {
    Ours,
    Taken,
    Deleted,
}

/// Makes the slug lead to the prompt, unless it leads to another one. Of two who ask at once, the second waits.
async fn take_slug(
    connection: &mut Transaction,
    workspace: WorkspaceId,
    slug: &str,
    prompt: PromptId,
) -> Result<Slug> {
    let added = query(ADD_SLUG).bind(workspace.0).bind(slug).bind(prompt.0).execute(&mut *connection).await?;
    if added > 0 {
        return Ok(Slug::Ours);
    }
    let holder = query(SLUG_HOLDER).bind(workspace.0).bind(slug).fetch_one(connection).await?;
    Ok(match holder.maybe_signed("deleted_at_ms")? {
        _ if holder.uuid("id")? == prompt.0 => Slug::Ours,
        Some(_) => Slug::Deleted,
        None => Slug::Taken,
    })
}

/// Changes nothing if it is there: the same call, repeated because it was in doubt.
async fn insert(connection: &mut Transaction, workspace: WorkspaceId, new: &NewPrompt) -> Result<()> {
    let added = query(ADD)
        .bind(new.id.0)
        .bind(workspace.0)
        .bind(new.owner.0)
        .bind(&new.slug)
        .bind(&new.title)
        .bind(word(&new.visibility))
        .bind(int(new.now_ms))
        .bind(new.lineage.0)
        .bind(int(len(&new.first_row)))
        .execute(&mut *connection)
        .await?;
    if added == 0 {
        return Ok(());
    }
    query(ADD_FIRST_ROW)
        .bind(new.id.0)
        .bind(workspace.0)
        .bind(new.first_row.as_ref())
        .execute(connection)
        .await?;
    Ok(())
}

async fn last_runs(
    connection: &mut Transaction,
    prompts: &[PromptRow],
) -> Result<HashMap<PromptId, RunSummary>> {
    let ids: Vec<Uuid> = prompts.iter().map(|prompt| prompt.id.0).collect();
    let rows = summary::fetch_in(connection, SELECT_LAST_RUNS, &ids).await?;
    let runs = summary::complete(connection, rows).await?;
    Ok(runs.into_iter().map(|run| (run.prompt, run)).collect())
}

async fn find(connection: &mut Transaction, id: PromptId) -> Result<Option<PromptRow>> {
    query(FIND).bind(id.0).fetch_optional(connection).await?.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<PromptRow> {
    Ok(PromptRow {
        id: PromptId(row.uuid("id")?),
        slug: row.text("slug")?,
        title: row.text("title")?,
        visibility: row.word("visibility")?,
        owner: Owner { id: MemberId(row.uuid("owner_id")?), name: row.text("owner_name")? },
        lineage: LineageId(row.uuid("lineage")?),
        head: Seq(row.number("head")?),
        revision: row.number("revision")?,
        created_at_ms: row.number("created_at_ms")?,
        updated_at_ms: row.number("updated_at_ms")?,
        deleted_at_ms: row.maybe_number("deleted_at_ms")?,
    })
}
