//! Where prompts stand in the store, for those who look again and again: asked once for all who follow the same one.

use crate::domain::refusal::Refusal;
use crate::live::runs::unavailable;
use crate::store::{RoomHead, Store};
use dashmap::DashMap;
use promptroom_protocol::PromptId;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::Mutex, time::Instant};

/// How old an answer may be.
const FRESH: Duration = Duration::from_millis(500);

pub struct Heads {
    store: Arc<Store>,
    followed: DashMap<PromptId, Weak<Followed>>,
}

/// One prompt, as long as somebody follows it.
pub struct Followed {
    prompt: PromptId,
    /// Held while the store is asked, so that all who come meanwhile share its answer.
    last: Mutex<Option<(Instant, Answer)>>,
}

type Answer = Result<Option<RoomHead>, Refusal>;

impl Heads {
    pub fn new(store: Arc<Store>) -> Arc<Heads> {
        Arc::new(Heads { store, followed: DashMap::new() })
    }

    pub fn follow(&self, prompt: PromptId) -> Arc<Followed> {
        self.followed.retain(|_, followed| followed.strong_count() > 0);
        let mut entry = self.followed.entry(prompt).or_default();
        if let Some(followed) = entry.upgrade() {
            return followed;
        }
        let followed = Arc::new(Followed { prompt, last: Mutex::default() });
        *entry = Arc::downgrade(&followed);
        followed
    }

    /// The prompt's head, at most half a second old; `None` if there is no such prompt.
    pub async fn head(&self, followed: &Followed) -> Answer {
        let mut last = followed.last.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = self.store.heads(&[followed.prompt]).await.map_err(unavailable);
        let answer = answer.map(|heads| heads.first().copied());
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}
