//! A node that leaves: what it drives and could not end in time goes to the others at once.

use crate::live::{clock::now_ms, runs::Runs};
use crate::store::StoreError;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const STORE_RETRY: Duration = Duration::from_millis(200);

impl Runs {
    /// The drivers of this node stop reading, what they received is stored, and their runs are left to whoever comes
    /// first. Waits no longer than `limit`: what is not released then is taken over like a dead node's.
    pub async fn hand_over(&self, limit: Duration) {
        self.leaving.cancel();
        self.drivers.close();
        let leaving = async {
            self.drivers.wait().await;
            self.checkpoint.write_all().await;
            self.release().await
        };
        match timeout(limit, leaving).await {
            Ok(Ok(runs)) => tracing::info!(runs, "runs are left to other nodes"),
            Ok(Err(error)) => tracing::error!(%error, "runs could not be released"),
            Err(_) => tracing::warn!("runs were not released in time"),
        }
        self.checkpoint.let_all_go();
        self.follow_soon();
    }

    /// This node drives nothing any more; waits no longer than `limit` to say so.
    pub async fn stopped(&self, limit: Duration) {
        if self.alone {
            return;
        }
        match timeout(limit, self.store.stop_node(self.node, now_ms())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "this node's end was not written"),
            Err(_) => tracing::warn!("this node's end was not written in time"),
        }
    }

    async fn release(&self) -> Result<u64, StoreError> {
        loop {
            match self.store.release_runs(self.node).await {
                Err(error) if error.is_transient() => sleep(STORE_RETRY).await,
                other => return other,
            }
        }
    }
}
