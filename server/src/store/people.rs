//! The workspace and who is in it, with which role.

use super::column::{Columns, int, word};
use super::database::{Row, Transaction};
use super::query::{Dialect, Statement, query};
use super::{Result, SecretHash, Store, StoreError, WorkspaceId};
use promptroom_protocol::{MemberId, Role};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub name: String,
    /// Moves with every change of who may do what.
    pub rights_epoch: u64,
}

/// Whoever can act: a person, a program with a token, or the visitor of a shared link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub id: MemberId,
    pub kind: PrincipalKind,
    pub name: String,
    pub role: Role,
    pub created_at_ms: u64,
    pub last_seen_at_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    Person,
    Token,
    Link,
}

#[derive(Clone, Debug)]
pub struct NewPrincipal {
    pub id: MemberId,
    pub kind: PrincipalKind,
    pub name: String,
    pub role: Role,
    pub token: Option<SecretHash>,
    pub now_ms: u64,
}

/// What came of changing or removing a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsOutcome {
    /// `rights_epoch` is the one from which the change holds.
    Changed { rights_epoch: u64 },
    /// Nothing was changed: a workspace without an owner could never be managed again.
    LastOwner,
    /// There is no such principal, or it was removed before.
    Gone,
}

statements! {
    MAKE_WORKSPACE = "INSERT INTO workspaces (id, name) VALUES ($1, $2)";
    WORKSPACE_ID = "SELECT id FROM workspaces ORDER BY id LIMIT 1";
    WORKSPACE = "SELECT name, rights_epoch FROM workspaces WHERE id = $1";
    HOLD_WORKSPACE = "SELECT id FROM workspaces WHERE id = $1";
    MOVE_RIGHTS_EPOCH = "UPDATE workspaces SET rights_epoch = rights_epoch + 1 WHERE id = $1 RETURNING rights_epoch";
    ADD = "INSERT INTO principals (id, workspace_id, kind, name, role, token_hash, created_at_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        RETURNING id, kind, name, role, created_at_ms, last_seen_at_ms";
    FIND = "SELECT id, kind, name, role, created_at_ms, last_seen_at_ms FROM principals
        WHERE id = $1 AND removed_at_ms IS NULL";
    ALL = "SELECT id, kind, name, role, created_at_ms, last_seen_at_ms FROM principals
        WHERE workspace_id = $1 AND removed_at_ms IS NULL ORDER BY created_at_ms, id LIMIT 1000";
    RENAME = "UPDATE principals SET name = $2 WHERE id = $1 AND removed_at_ms IS NULL";
    SET_ROLE = "UPDATE principals SET role = $2 WHERE id = $1 AND removed_at_ms IS NULL";
    REMOVE = "UPDATE principals SET removed_at_ms = $2, token_hash = NULL WHERE id = $1";
    HOLD_SESSIONS = "SELECT hash FROM sessions WHERE principal_id = $1 ORDER BY hash";
    REMOVE_SESSIONS = "DELETE FROM sessions WHERE principal_id = $1";
    REMOVE_LINKS = "DELETE FROM sign_in_links WHERE principal_id = $1";
    REMOVE_INVITES = "DELETE FROM invites WHERE created_by = $1";
    OTHER_OWNERS = "SELECT COUNT(*) AS owners FROM principals AS other
        JOIN principals AS me ON me.workspace_id = other.workspace_id
        WHERE me.id = $1 AND other.id <> me.id AND other.kind = 'person' AND other.role = 'owner'
        AND other.removed_at_ms IS NULL";
}

const SELECT_SOME: &str = "SELECT id, kind, name, role, created_at_ms, last_seen_at_ms FROM principals
    WHERE removed_at_ms IS NULL AND id";
const IDS_AT_ONCE: usize = 10_000;

/// Two nodes that start at the same time make one workspace.
const LOCK_WORKSPACES: &str = "LOCK TABLE workspaces IN SHARE ROW EXCLUSIVE MODE";

/// What a workspace is called until somebody renames it.
const FIRST_NAME: &str = "Workspace";

impl Store {
    pub async fn workspace(&self) -> Result<Workspace> {
        let id = self.workspace_id().await?;
        let mut connection = self.db.read_once().await?;
        let row = query(WORKSPACE).bind(id.0).fetch_one(&mut connection).await?;
        Ok(Workspace { id, name: row.text("name")?, rights_epoch: row.number("rights_epoch")? })
    }

