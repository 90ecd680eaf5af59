//! Time to the first token: from the command on the socket, against the same request made to the upstream directly.

use super::run_load::{ask_upstream, connect_upstream, token_of};
use crate::{
    bench::Lab,
    client::{Client, ConnectOptions},
    disk::time_commits,
    latency::Latency,
    report::{Bound, Figure},
};
use anyhow::{Context, Result};
use promptroom_protocol::{RunCursor, RunId, ServerFrame};
use std::net::SocketAddr;
use tokio::time::Instant;

const SHAPE: &str = "first-token";
const COMMITS: usize = 200;

pub async fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    let rounds = rounds(lab);
    let model = lab.first_token_model();
    let direct = directly(lab.upstream.address(), &model, rounds).await?;
    let Some(subject) = lab.subject().await? else {
        return Ok(vec![
            Figure::new(SHAPE, "direct: p50", "ms", direct.p50_ms()),
            Figure::new(SHAPE, "direct: p99", "ms", direct.p99_ms()),
        ]);
    };
    let disk = time_commits(subject.data_dir(), COMMITS).await?;
    subject.prompt("first-token").await?;
    let mut client =
        Client::connect(&subject.base(), "first-token", &ConnectOptions::page(&subject.token)).await?;
    client.join().await?;
    let ours = through(&mut client, &model, rounds).await?;
    Ok(rows(&direct, &ours, &disk))
}

pub(super) fn rounds(lab: &Lab) -> usize {
    if lab.quick { 30 } else { 200 }
}

/// Asking the upstream itself, as a server would.
pub(super) async fn directly(upstream: SocketAddr, model: &str, rounds: usize) -> Result<Latency> {
    let delays = Latency::default();
    let mut connection = connect_upstream(upstream).await?;
    for round in 0..rounds + WARM_UP_ROUNDS {
        let started = Instant::now();
        let mut events = ask_upstream(&mut connection, model).await?;
        while token_of(&events.next().await?.context("the upstream sent no token")?.data).is_none() {}
        if round >= WARM_UP_ROUNDS {
            delays.record(started.elapsed());
        }
        while events.next().await?.is_some() {}
    }
    Ok(delays)
}

/// Pressing Run in a room, and watching.
pub(super) async fn through(client: &mut Client, model: &str, rounds: usize) -> Result<Latency> {
    let delays = Latency::default();
    for round in 0..rounds + WARM_UP_ROUNDS {
        let started = Instant::now();
        let run = client.run(Some(&format!("load/{model}"))).await?.id;
        client.watch(run, RunCursor::START).await?;
        client.wait_for("records", |frame| is_records(frame, run).then_some(())).await?;
        if round >= WARM_UP_ROUNDS {
            delays.record(started.elapsed());
        }
        client.wait_for("end", |frame| is_end(frame, run).then_some(())).await?;
    }
    Ok(delays)
}

pub(super) const WARM_UP_ROUNDS: usize = 5;

fn rows(direct: &Latency, ours: &Latency, disk: &Latency) -> Vec<Figure> {
    let added = |quantile: f64| ours.quantile_ms(quantile) - direct.quantile_ms(quantile);
    let beyond = |quantile: f64| added(quantile) - disk.quantile_ms(quantile);
    vec![
        Figure::new(SHAPE, "one durable commit p50", "ms", disk.p50_ms()),
        Figure::new(SHAPE, "one durable commit p99", "ms", disk.p99_ms()),
        Figure::new(SHAPE, "upstream directly p50", "ms", direct.p50_ms()),
        Figure::new(SHAPE, "added p50", "ms", added(0.5)),
        Figure::new(SHAPE, "added p99", "ms", added(0.99)),
        Figure::new(SHAPE, "added beyond one commit p50", "ms", beyond(0.5)).goal(Bound::AtMost(1.0)),
        Figure::new(SHAPE, "added beyond one commit p99", "ms", beyond(0.99))
            .goal(Bound::AtMost(5.0))
            .note("from Run on the socket to the first records, the reply and the watch in between included"),
    ]
}

pub(super) fn is_records(frame: &ServerFrame<'_>, wanted: RunId) -> bool {
    matches!(frame, ServerFrame::Records(records) if records.run == wanted)
}

pub(super) fn is_end(frame: &ServerFrame<'_>, wanted: RunId) -> bool {
    matches!(frame, ServerFrame::End { run, .. } if *run == wanted)
}
