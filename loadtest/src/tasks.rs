//! The one place that starts tasks: a group that ends its members when it is dropped.

use anyhow::{Context, Result};
use std::future::Future;
use tokio::task::JoinSet;

/// Tasks that belong together; dropping the group aborts them.
#[derive(Debug)]
pub struct Tasks<T: Send + 'static = ()>(JoinSet<T>);

impl<T: Send + 'static> Default for Tasks<T> {
    fn default() -> Self {
        Tasks(JoinSet::new())
    }
}

impl<T: Send + 'static> Tasks<T> {
    pub fn start(&mut self, task: impl Future<Output = T> + Send + 'static) {
        self.0.spawn(task);
    }

    /// Forgets those that have ended, so that a long-lived group stays small.
    pub fn sweep(&mut self) {
        while self.0.try_join_next().is_some() {}
    }

    /// Ends all of them and waits until they are gone.
    pub async fn stop(mut self) {
        self.0.shutdown().await;
    }

    /// The next one that ends; `None` when none is left.
    pub async fn next(&mut self) -> Option<Result<T>> {
        Some(self.0.join_next().await?.context("a task of the load panicked"))
    }
}

impl<T: Send + 'static> Tasks<Result<T>> {
    /// Waits for all; the first error ends the others.
    pub async fn all(mut self) -> Result<Vec<T>> {
        let mut results = Vec::with_capacity(self.0.len());
        while let Some(ended) = self.next().await {
            results.push(ended??);
        }
        Ok(results)
    }
}
