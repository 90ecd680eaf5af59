//! What other nodes tell, led to where it belongs on this one. Nothing here waits: what does not fit is looked for
//! in the store.

use crate::bus::{self, Bus, Heard, Note, Topic};
use crate::live::{
    hub::Hub,
    room::{Room, ToRoom},
    runs::Runs,
    tasks::Tasks,
};
use promptroom_protocol::{PromptId, Seq};
use std::sync::Arc;
use tokio::sync::Notify;

pub struct Ears {
    hub: Arc<Hub>,
    runs: Arc<Runs>,
    /// Rung when the store is to be looked at now.
    bell: Arc<Notify>,
}

impl Ears {
    pub fn start(
        bus: Bus,
        ears: bus::Ears,
        hub: Arc<Hub>,
        runs: Arc<Runs>,
        bell: Arc<Notify>,
        tasks: &Tasks,
    ) {
        let here = Ears { hub, runs, bell };
        tasks.spawn_vital("ears for other nodes", here.listen(bus, ears, tasks.clone()));
    }

    async fn listen(self, bus: Bus, mut ears: bus::Ears, tasks: Tasks) {
        let _subscription = bus.subscribe(Topic::Workspace).await;
        loop {
            let heard = tokio::select! {
                biased;
                () = tasks.stopped() => return,
                heard = ears.recv() => heard,
            };
            match heard {
                Some(Heard::Note { topic: Topic::Room(prompt), note }) => self.hear_of(prompt, note),
                Some(Heard::Note { topic: Topic::Workspace, note: Note::Rights }) => self.bell.notify_one(),
                Some(Heard::Note { topic: Topic::Workspace, .. }) => {}
                Some(Heard::Missed) => self.look_at_everything(),
                // A bus that has ended has nothing to tell; the poll goes on.
                None => return tasks.stopped().await,
            }
        }
    }

    fn hear_of(&self, prompt: PromptId, note: Note) {
        // Whoever drives or follows a run need not have its room open.
        let note = match note {
            Note::Run(run) => return self.runs.heard_run(&run),
            Note::Output { run, epoch, offset, pieces } => {
                return self.runs.heard_output(run, epoch, offset, pieces);
            }
            Note::Cancel { run, by } => return self.runs.heard_cancel(run, by),
            other => other,
        };
        // One that is just being opened looks into the store afterwards.
        let Some(room) = self.hub.peek(prompt) else { return };
        match note {
            Note::Run(_) | Note::Output { .. } | Note::Cancel { .. } => {}
            Note::Rights => self.bell.notify_one(),
            Note::Rows { lineage, first, rows } => {
                let newest = Seq(first.0.saturating_add(rows.len() as u64).saturating_sub(1));
                if lineage == room.lineage && !put(&room, ToRoom::Rows { lineage, first, rows }) {
                    room.learn_head(newest);
                }
            }
            // The next renewal tells of them again.
            Note::Presence { present } => drop(put(&room, ToRoom::Elsewhere { present })),
            Note::WhoIsHere => drop(put(&room, ToRoom::WhoIsHere)),
        }
    }

    /// Notes were lost, in either direction.
    fn look_at_everything(&self) {
        self.bell.notify_one();
        self.runs.heard_missed();
        for room in self.hub.rooms() {
            put(&room, ToRoom::WhoIsHere);
        }
    }
}

/// Whether the room's mailbox took it.
fn put(room: &Room, message: ToRoom) -> bool {
    matches!(room.try_send(message), Ok(None))
}
