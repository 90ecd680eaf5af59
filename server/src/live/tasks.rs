//! Every task of the node: who spawned it, when it should stop, and what shutdown waits for.

use std::future::Future;
use tokio::task::JoinHandle;
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TrackedFuture},
};

/// Two waves: first what serves people is told to stop, then what keeps their work.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    draining: CancellationToken,
    stopping: CancellationToken,
}

impl Tasks {
    /// Runs `future` to its end; shutdown waits for it.
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns, so that every task is tracked")]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.tracker.track_future(future))
    }

    /// For a future that somebody else spawns (an upgraded socket): shutdown waits for it all the same.
    pub fn track<F: Future>(&self, future: F) -> TrackedFuture<F> {
        self.tracker.track_future(future)
    }

    /// Runs what keeps a processor busy for milliseconds, off the threads that serve sockets.
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns, so that every task is tracked")]
    pub fn block<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn_blocking(work)
    }

    /// The node takes no new work and its sockets leave.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Nothing more will come: whoever keeps work writes it and ends.
    pub fn stop(&self) {
        self.stopping.cancel();
        self.tracker.close();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub async fn drained(&self) {
        self.draining.cancelled().await;
    }

    pub async fn stopped(&self) {
        self.stopping.cancelled().await;
    }

    /// Resolves when all tasks have ended; call after `stop`.
    pub async fn ended(&self) {
        self.tracker.wait().await;
    }
}
