//! How long a stream may be silent, and how long it may only say that it lives.

use super::{ModelError, ModelErrorKind};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, timeout_at};

/// The limits of one stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Without a byte, once the first one came.
    pub(super) idle: Duration,
    /// Without progress; also for the head of the response, and for the first byte.
    pub(super) content: Duration,
    /// For usage and the closing words, once the model has said why it stopped.
    pub(super) closing: Duration,
}

impl Patience {
    pub(super) const USUAL: Patience = Patience {
        idle: Duration::from_secs(60),
        content: Duration::from_secs(180),
        closing: Duration::from_secs(5),
    };
    /// Some models think for minutes and send nothing meanwhile.
    pub(super) const REASONING: Patience =
        Patience { idle: Duration::from_secs(600), content: Duration::from_secs(600), ..Patience::USUAL };
}

/// Two watchdogs. A ping is liveness, not progress.
pub(super) struct Watch {
    patience: Patience,
    idle_at: Instant,
    content_at: Instant,
    closing: bool,
}

/// Nothing more is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    Idle,
    Stalled,
    Closing,
}

impl Watch {
    pub(super) fn new(patience: Patience) -> Watch {
        let until = Instant::now() + patience.content;
        Watch { patience, idle_at: until, content_at: until, closing: false }
    }

    /// Waits for `arrival`, but not too long. Cancel-safe if `arrival` is.
    pub(super) async fn wait<T>(&self, arrival: impl Future<Output = T>) -> Result<T, Expired> {
        let until = self.idle_at.min(self.content_at);
        timeout_at(until, arrival).await.map_err(|_| match self.closing {
            true => Expired::Closing,
            false if self.idle_at < self.content_at => Expired::Idle,
            false => Expired::Stalled,
        })
    }

    pub(super) fn alive(&mut self) {
        if !self.closing {
            self.idle_at = Instant::now() + self.patience.idle;
        }
    }

    pub(super) fn progress(&mut self) {
        if !self.closing {
            self.content_at = Instant::now() + self.patience.content;
        }
    }

    /// From now on only the closing words may come.
    pub(super) fn close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.content_at = Instant::now() + self.patience.closing;
        }
    }
}

impl Expired {
    pub(super) fn error(self, provider: &str, patience: Patience) -> ModelError {
        let message = match self {
            Expired::Idle => format!("{provider} has sent nothing for {} seconds.", patience.idle.as_secs()),
            Expired::Stalled | Expired::Closing => {
                format!(
                    "{provider} has kept us waiting without any text for {} seconds.",
                    patience.content.as_secs()
                )
            }
        };
        ModelError::new(ModelErrorKind::Stalled, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::time::sleep;

    async fn expiry(watch: &Watch) -> (Expired, u64) {
        let begun = Instant::now();
        let expired = watch.wait(pending::<()>()).await.unwrap_err();
        (expired, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn silence_after_the_first_byte_ends_after_the_idle_limit() {
        let mut watch = Watch::new(Patience::USUAL);
        watch.wait(sleep(Duration::from_secs(100))).await.unwrap();
        watch.alive();
        watch.progress();
        assert_eq!(expiry(&watch).await, (Expired::Idle, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn pings_alone_end_after_the_content_limit() {
        let mut watch = Watch::new(Patience::USUAL);
        watch.progress();
        let begun = Instant::now();
        let expired = loop {
            match watch.wait(sleep(Duration::from_secs(10))).await {
                Ok(()) => watch.alive(),
                Err(expired) => break expired,
            }
        };
        assert_eq!((expired, begun.elapsed().as_secs()), (Expired::Stalled, 180));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_steady_model_is_left_alone() {
        let mut watch = Watch::new(Patience::USUAL);
        for _ in 0..100 {
            watch.wait(sleep(Duration::from_secs(50))).await.unwrap();
            watch.alive();
            watch.progress();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_closing_words_are_not_waited_for_long() {
        let mut watch = Watch::new(Patience::USUAL);
        watch.alive();
        watch.close();
        watch.progress();
        assert_eq!(expiry(&watch).await, (Expired::Closing, 5));
    }
}
