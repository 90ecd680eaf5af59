//! Whether the database holds rows of this room that have not come here.

use super::{Reached, Room};
use crate::domain::refusal::Refusal;
use promptroom_protocol::Seq;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// What is read or run over HTTP waits this long for the rows of other nodes.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);

/// What is known of the database, and the bell that wakes the owner.
#[derive(Default)]
pub(super) struct Behind {
    /// Whether the room was ever compared with the database since it can be found.
    found: AtomicBool,
    /// The newest row that is known to exist.
    newest: AtomicU64,
    /// There may be more than is known of: the store is to be asked at once.
    look: AtomicBool,
    bell: Notify,
}

impl Behind {
    pub(super) fn learn(&self, newest: Seq) {
        self.newest.fetch_max(newest.0, Ordering::AcqRel);
    }

    pub(super) fn newest(&self) -> Seq {
        Seq(self.newest.load(Ordering::Acquire))
    }

    /// The store has no row after `head` though it was believed to have `newest`: it knows better.
    pub(super) fn believe(&self, head: Seq, newest: Seq) {
        let _learned_more_meanwhile =
            self.newest.compare_exchange(newest.0, head.0, Ordering::AcqRel, Ordering::Relaxed);
    }

    pub(super) fn is_so(&self, head: Seq) -> bool {
        self.newest() > head
    }

    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    pub(super) fn ask_to_look(&self) {
        self.look.store(true, Ordering::Release);
    }

    /// Whether the store is to be asked; whoever asks this does so.
    pub(super) fn takes_look(&self) -> bool {
        self.look.swap(false, Ordering::AcqRel)
    }
}

impl Room {
    /// The newest row whose existence is certain, here or in the database.
    pub(super) fn newest_known(&self) -> Seq {
        self.behind.newest().max(self.log.lock().head_seq())
    }

    /// The database has rows up to `newest`. What is not here then usually comes in a moment, and else is fetched.
    pub fn learn_head(&self, newest: Seq) {
        self.behind.learn(newest);
        if newest > self.log.lock().head_seq() {
            self.behind.ring();
        }
    }

    /// Whether the room has just become one that notes of others can find.
    pub fn is_found_first(&self) -> bool {
        !self.behind.found.swap(true, Ordering::AcqRel)
    }

    /// Something may have been missed: the owner asks the store now.
    pub fn look(&self) {
        self.behind.ask_to_look();
        self.behind.ring();
    }

    /// Resolves when every row up to `head` is here.
    pub async fn until_head(&self, head: Seq) -> Result<(), Refusal> {
        let mut reached = self.reached.subscribe();
        if self.log.lock().head_seq() >= head {
            return Ok(());
        }
        self.learn_head(head);
        self.look();
        let caught_up = async {
            tokio::select! {
                biased;
                () = self.until_ended() => Err(self.end_reason()),
                caught_up = reached.wait_for(|now: &Reached| now.head >= head) => match caught_up {
                    Ok(_) => Ok(()),
                    Err(_) => Err(self.end_reason()),
                },
            }
        };
        timeout(CATCH_UP_LIMIT, caught_up).await.unwrap_or(Err(Refusal::StoreUnavailable))
    }
}
