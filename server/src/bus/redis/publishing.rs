//! The connection that tells: notes wait in a bounded queue, and are dropped while there is no connection.

use super::{
    Redis, dropped,
    link::{Letter, Link},
    standing::{Part, Pause},
};
use redis::{ErrorKind, RedisError, RedisResult};
use std::convert::Infallible;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{MissedTickBehavior, interval},
};

/// Notes of one round trip.
const BATCH: usize = 64;

pub(super) struct Outgoing {
    pub(super) channel: String,
    pub(super) bytes: Vec<u8>,
    /// What it takes of the memory for notes that wait.
    pub(super) _share: OwnedSemaphorePermit,
}

impl Letter for Outgoing {
    fn channel(&self) -> &str {
        &self.channel
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Redis {
    pub(super) async fn keep_publishing(&self, mut queue: mpsc::Receiver<Outgoing>) -> Infallible {
        let mut pause = Pause::default();
        loop {
            let error = match self.publish_queued(&mut queue, &mut pause).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.standing.away(Part::Publishing, &error);
            // They would be old news by the time it is back.
            while queue.try_recv().is_ok() {
                dropped("away", 1);
            }
            pause.wait().await;
        }
    }

    async fn publish_queued(
        &self,
        queue: &mut mpsc::Receiver<Outgoing>,
        pause: &mut Pause,
    ) -> RedisResult<Infallible> {
        let mut link = Link::open(&self.address, None).await?;
        link.ping().await?;
        *pause = Pause::default();
        self.standing.up(Part::Publishing);
        let mut ping = interval(super::PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(BATCH);
        let mut was_refused = false;
        loop {
            tokio::select! {
                biased;
                _ = queue.recv_many(&mut batch, BATCH) => {
                    if let Err(error) = link.publish(&batch).await {
                        dropped("failed", batch.len());
                        refused(error, &mut was_refused)?;
                    }
                    batch.clear();
                }
                _ = ping.tick() => link.ping().await?,
            }
        }
    }
}

/// An answer that says no leaves the connection as it is; anything else ends it.
fn refused(error: RedisError, was_refused: &mut bool) -> RedisResult<()> {
    if !matches!(error.kind(), ErrorKind::Server(_)) {
        return Err(error);
    }
    if !std::mem::replace(was_refused, true) {
        tracing::warn!(%error, "Redis refuses to publish");
    }
    Ok(())
}
