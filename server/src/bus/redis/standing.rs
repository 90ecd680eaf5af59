//! Whether Redis is there, as its two connections see it, and how long to wait before the next try.

use redis::RedisError;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Standing {
    publishing: AtomicBool,
    listening: AtomicBool,
    /// It is said once, however often it is tried.
    warned: AtomicBool,
}

#[derive(Clone, Copy)]
pub(super) enum Part {
    Publishing,
    Listening,
}

impl Standing {
    pub(super) fn is_up(&self, part: Part) -> bool {
        self.flag(part).load(Ordering::Acquire)
    }

    pub(super) fn up(&self, part: Part) {
        self.set(part, true);
        let both = self.is_up(Part::Publishing) && self.is_up(Part::Listening);
        if both && self.warned.swap(false, Ordering::AcqRel) {
            tracing::info!("Redis is back");
        }
    }

    pub(super) fn away(&self, part: Part, error: &RedisError) {
        self.set(part, false);
        if !self.warned.swap(true, Ordering::AcqRel) {
            tracing::warn!(%error, "Redis is away; until it is back, nodes follow each other through the database");
        }
    }

    fn set(&self, part: Part, is_up: bool) {
        self.flag(part).store(is_up, Ordering::Release);
        metrics::gauge!("promptroom_bus_connected", "connection" => part.name())
            .set(f64::from(u8::from(is_up)));
    }

    fn flag(&self, part: Part) -> &AtomicBool {
        match part {
            Part::Publishing => &self.publishing,
            Part::Listening => &self.listening,
        }
    }
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Publishing => "publishing",
            Part::Listening => "listening",
        }
    }
}

/// Pauses that double, with a part of each left to chance: nodes that lost Redis together do not return together.
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Pause {
        Pause(PAUSE_MIN)
    }
}

impl Pause {
    pub(super) async fn wait(&mut self) {
        let pause = self.0.mul_f64(rand::random_range(0.5..=1.0));
        self.0 = (self.0 * 2).min(PAUSE_MAX);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn however_long_redis_is_away_it_is_tried_again_within_a_second() {
        let mut pause = Pause::default();
        for _ in 0..100 {
            let started = Instant::now();
            pause.wait().await;
            assert!((PAUSE_MIN / 2..=PAUSE_MAX + Duration::from_millis(1)).contains(&started.elapsed()));
        }
    }
}
