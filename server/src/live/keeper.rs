//! The store's cursor over all rooms of the node: one commit for all that is unwritten, then the saved marks move.
//!
//! Rooms say that they have something; the keeper takes it at most every few milliseconds, so that many edits
//! share one commit, and repeats what did not succeed: merging a row twice changes nothing.

mod locked;

use crate::bus::{Bus, Note, Topic};
use crate::domain::{log::Position, refusal::Refusal};
use crate::live::{clock::now_ms, room::Room, tasks::Tasks};
use crate::store::{CommitOutcome, RoomRows, Store, StoreError};
use locked::Locked;
use parking_lot::Mutex;
use promptroom_protocol::{PromptId, Seq};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};

/// Commits start at least this far apart, so that edits share them.
const WINDOW: Duration = Duration::from_millis(5);
/// What one room may add to one commit.
const ROOM_BYTES_MAX: usize = 1 << 20;
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Times in a row that a room is passed over because somebody else holds its row, before it is waited for.
const SKIPS_MAX: u32 = 3;
/// What the authority has to look at everybody's rights again.
const RIGHTS_PAUSE: Duration = Duration::from_millis(50);

pub struct Keeper {
    store: Arc<Store>,
    bus: Bus,
    waiting: Mutex<Vec<Arc<Room>>>,
    /// Rooms whose rows were checked under old rights: they wait a little longer.
    put_off: Mutex<Vec<Arc<Room>>>,
    /// Rooms whose row somebody else holds.
    locked: Locked,
    bell: Notify,
    /// Rung when rows were checked under rights that have changed since.
    rights_bell: Arc<Notify>,
    /// Batches started and done, so that the end of a room's life can wait for what is under way.
    batches: watch::Sender<Batches>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Batches {
    started: u64,
    done: u64,
}

/// One room's part of a batch.
struct Part {
    room: Arc<Room>,
    last: Position,
    title: Option<String>,
    rows: RoomRows,
}

impl Keeper {
    pub fn start(store: Arc<Store>, bus: Bus, rights_bell: Arc<Notify>, tasks: &Tasks) -> Arc<Self> {
        let keeper = Arc::new(Keeper {
            store,
            bus,
            waiting: Mutex::default(),
            put_off: Mutex::default(),
            locked: Locked::default(),
            bell: Notify::new(),
            rights_bell,
            batches: watch::Sender::new(Batches::default()),
        });
        tasks.spawn_vital("keeper of edits", keeper.clone().keep(tasks.clone()));
        keeper
    }

    /// The room has something to write.
    pub fn hand_over(&self, room: &Arc<Room>) {
        if room.claim_for_keeper() {
            self.waiting.lock().push(room.clone());
            self.bell.notify_one();
        }
    }

    /// Resolves when nothing of a prompt's rooms that was under way when this was called is under way any more.
    pub async fn settled(&self, prompt: PromptId) {
        let mut batches = self.batches.subscribe();
        let started = batches.borrow().started;
        // The sender lives as long as `self`, so this only ever ends by the condition.
        let _ = batches.wait_for(|now| now.done >= started).await;
        self.locked.settled(prompt).await;
    }

    async fn keep(self: Arc<Self>, tasks: Tasks) {
        let mut last_start = Instant::now();
        let mut again_at = last_start;
        loop {
            tokio::select! {
                biased;
                () = tasks.stopped() => {
                    self.write_waiting(&tasks).await;
                    return;
                }
                () = self.bell.notified() => {}
                () = sleep_until(again_at), if !self.put_off.lock().is_empty() => {}
            }
            sleep_until(last_start + WINDOW).await;
            last_start = Instant::now();
            if last_start >= again_at {
                self.waiting.lock().append(&mut self.put_off.lock());
                again_at = last_start + RIGHTS_PAUSE;
            }
            self.write_waiting(&tasks).await;
        }
    }

    async fn write_waiting(self: &Arc<Self>, tasks: &Tasks) {
        let mut rooms = std::mem::take(&mut *self.waiting.lock());
        rooms.retain(|room| !self.locked.has(room));
        self.batches.send_modify(|batches| batches.started += 1);
        let (alone, together) =
            parts(rooms).into_iter().partition::<Vec<Part>, _>(|part| part.room.skips() >= SKIPS_MAX);
        for part in alone {
            self.write_alone(part, tasks);
        }
        self.write(together).await;
        self.batches.send_modify(|batches| batches.done += 1);
    }

