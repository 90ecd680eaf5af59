//! The bus over Redis pub/sub, between nodes on any number of machines. Redis may be away, restarted, frozen or emptied
//! at any time: nobody waits for it, and the node is told to look into the store when it is back.
//!
//! Two connections: one publishes, one hears. Neither is ever waited for by those who publish.

mod address;
mod channels;
mod check;
mod envelope;
mod link;
mod listening;
mod publishing;
mod standing;
mod topics;

pub use address::BadAddress;

use super::{Ears, HEARD_WAITING, Heard, Note, Topic};
use address::Address;
use channels::Channels;
use promptroom_protocol::Seq;
use publishing::Outgoing;
use standing::{Part, Standing};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Notify, Semaphore, mpsc};
use topics::Topics;
use uuid::Uuid;

/// Notes that wait for the connection, and how much they may hold together.
const OUTGOING_WAITING: usize = 4_096;
const OUTGOING_BYTES: usize = 8 * 1024 * 1024;
/// More rows than this are left for the others to select.
const ROWS_BYTES_MAX: usize = 64 * 1024;
const PING_EVERY: Duration = Duration::from_millis(500);

/// One node's end of it.
pub struct Redis {
    node: Uuid,
    address: Address,
    channels: Channels,
    topics: Topics,
    ears: mpsc::Sender<Heard>,
    /// Something may have been missed, and the listener has yet to be told.
    missed: Notify,
    queue: mpsc::Sender<Outgoing>,
    /// One permit for each byte.
    memory: Arc<Semaphore>,
    standing: Standing,
}

/// What keeps both connections; nothing is heard or sent unless it runs.
#[must_use]
pub struct Upkeep {
    redis: Arc<Redis>,
    queue: mpsc::Receiver<Outgoing>,
}

impl Redis {
    /// Does not connect yet: that is done by the upkeep, for as long as it takes. `node` tells own notes from others';
    /// a process that is started again is another node.
    pub fn start(url: &str, workspace: Uuid, node: Uuid) -> Result<(Arc<Redis>, Ears, Upkeep), BadAddress> {
        let (ears, heard) = mpsc::channel(HEARD_WAITING);
        let (outgoing, queue) = mpsc::channel(OUTGOING_WAITING);
        let redis = Arc::new(Redis {
            node,
            address: Address::parse(url)?,
            channels: Channels::of(workspace),
            topics: Topics::default(),
            ears,
            missed: Notify::new(),
            queue: outgoing,
            memory: Arc::new(Semaphore::new(OUTGOING_BYTES)),
            standing: Standing::default(),
        });
        Ok((redis.clone(), heard, Upkeep { redis, queue }))
    }

    /// Tries everything that the bus needs: the server's version, or what is wrong, in words for whoever runs it.
    pub async fn check(url: &str) -> Result<String, String> {
        check::check(url).await
    }

    pub(super) fn subscribe(&self, topic: Topic) {
        self.topics.add(topic);
    }

    pub(super) async fn until_in_force(&self, topic: Topic) {
        self.topics.until_in_force(topic).await;
    }

    pub(super) fn unsubscribe(&self, topic: Topic) {
        self.topics.remove(topic);
    }

    pub(super) fn publish(&self, topic: Topic, note: Note) {
        if !self.standing.is_up(Part::Publishing) {
            return dropped("away", 1);
        }
        let bytes = match envelope::seal(self.node, &light(note)) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, "a note cannot be written");
                return dropped("failed", 1);
            }
        };
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let Ok(share) = self.memory.clone().try_acquire_many_owned(size) else { return dropped("full", 1) };
        let outgoing = Outgoing { channel: self.channels.name(topic), bytes, _share: share };
        if self.queue.try_send(outgoing).is_err() {
            dropped("full", 1);
        }
    }
}

impl Upkeep {
    /// Goes on until `stop`; notes that still wait then are not sent.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Upkeep { redis, queue } = self;
        tokio::select! {
            biased;
            () = stop => {}
            never = redis.keep_listening() => match never {},
            never = redis.keep_publishing(queue) => match never {},
            never = redis.keep_telling() => match never {},
        }
    }
}

/// Many bytes of rows become a hint that there are rows up to their last: whoever lacks them selects them.
fn light(note: Note) -> Note {
    let Note::Rows { lineage, first, rows } = note else { return note };
    if rows.iter().map(|row| row.len()).sum::<usize>() <= ROWS_BYTES_MAX {
        return Note::Rows { lineage, first, rows };
    }
    Note::Rows { lineage, first: Seq(first.0 + rows.len() as u64), rows: Vec::new() }
}

fn dropped(why: &'static str, notes: usize) {
    metrics::counter!("promptroom_bus_dropped_total", "why" => why).increment(notes as u64);
}

#[cfg(test)]
mod tests;
