//! Runs that are driven on one node and watched on both.

use super::{SHAPE, Used, Written, member, micros};
use crate::{
    bench::{Lab, TOKENS_PER_SECOND},
    client::{Client, ConnectOptions},
    clock::Stamp,
    cluster::Cluster,
    report::{Bound, Figure},
    services::Postgres,
    shapes::{
        cpus_of,
        run_load::{TokenTally, WatchedRuns},
        used_since,
    },
    tasks::Tasks,
};
use anyhow::{Context, Result, ensure};
use promptroom_protocol::{RunCursor, RunId, ServerFrame};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::sleep_until;

/// Each of a person of its own, so that nobody's limit is met.
const RUNS: usize = 20;
/// Within which all are under way and watched, once their rooms are there.
const STARTED_WITHIN: Duration = Duration::from_secs(5);
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
    /// Within the window.
    used: Used,
    tokens: u64,
    output_bytes: u64,
    /// Payload and row, of chunks and of the final records.
    stored_bytes: u64,
}

impl Watched {
    /// Tokens of the window.
    fn read(&self) -> f64 {
        self.near.tokens.load(Relaxed).max(1) as f64
    }
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
        beside("CPU of the nodes a token", "µs", |watched| micros(watched.used.nodes) / watched.read()),
        beside("CPU of Postgres a token", "µs", |watched| micros(watched.used.postgres) / watched.read()),
        beside("CPU of Redis a token", "µs", |watched| micros(watched.used.redis) / watched.read()),
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
    let mut rooms = Vec::new();
    for number in 0..RUNS {
        rooms.push(seat(cluster, number).await?);
    }
    let before = Written::so_far(lab, &cluster.postgres).await?;
    let from = Stamp::now().after(STARTED_WITHIN + lab.warm_up);
    let near = Arc::new(TokenTally::new(from, lab.window));
    let far = Arc::new(TokenTally::new(from, lab.window));
    let last = cluster.nodes.len() - 1;
    let mut watching = Tasks::default();
    let mut runners = Vec::new();
    for (number, mut runner) in rooms.into_iter().enumerate() {
        let run = runner.run(Some(&format!("load/{}", lab.run_model()))).await?.id;
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
    ensure!(Stamp::now() < from, "the runs were not under way within {STARTED_WITHIN:?}");
    sleep_until(near.from().instant()).await;
    let cpus_before = cpus_of(&cluster.accounts())?;
    sleep_until(near.until().instant()).await;
    let mut used = Used::default();
    used.add(&used_since(&cpus_before, &cpus_of(&cluster.accounts())?));
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
        used,
        tokens: output_bytes / Stamp::TEXT_BYTES as u64,
        output_bytes,
        stored_bytes: chunks + stored(&cluster.postgres, "run_outputs")?,
    })
}

fn room(number: usize) -> String {
    format!("cross-run-{number}")
}

/// A person of its own in a room of its own on the first node, who will press Run there.
async fn seat(cluster: &Cluster, number: usize) -> Result<Client> {
    let node = &cluster.nodes[0];
    let room = room(number);
    node.prompt(&room).await?;
    let options = ConnectOptions::page(&node.mint(&room)?);
    let mut client = Client::connect(&node.base(), &room, &options).await?;
    client.join().await?;
    Ok(client)
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
