//! How principals come in: sign-in links, invites, sessions and tokens, all kept as hashes.

use super::column::{Columns, int};
use super::database::{Row, Transaction};
use super::people;
use super::query::{Statement, Value, query};
use super::{NewPrincipal, Principal, PrincipalKind, Result, SecretHash, Store, StoreError, WorkspaceId};
use parking_lot::Mutex;
use promptroom_protocol::{MemberId, Role};
use std::collections::HashMap;
use uuid::Uuid;

/// A session that nobody used for this long has ended.
const SESSION_IDLE_MS_MAX: u64 = 90 * 24 * 60 * 60 * 1_000;
/// "Last seen" is this coarse.
const SEEN_STEP_MS: u64 = 60 * 1_000;
/// Sightings that wait to be written; one that finds no room is forgotten.
const SEEN_WAITING_MAX: usize = 10_000;
/// Sightings written by one statement, so that nobody waits long behind them.
const SEEN_AT_ONCE: usize = 1_000;
const SESSIONS_AT_ONCE: usize = 10_000;
const SELECT_LIVE_SESSIONS: &str = "SELECT sessions.hash FROM sessions
    JOIN principals ON principals.id = sessions.principal_id
    WHERE removed_at_ms IS NULL AND sessions.last_seen_at_ms >= ";
const FIRST_OWNER_NAME: &str = "Owner";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFor {
    Principal(MemberId),
    /// The oldest owner; made on first use if the workspace has none.
    Owner,
}

/// A link by which anybody who has it may become a member, until it expires or is removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    pub id: Uuid,
    pub role: Role,
    pub by: MemberId,
    pub created_at_ms: u64,
    pub expires_at_ms: u64,
}

#[derive(Clone, Debug)]
pub struct NewInvite {
    pub id: Uuid,
    pub hash: SecretHash,
    pub role: Role,
    pub by: MemberId,
    pub now_ms: u64,
    pub expires_at_ms: u64,
}

statements! {
    BY_TOKEN = "SELECT id, kind, name, role, created_at_ms, last_seen_at_ms FROM principals
        WHERE token_hash = $1 AND removed_at_ms IS NULL";
    BY_SESSION = "SELECT principals.id, kind, name, role, principals.created_at_ms, principals.last_seen_at_ms,
        sessions.last_seen_at_ms AS session_seen_at_ms
        FROM sessions JOIN principals ON principals.id = sessions.principal_id
        WHERE sessions.hash = $1 AND sessions.last_seen_at_ms >= $2 AND removed_at_ms IS NULL";
    ADD_SESSION = "INSERT INTO sessions (hash, workspace_id, principal_id, created_at_ms, last_seen_at_ms)
        VALUES ($1, $2, $3, $4, $4)";
    REMOVE_SESSION = "DELETE FROM sessions WHERE hash = $1";
    REMOVE_IDLE_SESSIONS = "DELETE FROM sessions WHERE last_seen_at_ms < $1";
    ADD_LINK = "INSERT INTO sign_in_links (hash, workspace_id, principal_id, expires_at_ms) VALUES ($1, $2, $3, $4)";
    TAKE_LINK = "DELETE FROM sign_in_links WHERE hash = $1 RETURNING principal_id, expires_at_ms";
    OLDEST_OWNER = "SELECT id, kind, name, role, created_at_ms, last_seen_at_ms FROM principals
        WHERE workspace_id = $1 AND kind = 'person' AND role = 'owner' AND removed_at_ms IS NULL
        ORDER BY created_at_ms, id LIMIT 1";
    ADD_INVITE = "INSERT INTO invites (id, workspace_id, hash, role, created_by, created_at_ms, expires_at_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id, role, created_by, created_at_ms, expires_at_ms";
    INVITES = "SELECT id, role, created_by, created_at_ms, expires_at_ms FROM invites
        WHERE workspace_id = $1 AND expires_at_ms > $2 ORDER BY created_at_ms DESC, id LIMIT 1000";
    INVITE_BY_HASH = "SELECT id, role, created_by, created_at_ms, expires_at_ms FROM invites
        WHERE hash = $1 AND expires_at_ms > $2";
    REMOVE_INVITE = "DELETE FROM invites WHERE id = $1";
    REMOVE_OLD_INVITES = "DELETE FROM invites WHERE expires_at_ms <= $1";
}

