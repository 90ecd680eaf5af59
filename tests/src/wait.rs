//! Waiting for a condition, which is all that a test may wait for.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine, short enough to end a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Looks again and again until there is something to see; fails with `what` after `PATIENCE`.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if started.elapsed() > PATIENCE {
            bail!("waited {PATIENCE:?} in vain for {what}");
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
