//! Two nodes on one Postgres and one Redis: how much later the other node's people see an edit and a token, beside the
//! same on one node; and what is written to the database for that.

mod rest;
mod tokens;

use super::{
    RoomLoad,
    first_token::{self, WARM_UP_ROUNDS, is_end, is_records},
    run_rooms,
};
use crate::{
    bench::Lab,
    client::{Client, ConnectOptions},
    cluster::Cluster,
    latency::{Latency, median},
    report::{Bound, Figure},
    services::Postgres,
};
use anyhow::{Result, ensure};
use promptroom_protocol::{RunCursor, ServerFrame};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const SHAPE: &str = "cross-node";
const ROOMS: usize = 50;
const MEMBERS: usize = 10;
/// In each room, by all together: all of them seldom, or each of them five times a second.
const LOADS: [f64; 2] = [5.0, 50.0];
/// A connection of Postgres that has nothing to do reports what it counted after ten seconds.
const COUNTED_AFTER: Duration = Duration::from_secs(11);
const REQUIRED_MS: f64 = 100.0;
const GOAL_MS: f64 = 20.0;

pub async fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    let (Some(alone), Some(pair)) = (lab.cluster(1).await?, lab.cluster(2).await?) else {
        return Ok(Vec::new());
    };
    let mut figures = Vec::new();
    for edits_per_second in LOADS {
        figures.extend(edits(lab, &alone, &pair, edits_per_second).await?);
    }
    figures.extend(tokens::measure(lab, &alone, &pair).await?);
    figures.extend(first_tokens(lab, &alone, &pair).await?);
    figures.extend(rest::measure(lab, &alone, &pair).await?);
    Ok(figures)
}

/// The rounds of one load on one cluster.
#[derive(Debug, Default)]
struct Edits {
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    /// In all rounds together.
    used: Used,
    sent: u64,
    lost: u64,
    errors: u64,
    written: Written,
    rows: u64,
}

async fn edits(lab: &Lab, alone: &Cluster, pair: &Cluster, edits_per_second: f64) -> Result<Vec<Figure>> {
    let load = RoomLoad {
        rooms: ROOMS,
        members: MEMBERS,
        writers: MEMBERS,
        edits_per_second,
        warm_up: lab.warm_up,
        window: lab.window,
    };
    let (one, two) = (put(lab, alone, &load).await?, put(lab, pair, &load).await?);
    let name = |figure: &str| format!("{ROOMS} × {MEMBERS} at {edits_per_second} edits/s a room: {figure}");
    let beside = |figure: &str, unit, value: fn(&Edits) -> f64| {
        Figure::new(SHAPE, name(figure), unit, value(&two)).beside(Some(value(&one)), None)
    };
    let per_row = |bytes: u64, edits: &Edits| bytes as f64 / edits.rows.max(1) as f64;
    let note = format!(
        "beside it the same on one node; {} edits, {} deliveries lost, {} sockets ended; on one node {}, {}, {}",
        two.sent, two.lost, two.errors, one.sent, one.lost, one.errors
    );
    Ok(vec![
        beside("edit → other node's socket p50", "ms", |edits| median(edits.p50_ms.clone())),
        beside("edit → other node's socket p99", "ms", |edits| median(edits.p99_ms.clone()))
            .required(Bound::AtMost(REQUIRED_MS))
            .goal(Bound::AtMost(GOAL_MS))
            .note(note),
        beside("CPU of the nodes an edit", "µs", |edits| {
            micros(edits.used.nodes) / edits.sent.max(1) as f64
        }),
        beside("CPU of Postgres an edit", "µs", |edits| {
            micros(edits.used.postgres) / edits.sent.max(1) as f64
        }),
        beside("CPU of Redis an edit", "µs", |edits| micros(edits.used.redis) / edits.sent.max(1) as f64),
        Figure::new(SHAPE, name("rows written an edit"), "", per_row(two.written.rows, &two))
            .beside(Some(per_row(one.written.rows, &one)), None),
        Figure::new(SHAPE, name("write-ahead log an edit"), "bytes", per_row(two.written.log_bytes, &two))
            .beside(Some(per_row(one.written.log_bytes, &one)), None)
            .note("heartbeats, and the making of the rooms, included"),
    ])
}

async fn put(lab: &Lab, cluster: &Cluster, load: &RoomLoad) -> Result<Edits> {
    let mut edits = Edits::default();
    let (before, rows) = (Written::so_far(lab, &cluster.postgres).await?, document_rows(&cluster.postgres)?);
    for round in 0..lab.rounds {
        let name = format!("cross-{}-{round}", load.edits_per_second);
        let outcome = run_rooms(load, &cluster.target(), &cluster.accounts(), &name).await?;
        let delays = if cluster.nodes.len() > 1 { &outcome.crossed } else { &outcome.latency };
        edits.p50_ms.push(delays.p50_ms());
        edits.p99_ms.push(delays.p99_ms());
        edits.used.add(&outcome.cpus);
        edits.sent += outcome.sent;
        edits.lost += outcome.lost;
        edits.errors += outcome.errors;
    }
    edits.written = Written::so_far(lab, &cluster.postgres).await?.since(before);
    edits.rows = document_rows(&cluster.postgres)? - rows;
    Ok(edits)
}