/// Who was seen since it was last written down: a request must never wait for the write lock to say so.
#[derive(Default)]
pub(super) struct Seen {
    waiting: Mutex<HashMap<Whom, u64>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Whom {
    Principal(MemberId),
    Session(SecretHash),
}

impl Seen {
    fn note(&self, whom: Whom, written_at_ms: Option<u64>, now_ms: u64) {
        if written_at_ms.is_some_and(|at| now_ms < at + SEEN_STEP_MS) {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.len() < SEEN_WAITING_MAX || waiting.contains_key(&whom) {
            waiting.insert(whom, now_ms);
        }
    }

    fn take(&self) -> HashMap<Whom, u64> {
        std::mem::take(&mut *self.waiting.lock())
    }
}

impl Store {
    pub async fn principal_by_token(&self, hash: SecretHash, now_ms: u64) -> Result<Option<Principal>> {
        let mut connection = self.db.read_once().await?;
        let row = query(BY_TOKEN).bind(hash.0.to_vec()).fetch_optional(&mut connection).await?;
        let Some(principal) = row.as_ref().map(people::read).transpose()? else { return Ok(None) };
        self.seen.note(Whom::Principal(principal.id), principal.last_seen_at_ms, now_ms);
        Ok(Some(principal))
    }

    /// Reads only: when somebody was last seen is noted in memory, for `write_last_seen`.
    pub async fn principal_by_session(&self, hash: SecretHash, now_ms: u64) -> Result<Option<Principal>> {
        let mut connection = self.db.read_once().await?;
        let row = query(BY_SESSION)
            .bind(hash.0.to_vec())
            .bind(int(now_ms.saturating_sub(SESSION_IDLE_MS_MAX)))
            .fetch_optional(&mut connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let principal = people::read(&row)?;
        self.seen.note(Whom::Principal(principal.id), principal.last_seen_at_ms, now_ms);
        self.seen.note(Whom::Session(hash), row.maybe_number("session_seen_at_ms")?, now_ms);
        Ok(Some(principal))
    }

    /// Writes down who was seen since the last call; what a failed call loses is only a time.
    pub async fn write_last_seen(&self) -> Result<()> {
        let seen = self.seen.take();
        if seen.is_empty() {
            return Ok(());
        }
        let mut principals: Vec<(Value<'static>, u64)> = Vec::new();
        let mut sessions: Vec<(Value<'static>, u64)> = Vec::new();
        for (whom, at_ms) in seen {
            match whom {
                Whom::Principal(id) => principals.push((id.0.into(), at_ms)),
                Whom::Session(hash) => sessions.push((hash.0.to_vec().into(), at_ms)),
            }
        }
        self.write_seen(principals, "principals", "id").await?;
        self.write_seen(sessions, "sessions", "hash").await
    }

    async fn write_seen(&self, seen: Vec<(Value<'static>, u64)>, table: &str, key: &str) -> Result<()> {
        for seen in seen.chunks(SEEN_AT_ONCE) {
            let mut update = Statement::new(self.db.dialect(), "WITH batch (who, at_ms) AS (");
            update.push_values(seen, |values, (who, at_ms)| {
                values.push_bind(who.clone()).push_bind(int(*at_ms));
            });
            update.push(&format!(
                ") UPDATE {table} SET last_seen_at_ms = batch.at_ms FROM batch WHERE {table}.{key} = batch.who"
            ));
            let mut transaction = self.db.write().await?;
            update.build().persistent(false).execute(&mut transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Those of the sessions that still let somebody in.
    pub async fn sessions_that_live(&self, hashes: &[SecretHash], now_ms: u64) -> Result<Vec<SecretHash>> {
        let mut live = Vec::with_capacity(hashes.len());
        for hashes in hashes.chunks(SESSIONS_AT_ONCE) {
            let mut select = Statement::new(self.db.dialect(), SELECT_LIVE_SESSIONS);
            select.push_bind(int(now_ms.saturating_sub(SESSION_IDLE_MS_MAX))).push(" AND sessions.hash");
            select.push_in(hashes.iter().map(|hash| &hash.0[..]));
            let mut connection = self.db.read_once().await?;
            for row in select.build().persistent(false).fetch_all(&mut connection).await? {
                let hash = row.bytes("hash")?;
                let hash =
                    hash[..].try_into().map_err(|_| StoreError::Corrupt("a session's hash".to_owned()))?;
                live.push(SecretHash(hash));
            }
        }
        Ok(live)
    }

    /// Moves the rights epoch, so that its sockets on other nodes are looked at again.
    pub async fn remove_session(&self, hash: SecretHash) -> Result<()> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        // In the order in which a removed member's sessions go, or the two would wait for each other.
        people::hold_rights(&mut transaction, workspace).await?;
        if query(REMOVE_SESSION).bind(hash.0.to_vec()).execute(&mut transaction).await? > 0 {
            people::move_rights_epoch(&mut transaction, workspace).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    pub async fn add_sign_in_link(&self, hash: SecretHash, who: LinkFor, expires_at_ms: u64) -> Result<()> {
        let workspace = self.workspace_id().await?;
        let principal = match who {
            LinkFor::Principal(id) => Some(id.0),
            LinkFor::Owner => None,
        };
        let mut transaction = self.db.write().await?;
        query(ADD_LINK)
            .bind(hash.0.to_vec())
            .bind(workspace.0)
            .bind(principal)
            .bind(int(expires_at_ms))
            .execute(&mut transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Opens a session by a link, once; `None` if the link is unknown, used, expired, or its principal was removed.
    pub async fn use_sign_in_link(
        &self,
        link: SecretHash,
        session: SecretHash,
        now_ms: u64,
    ) -> Result<Option<Principal>> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        let taken = query(TAKE_LINK).bind(link.0.to_vec()).fetch_optional(&mut transaction).await?;
        let Some(taken) = taken else { return Ok(None) };
        if taken.number::<u64>("expires_at_ms")? <= now_ms {
            transaction.commit().await?;
            return Ok(None);
        }
        let principal = match taken.maybe_uuid("principal_id")? {
            Some(id) => people::find(&mut transaction, MemberId(id)).await?,
            None => Some(oldest_owner(&mut transaction, workspace, now_ms).await?),
        };
        if let Some(principal) = &principal {
            open_session(&mut transaction, workspace, session, principal.id, now_ms).await?;
        }
        transaction.commit().await?;
        Ok(principal)
    }

    pub async fn add_invite(&self, new: &NewInvite) -> Result<Invite> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        query(REMOVE_OLD_INVITES).bind(int(new.now_ms)).execute(&mut transaction).await?;
        let row = query(ADD_INVITE)
            .bind(new.id)
            .bind(workspace.0)
            .bind(new.hash.0.to_vec())
            .bind(new.role.name())
            .bind(new.by.0)
            .bind(int(new.now_ms))
            .bind(int(new.expires_at_ms))
            .fetch_one(&mut transaction)
            .await?;
        transaction.commit().await?;
        read_invite(&row)
    }

    /// Those that still let somebody in, newest first, at most 1,000.
    pub async fn invites(&self, now_ms: u64) -> Result<Vec<Invite>> {
        let workspace = self.workspace_id().await?;
        let mut connection = self.db.read_once().await?;
        let rows = query(INVITES).bind(workspace.0).bind(int(now_ms)).fetch_all(&mut connection).await?;
        rows.iter().map(read_invite).collect()
    }

    /// Whether there was one.
    pub async fn remove_invite(&self, id: Uuid) -> Result<bool> {
        let mut transaction = self.db.write().await?;
        let removed = query(REMOVE_INVITE).bind(id).execute(&mut transaction).await?;
        transaction.commit().await?;
        Ok(removed > 0)
    }

    /// Makes a new person with a session; `None` if the invite is unknown, removed or expired.
    pub async fn use_invite(
        &self,
        invite: SecretHash,
        name: &str,
        session: SecretHash,
        now_ms: u64,
    ) -> Result<Option<Principal>> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        let row = query(INVITE_BY_HASH)
            .bind(invite.0.to_vec())
            .bind(int(now_ms))
            .hold_rows(transaction.dialect())
            .fetch_optional(&mut transaction)
            .await?;
        let Some(invite) = row.as_ref().map(read_invite).transpose()? else { return Ok(None) };
        let person = new_person(name, invite.role, now_ms);
        let principal = people::insert(&mut transaction, workspace, &person).await?;
        open_session(&mut transaction, workspace, session, principal.id, now_ms).await?;
        transaction.commit().await?;
        Ok(Some(principal))
    }
}

async fn oldest_owner(
    connection: &mut Transaction,
    workspace: WorkspaceId,
    now_ms: u64,
) -> Result<Principal> {
    people::hold_rights(connection, workspace).await?;
    let row = query(OLDEST_OWNER).bind(workspace.0).fetch_optional(&mut *connection).await?;
    match row {
        Some(row) => people::read(&row),
        None => {
            people::insert(connection, workspace, &new_person(FIRST_OWNER_NAME, Role::Owner, now_ms)).await
        }
    }
}

async fn open_session(
    connection: &mut Transaction,
    workspace: WorkspaceId,
    session: SecretHash,
    principal: MemberId,
    now_ms: u64,
) -> Result<()> {
    query(REMOVE_IDLE_SESSIONS)
        .bind(int(now_ms.saturating_sub(SESSION_IDLE_MS_MAX)))
        .execute(&mut *connection)
        .await?;
    query(ADD_SESSION)
        .bind(session.0.to_vec())
        .bind(workspace.0)
        .bind(principal.0)
        .bind(int(now_ms))
        .execute(connection)
        .await?;
    Ok(())
}

fn new_person(name: &str, role: Role, now_ms: u64) -> NewPrincipal {
    let id = MemberId(Uuid::new_v4());
    NewPrincipal { id, kind: PrincipalKind::Person, name: name.to_owned(), role, token: None, now_ms }
}

fn read_invite(row: &Row) -> Result<Invite> {
    Ok(Invite {
        id: row.uuid("id")?,
        role: row.word("role")?,
        by: MemberId(row.uuid("created_by")?),
        created_at_ms: row.number("created_at_ms")?,
        expires_at_ms: row.number("expires_at_ms")?,
    })
}
