//! How principals come in: sign-in links, invites, sessions and tokens, all kept as hashes.

use super::column::{Columns, int};
use super::database::{Row, Transaction};
use super::people;
use super::query::{Query, Statement, query};
use super::seen::Whom;
use super::{NewPrincipal, Principal, PrincipalKind, Result, SecretHash, Store, StoreError, WorkspaceId};
use promptroom_protocol::{MemberId, Role};
use uuid::Uuid;

/// A session that nobody used for this long has ended.
const SESSION_IDLE_MS_MAX: u64 = 90 * 24 * 60 * 60 * 1_000;
const SESSIONS_AT_ONCE: usize = 10_000;
/// Idle sessions deleted in one transaction: nobody waits long behind it.
const IDLE_AT_ONCE: u64 = 1_000;
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
    REMOVE_IDLE_SESSIONS = "DELETE FROM sessions WHERE hash IN
        (SELECT hash FROM sessions WHERE last_seen_at_ms < $1 ORDER BY hash LIMIT $2)";
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
        let Some(row) = by_session(hash, now_ms).fetch_optional(&mut connection).await? else {
            return Ok(None);
        };
        let principal = people::read(&row)?;
        self.seen.note(Whom::Principal(principal.id), principal.last_seen_at_ms, now_ms);
        self.seen.note(Whom::Session(hash), row.maybe_number("session_seen_at_ms")?, now_ms);
        Ok(Some(principal))
    }

    /// Deletes sessions that have ended because nobody used them; how many. They let nobody in before, either.
    pub async fn remove_idle_sessions(&self, now_ms: u64) -> Result<u64> {
        let mut removed = 0;
        loop {
            let mut transaction = self.db.write().await?;
            let some = query(REMOVE_IDLE_SESSIONS)
                .bind(int(now_ms.saturating_sub(SESSION_IDLE_MS_MAX)))
                .bind(int(IDLE_AT_ONCE))
                .execute(&mut transaction)
                .await?;
            transaction.commit().await?;
            removed += some;
            if some < IDLE_AT_ONCE {
                return Ok(removed);
            }
        }
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
    /// Repeating it with the same session finds that one.
    pub async fn use_sign_in_link(
        &self,
        link: SecretHash,
        session: SecretHash,
        now_ms: u64,
    ) -> Result<Option<Principal>> {
        Store::repeated(|| self.try_link(link, session, now_ms)).await
    }

    async fn try_link(
        &self,
        link: SecretHash,
        session: SecretHash,
        now_ms: u64,
    ) -> Result<Option<Principal>> {
        let workspace = self.workspace_id().await?;
        let mut transaction = self.db.write().await?;
        let taken = query(TAKE_LINK).bind(link.0.to_vec()).fetch_optional(&mut transaction).await?;
        let Some(taken) = taken else { return holder_of(&mut transaction, session, now_ms).await };
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

    /// Makes a new person with a session; `None` if the invite is unknown, removed or expired. Repeating it with the same
    /// session finds that person.
    pub async fn use_invite(
        &self,
        invite: SecretHash,
        name: &str,
        session: SecretHash,
        now_ms: u64,
    ) -> Result<Option<Principal>> {
        Store::repeated(|| self.try_invite(invite, name, session, now_ms)).await
    }

    async fn try_invite(
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
        if let Some(principal) = holder_of(&mut transaction, session, now_ms).await? {
            return Ok(Some(principal));
        }
        let Some(invite) = row.as_ref().map(read_invite).transpose()? else { return Ok(None) };
        let person = new_person(name, invite.role, now_ms);
        let principal = people::insert(&mut transaction, workspace, &person).await?;
        open_session(&mut transaction, workspace, session, principal.id, now_ms).await?;
        transaction.commit().await?;
        Ok(Some(principal))
    }
}

/// Whose session it is: one that an earlier call opened, though it was thought to have failed.
async fn holder_of(
    connection: &mut Transaction,
    session: SecretHash,
    now_ms: u64,
) -> Result<Option<Principal>> {
    let row = by_session(session, now_ms).fetch_optional(connection).await?;
    row.as_ref().map(people::read).transpose()
}

fn by_session<'q>(session: SecretHash, now_ms: u64) -> Query<'q> {
    query(BY_SESSION).bind(session.0.to_vec()).bind(int(now_ms.saturating_sub(SESSION_IDLE_MS_MAX)))
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
