//! What happened in one schedule: a hash of all of it, its last events in words, and the first promise that broke.

use super::scheduler::Home;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::time::Instant;

/// Events that a failure is told with.
const EVENTS_KEPT: usize = 400;

pub struct History {
    start: Instant,
    hash: AtomicU64,
    turns: AtomicU64,
    /// Words cost time: they are kept only in a schedule that is known to fail.
    tells: bool,
    events: Mutex<VecDeque<String>>,
    broken: Mutex<Option<String>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

impl History {
    pub fn new(tells: bool) -> History {
        History {
            start: Instant::now(),
            hash: AtomicU64::new(0xcbf2_9ce4_8422_2325),
            turns: AtomicU64::new(0),
            tells,
            events: Mutex::default(),
            broken: Mutex::default(),
            counts: Mutex::default(),
        }
    }

    pub fn elapsed_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    pub fn note(&self, event: impl FnOnce() -> String) {
        if !self.tells {
            return;
        }
        let mut events = self.events.lock();
        if events.len() == EVENTS_KEPT {
            events.pop_front();
        }
        events.push_back(format!("{:>8} ms  {}", self.elapsed_ms(), event()));
    }

    /// One more of what a schedule should have some of.
    pub fn count(&self, what: &'static str, more: u64) {
        *self.counts.lock().entry(what).or_default() += more;
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().clone()
    }

    /// A statement about this history does not hold; the first one counts.
    pub fn broken(&self, statement: &str) {
        let mut broken = self.broken.lock();
        if broken.is_none() {
            self.note(|| format!("BROKEN: {statement}"));
            *broken = Some(statement.to_owned());
        }
    }

    pub fn is_broken(&self) -> bool {
        self.broken.lock().is_some()
    }

    pub fn take_broken(&self) -> Option<String> {
        self.broken.lock().take()
    }

    pub fn events(&self) -> Vec<String> {
        self.events.lock().iter().cloned().collect()
    }

    /// Somebody's turn: part of what must be the same when the seed is.
    pub fn turn(&self, task: u64, home: Option<Home>) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.mix(task);
        self.mix(home.map_or(u64::MAX, |home| u64::from(home.0)));
        self.mix(self.elapsed_ms());
    }

    pub fn mix(&self, what: u64) {
        let hash = self.hash.load(Ordering::Relaxed);
        self.hash.store((hash ^ what).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23), Ordering::Relaxed);
    }

    pub fn mix_bytes(&self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            self.mix(word.iter().fold(word.len() as u64, |sum, byte| sum << 8 | u64::from(*byte)));
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash.load(Ordering::Relaxed)
    }

    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}