    /// Writes all parts, repeating while the store is away and halving the batch when it refuses.
    async fn write(&self, parts: Vec<Part>) {
        let mut batches = vec![parts];
        let mut retry = RETRY_MIN;
        let mut told = false;
        while let Some(mut parts) = batches.pop() {
            parts.retain(|part| !part.room.is_ended());
            if parts.is_empty() {
                continue;
            }
            let rows: Vec<RoomRows> = parts.iter().map(|part| part.rows.clone()).collect();
            let begun = Instant::now();
            match self.store.commit(&rows).await {
                Ok(outcomes) => {
                    metrics::histogram!("promptroom_commit_seconds").record(begun.elapsed().as_secs_f64());
                    retry = RETRY_MIN;
                    for (part, outcome) in parts.iter().zip(outcomes) {
                        self.settle(part, outcome);
                    }
                }
                Err(error) if error.is_transient() => {
                    if !told {
                        tracing::warn!(%error, rooms = parts.len(), "the store takes no edits; they wait in memory");
                        told = true;
                    }
                    batches.push(parts);
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
                Err(error) => self.divide(parts, &error, &mut batches),
            }
        }
        if told {
            tracing::info!("the store takes edits again");
        }
    }

    fn divide(&self, mut parts: Vec<Part>, error: &StoreError, batches: &mut Vec<Vec<Part>>) {
        if let [part] = &parts[..] {
            self.give_up(part, error);
            return;
        }
        batches.push(parts.split_off(parts.len() / 2));
        batches.push(parts);
    }

    fn give_up(&self, part: &Part, error: &StoreError) {
        tracing::error!(%error, prompt.id = %part.room.prompt, "a room's edits cannot be written; its life ends");
        part.room.end(Refusal::RoomRestarted);
    }

    /// The saved marks move first; then the other nodes are told.
    fn committed(&self, part: &Part, first: Seq) {
        let room = &part.room;
        if room.written(part.last, first, part.title.as_ref()).is_err() {
            tracing::error!(prompt.id = %room.prompt, "the rows of other nodes do not come; the room restarts");
            room.end(Refusal::RoomRestarted);
        } else if room.has_work() {
            self.hand_over(room);
        }
        if !part.rows.rows.is_empty() && self.bus.has_others() {
            let note = Note::Rows { lineage: room.lineage, first, rows: part.rows.rows.clone() };
            self.bus.publish(Topic::Room(room.prompt), note);
        }
    }

    fn settle(&self, part: &Part, outcome: CommitOutcome) {
        if outcome != CommitOutcome::Skipped {
            part.room.forget_skips();
        }
        match outcome {
            CommitOutcome::Committed { first, .. } => self.committed(part, first),
            CommitOutcome::LineageChanged => part.room.end(Refusal::LineageChanged),
            CommitOutcome::PutBack { head } => put_back(&part.room, head),
            CommitOutcome::Deleted => part.room.end(Refusal::PromptDeleted),
            CommitOutcome::Skipped => {
                part.room.skip();
                self.hand_over(&part.room);
            }
            CommitOutcome::RightsMoved { .. } => {
                // The authority looks at everybody's rights again; whoever kept theirs is written next time.
                self.rights_bell.notify_one();
                if part.room.claim_for_keeper() {
                    self.put_off.lock().push(part.room.clone());
                }
            }
        }
    }
}

/// What is known here is not in the store: the room begins again with what is, and its people bring what they have.
pub(super) fn put_back(room: &Room, head: Seq) {
    tracing::error!(
        prompt.id = %room.prompt, head = head.0,
        "the database lacks edits that are known here: was it put back, or does another one use the same Redis? \
         The room restarts"
    );
    room.end(Refusal::RoomRestarted);
}

/// What the rooms have to write. Two lives of one room never write side by side: the later one ends.
fn parts(rooms: Vec<Arc<Room>>) -> Vec<Part> {
    let mut first: HashMap<PromptId, Arc<Room>> = HashMap::with_capacity(rooms.len());
    let mut parts = Vec::with_capacity(rooms.len());
    for room in rooms {
        if let Some(other) = first.get(&room.prompt) {
            if !Arc::ptr_eq(other, &room) {
                tracing::error!(prompt.id = %room.prompt, "a room lives twice; one life ends");
                room.end(Refusal::RoomRestarted);
            }
            continue;
        }
        if let Some(part) = part(room.clone()) {
            first.insert(room.prompt, room);
            parts.push(part);
        }
    }
    parts
}

fn part(room: Arc<Room>) -> Option<Part> {
    let unwritten = room.take_unwritten(ROOM_BYTES_MAX)?;
    let rows = RoomRows {
        prompt: room.prompt,
        lineage: room.lineage,
        rights_epoch: room.rights_epoch(),
        base: unwritten.base,
        rows: unwritten.rows,
        title: unwritten.title.clone(),
        now_ms: now_ms(),
    };
    Some(Part { room, last: unwritten.last, title: unwritten.title, rows })
}
