//! Following what other nodes write: their rows as they are told of, and the store where something is missing.
//!
//! Rows are applied in the order of the database and only without a gap, so that each finds what it rests on. Those
//! of others come a moment after they are durable, ours are known when their commit returns; what is then still
//! missing is read from the store, by one task at a time.

use super::Owner;
use crate::domain::{document::ApplyError, refusal::Refusal};
use crate::live::{
    keeper::put_back,
    room::{Fetched, Room, ToRoom},
};
use crate::store::{RowsAfter, Store};
use bytes::Bytes;
use promptroom_protocol::{LineageId, Seq};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

/// A row on its way, or a commit of ours that has not returned, fills most gaps within this.
const GRACE: Duration = Duration::from_millis(20);
const FETCH_BYTES: usize = 256 << 10;
const FETCH_LIMIT: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Rows kept while those before them are missing; the store has them all.
const BEYOND_BYTES_MAX: usize = 1 << 20;
const BEYOND_ROWS_MAX: usize = 1_024;

pub(super) struct Follow {
    /// Something may have changed in what follows.
    stirred: bool,
    fetch: Fetch,
    pause: Duration,
    beyond: Beyond,
}

enum Fetch {
    Idle,
    /// Behind, and `head` was the newest row here: if it still is at that time, the store is asked.
    Due {
        at: Instant,
        head: Seq,
    },
    /// The store did not answer; it is asked again then.
    Paused {
        until: Instant,
    },
    UnderWay {
        newest: Seq,
    },
}

/// Rows of others that came before those that they follow.
#[derive(Default)]
struct Beyond {
    rows: BTreeMap<Seq, Bytes>,
    bytes: usize,
}

impl Default for Follow {
    fn default() -> Self {
        Follow { stirred: false, fetch: Fetch::Idle, pause: PAUSE_MIN, beyond: Beyond::default() }
    }
}

impl Follow {
    pub(super) fn stir(&mut self) {
        self.stirred = true;
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        match self.fetch {
            Fetch::Due { at, .. } | Fetch::Paused { until: at } => Some(at),
            Fetch::Idle | Fetch::UnderWay { .. } => None,
        }
    }

    fn has_anything_to_do(&self) -> bool {
        self.stirred || self.due_at().is_some_and(|at| Instant::now() >= at)
    }
}

impl Beyond {
    fn put(&mut self, seq: Seq, row: Bytes) {
        if self.bytes + row.len() > BEYOND_BYTES_MAX || self.rows.len() >= BEYOND_ROWS_MAX {
            return;
        }
        self.bytes += row.len();
        if let Some(doubled) = self.rows.insert(seq, row) {
            self.bytes -= doubled.len();
        }
    }

    /// The row that comes next; those that are known by now are dropped.
    fn take(&mut self, head: Seq) -> Option<Bytes> {
        while let Some(first) = self.rows.first_entry() {
            if first.key().0 > head.0 + 1 {
                return None;
            }
            let (seq, row) = first.remove_entry();
            self.bytes -= row.len();
            if seq > head {
                return Some(row);
            }
        }
        None
    }
}

impl Owner {
    /// Rows that another node has written; without any, those before `first` are only said to be there.
    pub(super) fn rows(&mut self, lineage: LineageId, first: Seq, rows: Vec<Bytes>) {
        // What cannot be numbered was not written by a node.
        let Some(end) = first.0.checked_add(rows.len() as u64) else { return };
        if lineage != self.room.lineage {
            return;
        }
        self.room.behind.learn(Seq(end.saturating_sub(1)));
        for (seq, row) in (first.0..).map(Seq).zip(rows) {
            self.row(seq, row);
        }
        self.follow.stir();
    }