/// How many rows documents ever had, those included that a snapshot has replaced.
fn document_rows(postgres: &Postgres) -> Result<u64> {
    postgres.value("SELECT coalesce(sum(head), 0)::bigint FROM prompts")
}

/// Processor time of each part of a cluster.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    postgres: Duration,
    redis: Duration,
    nodes: Duration,
}

impl Used {
    /// In the order of `Cluster::accounts`.
    fn add(&mut self, cpus: &[Duration]) {
        let [postgres, redis, nodes @ ..] = cpus else { return };
        self.postgres += *postgres;
        self.redis += *redis;
        self.nodes += nodes.iter().sum::<Duration>();
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// What a database has written.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    rows: u64,
    log_bytes: u64,
}

impl Written {
    async fn so_far(lab: &Lab, postgres: &Postgres) -> Result<Written> {
        sleep(if lab.quick { Duration::from_secs(1) } else { COUNTED_AFTER }).await;
        let rows =
            "SELECT tup_inserted + tup_updated FROM pg_stat_database WHERE datname = current_database()";
        let log_bytes = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
        Ok(Written { rows: postgres.value(rows)?, log_bytes: postgres.value(log_bytes)? })
    }

    fn since(self, before: Written) -> Written {
        Written { rows: self.rows - before.rows, log_bytes: self.log_bytes - before.log_bytes }
    }
}

/// Added time to the first token for who pressed Run, and for somebody on the other node who heard of the run.
async fn first_tokens(lab: &Lab, alone: &Cluster, pair: &Cluster) -> Result<Vec<Figure>> {
    const ROOM: &str = "first-token";
    let (rounds, model) = (first_token::rounds(lab), lab.first_token_model());
    let direct = first_token::directly(lab.upstream.address(), &model, rounds).await?;
    let mut ours = Vec::new();
    for cluster in [alone, pair] {
        cluster.nodes[0].prompt(ROOM).await?;
        ours.push(first_token::through(&mut member(cluster, 0, ROOM).await?, &model, rounds).await?);
    }
    let [one, two] = &ours[..] else { return Ok(Vec::new()) };
    let mut runner = member(pair, 0, ROOM).await?;
    let mut other = member(pair, 1, ROOM).await?;
    let elsewhere = seen_elsewhere(&mut runner, &mut other, &model, rounds).await?;
    let added = |delays: &Latency, quantile: f64| delays.quantile_ms(quantile) - direct.quantile_ms(quantile);
    let note =
        "against the same request made to the upstream directly; beside it one node on the same database";
    Ok([(0.5, "p50"), (0.99, "p99")]
        .into_iter()
        .flat_map(|(quantile, name)| {
            let one = Some(added(one, quantile));
            [
                Figure::new(SHAPE, format!("first token added {name}"), "ms", added(two, quantile))
                    .beside(one, None)
                    .note(note),
                Figure::new(
                    SHAPE,
                    format!("first token added {name}, on the other node"),
                    "ms",
                    added(&elsewhere, quantile),
                )
                .beside(one, None),
            ]
        })
        .collect())
}

async fn member(cluster: &Cluster, node: usize, room: &str) -> Result<Client> {
    let options = ConnectOptions::page(&cluster.nodes[0].token);
    let mut client = Client::connect(&cluster.nodes[node].base(), room, &options).await?;
    client.join().await?;
    Ok(client)
}

/// From pressing Run on one node to the first records on the other, which first hears that there is a run.
async fn seen_elsewhere(
    runner: &mut Client,
    other: &mut Client,
    model: &str,
    rounds: usize,
) -> Result<Latency> {
    let delays = Latency::default();
    let mut last = None;
    for round in 0..rounds + WARM_UP_ROUNDS {
        let started = Instant::now();
        let watching = async {
            let new = |frame: &ServerFrame<'_>| match frame {
                ServerFrame::Run(run) if Some(run.id) != last && !run.state.is_terminal() => Some(run.id),
                _ => None,
            };
            let run = other.wait_for("new run", new).await?;
            other.watch(run, RunCursor::START).await?;
            // They come in any order; the next round must find none of them.
            let (mut seen_after, mut ended, mut over) = (None, false, false);
            let all = |frame: &ServerFrame<'_>| {
                if is_records(frame, run) {
                    seen_after.get_or_insert_with(|| started.elapsed());
                }
                ended |= is_end(frame, run);
                over |=
                    matches!(frame, ServerFrame::Run(known) if known.id == run && known.state.is_terminal());
                seen_after.filter(|_| ended && over)
            };
            let seen_after = other.wait_for("records, end and last summary", all).await?;
            Ok::<_, anyhow::Error>((run, seen_after))
        };
        let running = async { Ok(runner.run(Some(&format!("load/{model}"))).await?) };
        let ((run, seen_after), started) = tokio::try_join!(watching, running)?;
        ensure!(run == started.id, "another run was seen than the one that was started");
        last = Some(run);
        if round >= WARM_UP_ROUNDS {
            delays.record(seen_after);
        }
    }
    Ok(delays)
}
