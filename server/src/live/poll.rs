//! Twice a second, always, the store is asked where all open rooms stand: that alone keeps nodes in step and rights in
//! force when nothing else tells of them.

use crate::domain::refusal::Refusal;
use crate::live::{
    authority::Authority,
    hub::{Hub, RUNS_LOADED},
    keeper::put_back,
    room::Room,
    tasks::Tasks,
};
use crate::store::{RoomHead, Store, StoreError};
use promptroom_protocol::{PromptId, Seq};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, sleep_until, timeout},
};

const PACE: Duration = Duration::from_millis(500);
/// A store that takes longer is asked again.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

pub struct Poll {
    store: Arc<Store>,
    hub: Arc<Hub>,
    authority: Arc<Authority>,
    bell: Arc<Notify>,
    tasks: Tasks,
    /// Held while runs are read, so that many of them do not hold up the rights.
    reading_runs: Arc<Mutex<()>>,
}

impl Poll {
    /// `bell` is rung by whoever knows that something has changed, or may have missed it.
    pub fn start(
        store: Arc<Store>,
        hub: Arc<Hub>,
        authority: Arc<Authority>,
        bell: Arc<Notify>,
        tasks: &Tasks,
    ) {
        let poll = Poll { store, hub, authority, bell, tasks: tasks.clone(), reading_runs: Arc::default() };
        tasks.spawn_vital("watch over the store", poll.watch());
    }

    async fn watch(self) {
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                () = self.tasks.stopped() => return,
                () = self.bell.notified() => {}
                () = sleep_until(Instant::now() + PACE) => {}
            }
            match timeout(LOOK_LIMIT, self.look()).await {
                Ok(Ok(())) => told = false,
                Ok(Err(error)) if !told => {
                    tracing::warn!(%error, "the store does not tell where the rooms stand; what was known holds");
                    told = true;
                }
                Err(_) if !told => {
                    tracing::warn!("the store does not answer where the rooms stand; what was known holds");
                    told = true;
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    /// One query for all open rooms; more only where something moved. Rights come first.
    async fn look(&self) -> Result<(), StoreError> {
        let rooms = stand(&self.store, &self.hub).await?;
        self.authority.apply(&rooms).await?;
        if !self.hub.has_others() {
            return Ok(());
        }
        for (room, head) in &rooms {
            room.learn_head(head.head);
        }
        self.read_runs(rooms);
        Ok(())
    }

    /// Looks for what other nodes have made of runs; by one task at a time.
    fn read_runs(&self, mut rooms: Vec<(Arc<Room>, RoomHead)>) {
        rooms.retain(|(room, head)| room.has_newer_runs(head.revision));
        if rooms.is_empty() {
            return;
        }
        let Ok(reading) = self.reading_runs.clone().try_lock_owned() else { return };
        let store = self.store.clone();
        self.tasks.spawn(async move {
            let _reading = reading;
            for (room, head) in rooms {
                match read_runs(&store, &room, head.revision).await {
                    Ok(()) => {}
                    Err(error) if error.is_transient() => {
                        tracing::debug!(prompt.id = %room.prompt, %error, "runs cannot be read yet");
                        return;
                    }
                    // What is wrong with this room's runs holds up no other room's.
                    Err(error) => tracing::error!(prompt.id = %room.prompt, %error, "runs cannot be read"),
                }
            }
        });
    }
}

async fn read_runs(store: &Store, room: &Room, revision: u64) -> Result<(), StoreError> {
    let mut runs = store.runs(room.prompt, None, RUNS_LOADED).await?;
    // Oldest first, as they would have been told.
    runs.reverse();
    for run in &runs {
        room.announce_heard(run);
    }
    room.has_heard_runs(revision);
    Ok(())
}

/// Where the open rooms stand in the store; those that are no more have ended.
pub(super) async fn stand(store: &Store, hub: &Hub) -> Result<Vec<(Arc<Room>, RoomHead)>, StoreError> {
    let rooms = hub.rooms();
    if rooms.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<PromptId> = rooms.iter().map(|room| room.prompt).collect();
    // Before the store is asked: what is here by then was there.
    let known: Vec<Seq> = rooms.iter().map(|room| room.head_seq()).collect();
    let heads: HashMap<PromptId, RoomHead> =
        store.heads(&ids).await?.into_iter().map(|head| (head.prompt, head)).collect();
    let mut standing = Vec::with_capacity(rooms.len());
    for (room, known) in rooms.into_iter().zip(known) {
        match heads.get(&room.prompt) {
            None => room.end(Refusal::PromptNotFound),
            Some(head) if head.deleted => room.end(Refusal::PromptDeleted),
            Some(head) if head.lineage != room.lineage => room.end(Refusal::LineageChanged),
            Some(head) if head.head < known => put_back(&room, head.head),
            Some(head) => standing.push((room, *head)),
        }
    }
    Ok(standing)
}