    /// What the store had.
    pub(super) fn fetched(&mut self, fetched: Fetched) {
        let Fetch::UnderWay { newest } = std::mem::replace(&mut self.follow.fetch, Fetch::Idle) else {
            return;
        };
        self.follow.stir();
        match fetched {
            Fetched::Rows(rows) => {
                self.follow.pause = PAUSE_MIN;
                if rows.is_empty() {
                    let head = self.room.log.lock().head_seq();
                    self.room.behind.believe(head, newest);
                    return;
                }
                for (seq, row) in rows {
                    self.row(seq, row);
                }
                // There may be more.
                self.room.behind.ask_to_look();
            }
            Fetched::Gone => {
                tracing::warn!(prompt.id = %self.room.prompt, "what others wrote cannot be read; the room restarts");
                self.room.end(Refusal::RoomRestarted);
            }
            Fetched::Failed => {
                self.room.behind.ask_to_look();
                self.follow.fetch = Fetch::Paused { until: Instant::now() + self.follow.pause };
                self.follow.pause = (self.follow.pause * 2).min(PAUSE_MAX);
            }
        }
    }

    /// Takes what comes next by now, and sees to it that what is missing is fetched.
    pub(super) fn keep_up(&mut self) {
        if !self.follow.has_anything_to_do() {
            return;
        }
        self.follow.stirred = false;
        let head = self.take_beyond();
        let now = Instant::now();
        let due = match self.follow.fetch {
            Fetch::UnderWay { .. } => return,
            Fetch::Paused { until } if now < until => return,
            Fetch::Due { at, head: then } if then == head => at,
            Fetch::Idle | Fetch::Due { .. } | Fetch::Paused { .. } => now + GRACE,
        };
        let looks = self.room.behind.takes_look();
        if !looks && !self.room.behind.is_so(head) {
            self.follow.fetch = Fetch::Idle;
        } else if looks || now >= due {
            self.fetch(head);
        } else {
            self.follow.fetch = Fetch::Due { at: due, head };
        }
    }

    fn fetch(&mut self, head: Seq) {
        self.follow.fetch = Fetch::UnderWay { newest: self.room.behind.newest() };
        let (room, store) = (self.room.clone(), self.around.store.clone());
        self.around.tasks.spawn(async move {
            let fetched = fetch(&room, &store, head).await;
            // A life that has ended needs no rows.
            let _ended = room.send(ToRoom::Fetched(fetched)).await;
        });
    }

    /// The newest row that is here afterwards.
    fn take_beyond(&mut self) -> Seq {
        loop {
            let head = self.room.log.lock().head_seq();
            let Some(row) = self.follow.beyond.take(head) else { return head };
            self.row(Seq(head.0 + 1), row);
            if self.room.is_ended() {
                return head;
            }
        }
    }

    fn row(&mut self, seq: Seq, row: Bytes) {
        let head = self.room.log.lock().head_seq();
        if self.room.is_ended() {
            return;
        }
        if seq <= head {
            if self.room.log.lock().contradicts(seq, &row) {
                put_back(&self.room, Seq(seq.0 - 1));
            }
            return;
        }
        if seq.0 > head.0 + 1 {
            self.follow.beyond.put(seq, row);
            return;
        }
        let awake = self.document.wake().map_err(ApplyError::from);
        if let Err(error) = awake.and_then(|document| document.apply_durable(&row)) {
            tracing::error!(prompt.id = %self.room.prompt, seq = seq.0, %error, "a stored row does not fit; the room restarts");
            self.room.end(Refusal::RoomRestarted);
            return;
        }
        // It is known already if it is our own and its commit has returned just now.
        let _position = self.room.log.lock().append_row(&row, seq);
        self.heard_rows = true;
    }
}

async fn fetch(room: &Arc<Room>, store: &Store, head: Seq) -> Fetched {
    let asked = store.rows_after(room.prompt, room.lineage, head, FETCH_BYTES);
    match timeout(FETCH_LIMIT, asked).await {
        Ok(Ok(RowsAfter::Rows(rows))) => Fetched::Rows(rows),
        Ok(Ok(RowsAfter::Gone)) => Fetched::Gone,
        Ok(Err(error)) => {
            tracing::debug!(prompt.id = %room.prompt, %error, "the rows of other nodes cannot be read yet");
            Fetched::Failed
        }
        Err(_) => Fetched::Failed,
    }
}
