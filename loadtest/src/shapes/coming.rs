//! Coming in: many who open one large document at once, and everybody who comes back after the server was killed.

use crate::{
    bench::Lab,
    client::{Client, ConnectOptions},
    edits::EMPTY_UPDATE,
    latency::Latency,
    process::allow_open_files,
    report::{Bound, Figure},
    socket::source,
    subject::Subject,
    tasks::Tasks,
};
use anyhow::{Context, Result};
use bytes::Bytes;
use promptroom_protocol::Seq;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

const SHAPE: &str = "coming";
const OPERATIONS: usize = 260_000;
/// Edits that are not durable yet, at most.
const EDITS_AHEAD: usize = 500;
const OPENERS: usize = 100;
const CLIENTS: usize = 10_000;
const MEMBERS: usize = 50;
const JOINS_AT_ONCE: usize = 64;
/// Pages wait a random time up to this before each attempt.
const BACKOFF: Duration = Duration::from_millis(1_000);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    let Some(options) = &lab.subject else { return Ok(Vec::new()) };
    let mut options = options.clone();
    // One socket writes the document, as fast as it is taken.
    options.variables.push(("PROMPTROOM_FRAMES_PER_S".to_owned(), "1000000".to_owned()));
    let start = || Subject::start(&options, lab.upstream.address(), &[]);
    let mut figures = open(lab, &start().await?).await?;
    figures.extend(come_back(lab, start().await?).await?);
    Ok(figures)
}

async fn open(lab: &Lab, subject: &Subject) -> Result<Vec<Figure>> {
    const ROOM: &str = "large";
    let operations = if lab.quick { OPERATIONS / 20 } else { OPERATIONS };
    let options = ConnectOptions::page(&subject.token);
    let mut writer = Client::connect(&subject.base(), ROOM, &options).await?;
    writer.join().await?;
    let mut frames = 0;
    for operation in 1..=operations {
        frames = writer.edit("x").await?;
        if operation % EDITS_AHEAD == 0 {
            writer.wait_saved(frames).await?;
        }
    }
    writer.wait_saved(frames).await?;
    let delays = Arc::new(Latency::default());
    let before = subject.process.account().cpu()?;
    for _ in 0..lab.rounds {
        let mut openings = Tasks::default();
        for index in 0..OPENERS {
            let (base, options) = (subject.base(), options.clone().from(source(index)));
            let delays = Arc::clone(&delays);
            openings.start(async move {
                let started = Instant::now();
                let mut client = Client::connect(&base, ROOM, &options).await?;
                client.join().await?;
                delays.record(started.elapsed());
                Ok(())
            });
        }
        openings.all().await?;
    }
    let cpu = subject.process.account().cpu()?.saturating_sub(before);
    let cpu_ms = cpu.as_secs_f64() * 1_000.0 / (OPENERS * lab.rounds) as f64;
    let name = |figure: &str| format!("{operations} edits opened by {OPENERS} at once: {figure}");
    Ok(vec![
        Figure::new(SHAPE, name("p99"), "ms", delays.p99_ms()).goal(Bound::AtMost(50.0)),
        Figure::new(SHAPE, name("CPU an opening"), "ms", cpu_ms)
            .goal(Bound::AtMost(0.5))
            .note("from the first byte of the connection until the whole document is read"),
    ])
}

/// Somebody who was in a room, and what they had of it.
struct Absent {
    room: String,
    index: usize,
    have: Seq,
    state_vector: Bytes,
}

async fn come_back(lab: &Lab, mut subject: Subject) -> Result<Vec<Figure>> {
    let clients = if lab.quick { CLIENTS / 20 } else { CLIENTS };
    allow_open_files(clients as u64 + 200)?;
    let options = ConnectOptions::page(&subject.token);
    let mut members = Vec::new();
    let seats: Vec<usize> = (0..clients).collect();
    for batch in seats.chunks(JOINS_AT_ONCE) {
        let mut joins = Tasks::default();
        for index in batch.iter().copied() {
            let (base, options) = (subject.base(), options.clone().from(source(index)));
            joins.start(async move {
                let room = format!("back-{}", index / MEMBERS);
                let mut client = Client::connect(&base, &room, &options).await?;
                let state_vector = client.join().await?.state_vector;
                Ok((Absent { room, index, have: client.head(), state_vector }, client))
            });
        }
        members.extend(joins.all().await?);
    }
    let killed = Instant::now();
    subject.kill_and_start().await?;
    let ready_after = killed.elapsed();
    let delays = Arc::new(Latency::default());
    let mut returns = Tasks::default();
    for (absent, client) in members {
        drop(client);
        let (base, options) = (subject.base(), options.clone().from(source(absent.index)));
        let delays = Arc::clone(&delays);
        returns.start(async move {
            let (client, has_resumed) = come(&base, &options, &absent).await?;
            delays.record(killed.elapsed());
            Ok((client, has_resumed))
        });
    }
    let back = returns.all().await?;
    let resumed = back.iter().filter(|(_, has_resumed)| *has_resumed).count();
    let name = |figure: &str| format!("{clients} come back after kill -9: {figure}");
    let note =
        format!("in rooms of {MEMBERS}; the new process was ready after {:.2} s", ready_after.as_secs_f64());
    Ok(vec![
        Figure::new(SHAPE, name("p99"), "s", delays.p99_ms() / 1_000.0).goal(Bound::AtMost(5.0)).note(note),
        Figure::new(SHAPE, name("without a full reload"), "%", 100.0 * resumed as f64 / clients as f64)
            .goal(Bound::AtLeast(99.0)),
    ])
}

/// Tries until it is in; whether it was given only what it lacked, which is nothing.
async fn come(base: &str, options: &ConnectOptions, absent: &Absent) -> Result<(Client, bool)> {
    let until = Instant::now() + PATIENCE;
    loop {
        sleep(BACKOFF.mul_f64(rand::random::<f64>())).await;
        let joined = async {
            let mut client = Client::connect(base, &absent.room, options).await?;
            let joined = client.rejoin(Some(absent.have), &absent.state_vector).await?;
            let has_resumed = joined.updates.iter().all(|update| update.len() <= EMPTY_UPDATE.len());
            Ok::<_, anyhow::Error>((client, has_resumed))
        };
        match joined.await {
            Ok(joined) => return Ok(joined),
            Err(error) if Instant::now() >= until => return Err(error).context("never came back"),
            Err(_) => {}
        }
    }
}
