//! When somebody was last seen: noted in memory at each request, written down now and then.

use super::column::int;
use super::query::{Statement, Value};
use super::{Result, SecretHash, Store};
use parking_lot::Mutex;
use promptroom_protocol::MemberId;
use std::collections::HashMap;

/// "Last seen" is this coarse.
const SEEN_STEP_MS: u64 = 60 * 1_000;
/// Sightings that wait to be written; one that finds no room is forgotten.
const SEEN_WAITING_MAX: usize = 10_000;
/// Sightings written by one statement, so that nobody waits long behind them.
const SEEN_AT_ONCE: usize = 1_000;

/// Who was seen since it was last written down: a request must never wait for the write lock to say so.
#[derive(Default)]
pub(super) struct Seen {
    waiting: Mutex<HashMap<Whom, u64>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Whom {
    Principal(MemberId),
    Session(SecretHash),
}

impl Seen {
    pub(super) fn note(&self, whom: Whom, written_at_ms: Option<u64>, now_ms: u64) {
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
            transaction.hold_all(table, key, seen.iter().map(|(who, _)| who.clone())).await?;
            update.build().persistent(false).execute(&mut transaction).await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}
