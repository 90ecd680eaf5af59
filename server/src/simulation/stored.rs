//! A room's document as the database has it: what anybody may be told is saved.

use super::{
    database::Database,
    replica::{Replica, Standing},
};
use parking_lot::Mutex;
use promptroom_protocol::PromptId;
use rusqlite::Connection;
use std::sync::Arc;

/// Followed row by row.
pub struct Stored {
    pub prompt: PromptId,
    database: Arc<Database>,
    followed: Mutex<(i64, Replica)>,
}

/// What has come since: rows, behind a snapshot where they do not follow on one another.
struct News {
    snapshot: Option<(i64, Vec<u8>)>,
    rows: Vec<(i64, Vec<u8>)>,
}

impl Stored {
    pub fn new(database: Arc<Database>, prompt: PromptId) -> Stored {
        Stored { prompt, database, followed: Mutex::new((0, Replica::new(1))) }
    }

    /// Nothing while somebody is in the middle of a transaction, whose rows may yet be none.
    pub fn text(&self) -> Option<String> {
        self.follow(Replica::text)
    }

    pub fn standing(&self) -> Option<Standing> {
        self.follow(Replica::standing)
    }

    fn follow<T>(&self, look: impl FnOnce(&Replica) -> T) -> Option<T> {
        let (seen, replica) = &mut *self.followed.lock();
        let news = self
            .database
            .with(|connection| connection.is_autocommit().then(|| news(connection, self.prompt, *seen)));
        let News { snapshot, rows } = news?.expect("what was stored since");
        for (seq, bytes) in snapshot.into_iter().chain(rows) {
            // One that does not fit is told of at the end.
            let _fits = replica.apply(&bytes);
            *seen = seq.max(*seen);
        }
        Some(look(replica))
    }
}

fn news(connection: &Connection, prompt: PromptId, seen: i64) -> rusqlite::Result<News> {
    let prompt = &prompt.0.as_bytes()[..];
    let sql = "SELECT seq, bytes FROM room_updates WHERE prompt_id = ?1 AND seq > ?2 ORDER BY seq";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map((prompt, seen), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(i64, Vec<u8>)> = rows.collect::<rusqlite::Result<_>>()?;
    let snapshot = match rows.first() {
        Some((first, _)) if *first > seen + 1 => {
            let sql = "SELECT seq, bytes FROM room_snapshots WHERE prompt_id = ?1 AND seq >= ?2 ORDER BY seq LIMIT 1";
            let mut statement = connection.prepare_cached(sql)?;
            Some(statement.query_row((prompt, first - 1), |row| Ok((row.get(0)?, row.get(1)?)))?)
        }
        _ => None,
    };
    Ok(News { snapshot, rows })
}
