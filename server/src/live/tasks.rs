//! Every task of the node: who spawned it, when it should stop, and what shutdown waits for.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};
#[cfg(test)]
use tokio::sync::oneshot;
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
    failed: CancellationToken,
    failed_part: Arc<OnceLock<&'static str>>,
    #[cfg(test)]
    governor: Option<Arc<dyn Governor>>,
}

/// What a task came to, for whoever waits for it; dropping this leaves the task to itself.
#[derive(Debug)]
pub struct Joined<T>(Waiting<T>);

#[derive(Debug)]
enum Waiting<T> {
    Spawned(JoinHandle<T>),
    #[cfg(test)]
    Governed(oneshot::Receiver<T>),
}

/// The task ended without a result, because it panicked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the task did not come to its end")]
pub struct Lost;

/// Who runs the tasks of a node instead of tokio: the simulation, which stops or drops them at any of their awaits.
#[cfg(test)]
pub trait Governor: std::fmt::Debug + Send + Sync {
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>);
}

impl Tasks {
    /// The tasks of a node that is simulated.
    #[cfg(test)]
    pub fn governed(governor: Arc<dyn Governor>) -> Tasks {
        Tasks { governor: Some(governor), ..Tasks::default() }
    }

    /// Runs `future` to its end; shutdown waits for it.
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns, so that every task is tracked")]
    pub fn spawn<F>(&self, future: F) -> Joined<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let future = self.tracker.track_future(future);
        #[cfg(test)]
        if let Some(governor) = &self.governor {
            let (done, result) = oneshot::channel();
            governor.spawn(Box::pin(async move { drop(done.send(future.await)) }));
            return Joined(Waiting::Governed(result));
        }
        Joined(Waiting::Spawned(tokio::spawn(future)))
    }

    /// Runs what the node cannot be without: when it ends before `stop`, by a panic or not, the node has failed.
    pub fn spawn_vital<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let watched = Vital { name, tasks: self.clone() };
        self.spawn(async move {
            let _watched = watched;
            future.await;
        });
    }

    /// For a future that somebody else spawns (an upgraded socket): shutdown waits for it all the same.
    pub fn track<F: Future>(&self, future: F) -> TrackedFuture<F> {
        self.tracker.track_future(future)
    }

    /// Runs what keeps a processor busy for milliseconds, off the threads that serve sockets.
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns, so that every task is tracked")]
    pub fn block<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Joined<T> {
        #[cfg(test)]
        if self.governor.is_some() {
            return self.spawn(async move { work() });
        }
        Joined(Waiting::Spawned(self.tracker.spawn_blocking(work)))
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

    /// The vital part that has ended though it should not; resolves when there is one.
    pub async fn failed(&self) -> &'static str {
        self.failed.cancelled().await;
        self.failed_part().unwrap_or_default()
    }

    pub fn failed_part(&self) -> Option<&'static str> {
        self.failed_part.get().copied()
    }

    /// Resolves when all tasks have ended; call after `stop`.
    pub async fn ended(&self) {
        self.tracker.wait().await;
    }
}

impl<T> Future for Joined<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.0 {
            Waiting::Spawned(task) => ready!(Pin::new(task).poll(context)).map_err(|_| Lost),
            #[cfg(test)]
            Waiting::Governed(result) => ready!(Pin::new(result).poll(context)).map_err(|_| Lost),
        };
        Poll::Ready(result)
    }
}

/// Lives as long as a vital part runs.
struct Vital {
    name: &'static str,
    tasks: Tasks,
}

impl Drop for Vital {
    fn drop(&mut self) {
        let tasks = &self.tasks;
        if !tasks.stopping.is_cancelled() && tasks.failed_part.set(self.name).is_ok() {
            tracing::error!(part = self.name, "a part that the server cannot be without has ended");
            // Not ready any more, from this moment on.
            tasks.drain();
            tasks.failed.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_death_of_a_vital_part_fails_the_node() {
        let tasks = Tasks::default();
        tasks.spawn_vital("keeper", async { panic!("on purpose") });
        assert_eq!(tasks.failed().await, "keeper");
        assert!(tasks.is_draining(), "nobody is sent here any more");
    }

    #[tokio::test]
    async fn a_vital_part_that_ends_after_the_stop_is_as_it_should_be() {
        let tasks = Tasks::default();
        let until_stop = tasks.clone();
        tasks.spawn_vital("keeper", async move { until_stop.stopped().await });
        tasks.stop();
        tasks.ended().await;
        assert_eq!(tasks.failed_part(), None);
    }
}
