//! One life for each prompt: whoever asks for a room while it opens waits for the same one.

use crate::domain::refusal::Refusal;
use dashmap::DashMap;
use promptroom_protocol::PromptId;
use std::sync::{Arc, Weak};
use tokio::sync::OnceCell;

/// The lives of rooms, open or opening.
pub struct Slots<L>(DashMap<PromptId, Arc<Slot<L>>>);

struct Slot<L> {
    life: OnceCell<Arc<L>>,
}

impl<L> Default for Slots<L> {
    fn default() -> Self {
        Slots(DashMap::new())
    }
}

impl<L> Slots<L> {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn contains(&self, prompt: PromptId) -> bool {
        self.0.contains_key(&prompt)
    }

    pub fn get(&self, prompt: PromptId) -> Option<Arc<L>> {
        self.0.get(&prompt)?.life.get().cloned()
    }

    pub fn lives(&self) -> Vec<Arc<L>> {
        self.0.iter().filter_map(|slot| slot.life.get().cloned()).collect()
    }

    /// The life of a prompt; `begin` is called if there is none, by one at a time.
    pub async fn open<F>(&self, prompt: PromptId, begin: impl FnOnce() -> F) -> Result<Arc<L>, Refusal>
    where
        F: Future<Output = Result<Arc<L>, Refusal>>,
    {
        let (_opening, slot) = self.wait(prompt);
        slot.life.get_or_try_init(begin).await.cloned()
    }

    pub fn forget(&self, prompt: PromptId, life: &Arc<L>) {
        self.0.remove_if(&prompt, |_, slot| slot.life.get().is_some_and(|known| Arc::ptr_eq(known, life)));
    }

    /// The slot comes second, so that it is given back before the wait ends.
    fn wait(&self, prompt: PromptId) -> (Opening<'_, L>, Arc<Slot<L>>) {
        let slot = self.0.entry(prompt).or_insert_with(|| Arc::new(Slot { life: OnceCell::new() })).clone();
        (Opening { slots: self, prompt, slot: Arc::downgrade(&slot) }, slot)
    }
}

/// Somebody's wait for a life to begin. A slot in which none did goes with the last one who waits: if it went before,
/// a second slot would begin a second life beside that of the next one who waits.
struct Opening<'a, L> {
    slots: &'a Slots<L>,
    prompt: PromptId,
    slot: Weak<Slot<L>>,
}

impl<L> Drop for Opening<'_, L> {
    fn drop(&mut self) {
        // Of several who go at once, the last to look finds only the map's own.
        self.slots.0.remove_if(&self.prompt, |_, known| {
            let unused = Arc::strong_count(known) == 1 && !known.life.initialized();
            unused && Weak::as_ptr(&self.slot) == Arc::as_ptr(known)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::oneshot;
    use uuid::Uuid;

    const PROMPT: PromptId = PromptId(Uuid::nil());

    #[tokio::test]
    async fn a_beginning_that_fails_does_not_give_those_who_wait_and_those_who_come_two_lives() {
        let slots = Slots::default();
        let (fail, failing) = oneshot::channel::<()>();
        let (succeed, succeeding) = oneshot::channel::<()>();
        let (waits, failed) = oneshot::channel();
        let first = async {
            let begun = slots.open(PROMPT, async || {
                failing.await.expect("told to fail");
                Err(Refusal::Internal)
            });
            assert_eq!(begun.await, Err(Refusal::Internal));
            waits.send(()).expect("somebody waits");
        };
        let second = slots.open(PROMPT, async || {
            succeeding.await.expect("told to succeed");
            Ok(Arc::new("second"))
        });
        let third = async {
            fail.send(()).expect("it waits");
            failed.await.expect("it has failed");
            let opened = slots.open(PROMPT, async || Ok(Arc::new("third")));
            let (opened, ()) = tokio::join!(opened, async { succeed.send(()).expect("it waits") });
            opened
        };
        let ((), second, third) = tokio::join!(first, second, third);
        assert_eq!((second, third), (Ok(Arc::new("second")), Ok(Arc::new("second"))));
    }

    #[tokio::test]
    async fn what_failed_or_was_given_up_leaves_nothing() {
        let slots = Slots::<()>::default();
        assert_eq!(slots.open(PROMPT, async || Err(Refusal::Internal)).await, Err(Refusal::Internal));
        assert_eq!(slots.count(), 0);
        tokio::select! {
            biased;
            _ = slots.open(PROMPT, pending) => {}
            () = async {} => {}
        }
        assert_eq!(slots.count(), 0);
    }
}