    pub async fn add_principal(&self, new: &NewPrincipal) -> Result<Principal> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        let principal = insert(&mut transaction, workspace, new).await?;
        transaction.commit().await?;
        Ok(principal)
    }

    /// `None` if there is none, or it was removed.
    pub async fn principal(&self, id: MemberId) -> Result<Option<Principal>> {
        find(&mut self.db.read_once().await?, id).await
    }

    /// All that were not removed, oldest first, at most 1,000.
    pub async fn principals(&self) -> Result<Vec<Principal>> {
        let workspace = self.workspace_id().await?;
        let mut connection = self.db.read_once().await?;
        let rows = query(ALL).bind(workspace.0).fetch_all(&mut connection).await?;
        rows.iter().map(read).collect()
    }

    /// Those of `ids` that were not removed.
    pub async fn principals_of(&self, ids: &[MemberId]) -> Result<Vec<Principal>> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_AT_ONCE) {
            let mut query = Statement::new(self.db.dialect(), SELECT_SOME);
            query.push_in(ids.iter().map(|id| id.0));
            let mut connection = self.db.read_once().await?;
            for row in query.build().persistent(false).fetch_all(&mut connection).await? {
                found.push(read(&row)?);
            }
        }
        Ok(found)
    }

    pub async fn rename_principal(&self, id: MemberId, name: &str) -> Result<Option<Principal>> {
        let mut transaction = self.db.write().await?;
        query(RENAME).bind(id.0).bind(name).execute(&mut transaction).await?;
        let principal = find(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(principal)
    }

    pub async fn set_role(&self, id: MemberId, role: Role) -> Result<RightsOutcome> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        hold_rights(&mut transaction, workspace).await?;
        let Some(principal) = find(&mut transaction, id).await? else { return Ok(RightsOutcome::Gone) };
        if role < Role::Owner && is_last_owner(&mut transaction, &principal).await? {
            return Ok(RightsOutcome::LastOwner);
        }
        query(SET_ROLE).bind(id.0).bind(role.name()).execute(&mut transaction).await?;
        let rights_epoch = move_rights_epoch(&mut transaction, workspace).await?;
        transaction.commit().await?;
        Ok(RightsOutcome::Changed { rights_epoch })
    }

    /// Its sessions, links and token die with it; its name stays on what it made.
    pub async fn remove_principal(&self, id: MemberId, now_ms: u64) -> Result<RightsOutcome> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        hold_rights(&mut transaction, workspace).await?;
        let Some(principal) = find(&mut transaction, id).await? else { return Ok(RightsOutcome::Gone) };
        if is_last_owner(&mut transaction, &principal).await? {
            return Ok(RightsOutcome::LastOwner);
        }
        query(REMOVE).bind(id.0).bind(int(now_ms)).execute(&mut transaction).await?;
        // In the order in which they are held while it is written who was seen.
        transaction.hold(HOLD_SESSIONS, id.0).await?;
        query(REMOVE_SESSIONS).bind(id.0).execute(&mut transaction).await?;
        query(REMOVE_LINKS).bind(id.0).execute(&mut transaction).await?;
        query(REMOVE_INVITES).bind(id.0).execute(&mut transaction).await?;
        let rights_epoch = move_rights_epoch(&mut transaction, workspace).await?;
        transaction.commit().await?;
        Ok(RightsOutcome::Changed { rights_epoch })
    }

    pub(super) async fn ensure_workspace(&self) -> Result<()> {
        let mut transaction = self.db.write().await?;
        if transaction.dialect() == Dialect::Postgres {
            query(LOCK_WORKSPACES).execute(&mut transaction).await?;
        }
        if query(WORKSPACE_ID).fetch_optional(&mut transaction).await?.is_none() {
            query(MAKE_WORKSPACE).bind(Uuid::new_v4()).bind(FIRST_NAME).execute(&mut transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    pub(super) async fn workspace_id(&self) -> Result<WorkspaceId> {
        let id = self.workspace.get_or_try_init(async || {
            let mut connection = self.db.read_once().await?;
            let row = query(WORKSPACE_ID).fetch_one(&mut connection).await?;
            Ok::<_, StoreError>(WorkspaceId(row.uuid("id")?))
        });
        Ok(*id.await?)
    }
}

pub(super) async fn insert(
    connection: &mut Transaction,
    workspace: WorkspaceId,
    new: &NewPrincipal,
) -> Result<Principal> {
    let row = query(ADD)
        .bind(new.id.0)
        .bind(workspace.0)
        .bind(word(&new.kind))
        .bind(&new.name)
        .bind(new.role.name())
        .bind(new.token.map(|hash| hash.0.to_vec()))
        .bind(int(new.now_ms))
        .fetch_one(connection)
        .await?;
    read(&row)
}

pub(super) async fn find(connection: &mut Transaction, id: MemberId) -> Result<Option<Principal>> {
    query(FIND).bind(id.0).fetch_optional(connection).await?.as_ref().map(read).transpose()
}

pub(super) fn read(row: &Row) -> Result<Principal> {
    Ok(Principal {
        id: MemberId(row.uuid("id")?),
        kind: row.word("kind")?,
        name: row.text("name")?,
        role: row.word("role")?,
        created_at_ms: row.number("created_at_ms")?,
        last_seen_at_ms: row.maybe_number("last_seen_at_ms")?,
    })
}

/// Nobody else changes who may do what until the transaction ends.
pub(super) async fn hold_rights(connection: &mut Transaction, workspace: WorkspaceId) -> Result<()> {
    connection.hold(HOLD_WORKSPACE, workspace.0).await
}

pub(super) async fn move_rights_epoch(connection: &mut Transaction, workspace: WorkspaceId) -> Result<u64> {
    query(MOVE_RIGHTS_EPOCH).bind(workspace.0).fetch_one(connection).await?.number("rights_epoch")
}

/// A token cannot sign in, so it does not count as somebody who manages the workspace.
async fn is_last_owner(connection: &mut Transaction, principal: &Principal) -> Result<bool> {
    if principal.role != Role::Owner || principal.kind != PrincipalKind::Person {
        return Ok(false);
    }
    let row = query(OTHER_OWNERS).bind(principal.id.0).fetch_one(connection).await?;
    Ok(row.number::<u64>("owners")? == 0)
}
