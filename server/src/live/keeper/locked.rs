//! Rooms whose row somebody else holds: each is written by a task of its own, so that it keeps no other one waiting.

use super::{Keeper, Part, RETRY_MAX, RETRY_MIN};
use crate::live::{room::Room, tasks::Tasks};
use parking_lot::Mutex;
use promptroom_protocol::PromptId;
use std::{collections::HashMap, sync::Arc};
use tokio::{sync::Semaphore, time::sleep};
use tokio_util::sync::CancellationToken;

/// Waiting for a row takes a connection, and the others need some.
const AT_ONCE: usize = 2;

pub(super) struct Locked {
    /// Each with what tells that it is no more.
    rooms: Mutex<HashMap<PromptId, CancellationToken>>,
    turns: Semaphore,
}

impl Default for Locked {
    fn default() -> Self {
        Locked { rooms: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Locked {
    /// A room of which this is true is handed over again when it is no more.
    pub fn has(&self, room: &Room) -> bool {
        self.rooms.lock().contains_key(&room.prompt)
    }

    /// Resolves when nothing of the prompt's rooms is under way here.
    pub async fn settled(&self, prompt: PromptId) {
        let done = self.rooms.lock().get(&prompt).cloned();
        if let Some(done) = done {
            done.cancelled().await;
        }
    }
}

impl Keeper {
    pub(super) fn write_alone(self: &Arc<Self>, part: Part, tasks: &Tasks) {
        let done = CancellationToken::new();
        self.locked.rooms.lock().insert(part.room.prompt, done.clone());
        let alone = Alone { keeper: self.clone(), room: part.room.clone(), done };
        tasks.spawn(async move { alone.keeper.write_when_free(&part).await });
    }

    async fn write_when_free(&self, part: &Part) {
        let mut retry = RETRY_MIN;
        while !part.room.is_ended() {
            let Ok(turn) = self.locked.turns.acquire().await else { return };
            match self.store.commit_alone(&part.rows).await {
                Ok(outcome) => return self.settle(part, outcome),
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, prompt.id = %part.room.prompt, "a room's row is held by somebody else");
                    drop(turn);
                    sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
                Err(error) => return self.give_up(part, &error),
            }
        }
    }
}

/// As long as a room is written alone.
struct Alone {
    keeper: Arc<Keeper>,
    room: Arc<Room>,
    done: CancellationToken,
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.keeper.locked.rooms.lock().remove(&self.room.prompt);
        self.done.cancel();
        // What came meanwhile was passed over.
        self.room.unclaim();
        if self.room.has_work() {
            self.keeper.hand_over(&self.room);
        }
    }
}
