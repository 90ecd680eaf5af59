//! How a node goes: its sockets first, then its runs, then what is only in memory.

use crate::edge::state::App;
use std::{pin::pin, time::Duration};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, timeout},
};

const SOCKETS_LEAVE_WITHIN: Duration = Duration::from_secs(2);
const WRITE_LIMIT: Duration = Duration::from_secs(10);
const END_LIMIT: Duration = Duration::from_secs(10);
const RUNS_LOOK: Duration = Duration::from_millis(50);

pub(super) async fn until_signal() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// No new work; sockets leave; runs end or are left for the next start; what is in memory is written.
///
/// `again` resolves when it is told a second time.
pub(crate) async fn drain(app: &App, runs_limit: Duration, again: impl Future<Output = ()>) {
    let mut again = pin!(again);
    tracing::info!(runs = app.runs.going(), "draining");
    app.tasks.drain();
    app.hub.send_away(SOCKETS_LEAVE_WITHIN).await;
    let until = Instant::now() + runs_limit;
    while app.runs.going() > 0 && Instant::now() < until {
        tokio::select! {
            () = sleep(RUNS_LOOK) => {}
            () = &mut again => {
                tracing::info!("told again; not waiting for runs");
                break;
            }
        }
    }
    app.runs.hand_over(WRITE_LIMIT).await;
    app.hub.end(WRITE_LIMIT).await;
    app.tasks.stop();
    if timeout(END_LIMIT, app.tasks.ended()).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
    app.runs.stopped(WRITE_LIMIT).await;
}
