//! Runs that are driven on one node and watched on both.

use super::{SHAPE, Written, member};
use crate::{
    bench::{Lab, TOKENS_PER_SECOND},
    client::{Client, ConnectOptions},
    clock::Stamp,
    cluster::Cluster,
    report::{Bound, Figure},
    services::Postgres,
    shapes::run_load::{TokenTally, WatchedRuns},
    tasks::Tasks,
};
use anyhow::{Context, Result};
use promptroom_protocol::{RunCursor, RunId, ServerFrame};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::sleep_until;

/// Each of a person of its own, so that nobody's limit is met.
const RUNS: usize = 20;
/// All are under way by then.
const STARTED_WITHIN: Duration = Duration::from_secs(2);
/// What is due at the end of the window is read by then.
const READ_WITHIN: Duration = Duration::from_millis(500);

/// One load on one cluster.
#[derive(Debug)]
struct Watched {
    /// On the driver's node.
    near: Arc<TokenTally>,
    /// On the last node: the other one, where there are two.
    far: Arc<TokenTally>,
    written: Written,
    tokens: u64,
    output_bytes: u64,
    /// Payload and row, of chunks and of the final records.
    stored_bytes: u64,
}

pub(super) async fn measure(lab: &Lab, alone: &Cluster, pair: &Cluster) -> Result<Vec<Figure>> {
    let (one, two) = (watch(lab, alone).await?, watch(lab, pair).await?);
    let name = |figure: &str| format!("{RUNS} runs at {TOKENS_PER_SECOND} tokens/s: {figure}");
    let beside = |figure: &str, unit, value: fn(&Watched) -> f64| {
        Figure::new(SHAPE, name(figure), unit, value(&two)).beside(Some(value(&one)), None)
    };
    let note = format!(
        "from when the upstream was due to send it; beside it the same on one node; {} tokens read on the other node, \
         {} on the driver's",
        two.far.tokens.load(Relaxed),
        two.near.tokens.load(Relaxed)
    );
    Ok(vec![
        beside("token → other node's socket p50", "ms", |watched| watched.far.delay.p50_ms()),
        beside("token → other node's socket p99", "ms", |watched| watched.far.delay.p99_ms())
            .required(Bound::AtMost(super::REQUIRED_MS))
            .goal(Bound::AtMost(super::GOAL_MS))
            .note(note),
        beside("stored a byte of output", "bytes", |watched| {
            watched.stored_bytes as f64 / watched.output_bytes.max(1) as f64
        })
        .required(Bound::AtMost(3.0))
        .note("chunks and the final records, with what Postgres adds to a row"),
        beside("rows written a token", "", |watched| {
            watched.written.rows as f64 / watched.tokens.max(1) as f64
        }),
        beside("write-ahead log a token", "bytes", |watched| {
            watched.written.log_bytes as f64 / watched.tokens.max(1) as f64
        })
        .note("heartbeats included"),
    ])
}

async fn watch(lab: &Lab, cluster: &Cluster) -> Result<Watched> {
    const TOTAL: &str = "SELECT coalesce(sum(octet_length(bytes)), 0)::bigint FROM run_outputs";
    let before = Written::so_far(lab, &cluster.postgres).await?;
    let from = Stamp::now().after(STARTED_WITHIN + lab.warm_up);
    let near = Arc::new(TokenTally::new(from, lab.window));
    let far = Arc::new(TokenTally::new(from, lab.window));
    let last = cluster.nodes.len() - 1;
    let mut watching = Tasks::default();
    let mut runners = Vec::new();
    for number in 0..RUNS {
        let (runner, run) = start(lab, cluster, number).await?;
        let room = room(number);
        for (node, tally) in [(0, &near), (last, &far)] {
            let viewer = member(cluster, node, &room).await?;
            let tally = Arc::clone(tally);
            watching.start(async move {
                if view(viewer, run, &tally).await.is_err() {
                    tally.errors.fetch_add(1, Relaxed);
                }
            });
        }
        runners.push((runner, run));
    }
    sleep_until(near.until().after(READ_WITHIN).instant()).await;
    let chunks = stored(&cluster.postgres, "run_chunks")?;
    for (mut runner, run) in runners {
        runner.cancel(run).await.context("a run could not be stopped")?;
    }
    let written = Written::so_far(lab, &cluster.postgres).await?.since(before);
    watching.stop().await;
    let output_bytes: u64 = cluster.postgres.value(TOTAL)?;
    Ok(Watched {
        near,
        far,
        written,
        tokens: output_bytes / Stamp::TEXT_BYTES as u64,
        output_bytes,
        stored_bytes: chunks + stored(&cluster.postgres, "run_outputs")?,
    })
}

fn room(number: usize) -> String {
    format!("cross-run-{number}")
}

/// A run in a room of its own, started by a person of its own on the first node.
async fn start(lab: &Lab, cluster: &Cluster, number: usize) -> Result<(Client, RunId)> {
    let node = &cluster.nodes[0];
    let room = room(number);
    node.prompt(&room).await?;
    let options = ConnectOptions::page(&node.mint(&room)?);
    let mut client = Client::connect(&node.base(), &room, &options).await?;
    client.join().await?;
    let run = client.run(Some(&format!("load/{}", lab.run_model()))).await?.id;
    Ok((client, run))
}

async fn view(mut client: Client, run: RunId, tally: &TokenTally) -> Result<()> {
    client.watch(run, RunCursor::START).await?;
    let mut watched = WatchedRuns::default();
    loop {
        let frame = client.receive().await?;
        if let ServerFrame::Records(records) = frame.decode()? {
            watched.take(&records, tally);
        }
    }
}

/// Bytes of all rows of a table, as they are stored.
fn stored(postgres: &Postgres, table: &str) -> Result<u64> {
    postgres.value(&format!("SELECT coalesce(sum(pg_column_size(stored.*)), 0)::bigint FROM {table} stored"))
}
