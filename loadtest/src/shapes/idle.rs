//! Connections that only keep their presence alive: what a quiet evening costs.

use super::Contenders;
use crate::{
    bench::Lab,
    edits::awareness,
    process::Account,
    report::{Bound, Figure},
    target::{Member, Target},
    tasks::Tasks,
};
use anyhow::{Context, Result};
use promptroom_protocol::ClientFrame;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

const SHAPE: &str = "idle";
/// How many connections, in rooms of how many: an idle room's document is shared by those that are in it.
const SIZES: [(usize, usize); 3] = [(5_000, 50), (5_000, 10), (10_000, 50)];
const SIZES_QUICK: [(usize, usize); 2] = [(1_000, 50), (1_000, 10)];
const RENEWAL: Duration = Duration::from_secs(15);
const JOINS_AT_ONCE: usize = 64;
const JOIN_PATIENCE: Duration = Duration::from_secs(30);
/// So that what joining took is given back, and counted only if it is kept; the rooms' documents rest by then.
const SETTLE: Duration = Duration::from_secs(12);
const STATE: &str = r##"{"user":{"name":"Member","color":"#3366cc"},"cursor":null}"##;

#[derive(Debug)]
struct Outcome {
    bytes_per_connection: f64,
    cpu_percent: f64,
    generator_percent: f64,
    received: u64,
    ended: u64,
}

pub async fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    let sizes: &[(usize, usize)] = if lab.quick { &SIZES_QUICK } else { &SIZES };
    let mut figures = Vec::new();
    for (connections, members) in sizes.iter().copied() {
        crate::process::allow_open_files(connections as u64 + 200)?;
        // Memory is compared with that of a process that has just started, so each size gets new ones.
        let contenders = Contenders::start(lab).await?;
        let ours = match &contenders.subject {
            Some(subject) => {
                Some(hold(lab, &subject.target(), subject.process.account(), (connections, members)).await?)
            }
            None => None,
        };
        let relay =
            hold(lab, &contenders.relay.target, contenders.relay.process.account(), (connections, members))
                .await?;
        figures.extend(rows(lab, (connections, members), ours.as_ref(), &relay));
    }
    Ok(figures)
}

fn rows(
    lab: &Lab,
    (connections, members): (usize, usize),
    ours: Option<&Outcome>,
    relay: &Outcome,
) -> [Figure; 2] {
    let of = |value: fn(&Outcome) -> f64| (ours.map_or(f64::NAN, value), Some(value(relay)));
    let (memory, memory_relay) = of(|outcome| outcome.bytes_per_connection / 1024.0);
    let (cpu, cpu_relay) = of(|outcome| outcome.cpu_percent);
    let required = Bound::AtMost(8.0);
    let name = |figure: &str| format!("{connections} connections in rooms of {members}: {figure}");
    let memory = Figure::new(SHAPE, name("memory of one"), "KiB", memory)
        .beside(memory_relay, None)
        .goal(Bound::AtMost(6.0));
    let memory = if connections == 5_000 || lab.quick { memory.required(required) } else { memory };
    let done = |name: &str, outcome: &Outcome| {
        let Outcome { received, ended, generator_percent, .. } = outcome;
        format!(
            "{name}: {received} frames read, {ended} sockets ended, generator at {generator_percent:.0} %"
        )
    };
    let both: Vec<String> =
        ours.map(|ours| done("ours", ours)).into_iter().chain([done("relay", relay)]).collect();
    let note = format!(
        "presence each {RENEWAL:?} relayed to all of the room, the sender included; {}",
        both.join("; ")
    );
    let cpu =
        Figure::new(SHAPE, name("CPU"), "%", cpu).beside(cpu_relay, None).goal(Bound::AtMost(3.0)).note(note);
    [memory, cpu]
}

async fn hold(
    lab: &Lab,
    target: &Target,
    account: Account,
    (connections, members): (usize, usize),
) -> Result<Outcome> {
    // One room first: what the first connection makes is no cost of each.
    let first = target.join("idle-first", 0).await?;
    sleep(SETTLE).await;
    let before = account.memory_bytes()?;
    let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let mut tasks = Tasks::default();
    let seats: Vec<usize> = (0..connections).collect();
    for batch in seats.chunks(JOINS_AT_ONCE) {
        let mut joins = Tasks::default();
        for seat in batch.iter().copied() {
            let (target, room) = (target.clone(), format!("idle-{}", seat / members));
            joins.start(async move {
                timeout(JOIN_PATIENCE, target.join(&room, seat)).await.context("no join in time")?
            });
        }
        for member in joins.all().await? {
            let counts = Arc::clone(&counts);
            tasks.start(async move {
                let (received, ended) = &*counts;
                if keep_alive(member, received).await.is_err() {
                    ended.fetch_add(1, Relaxed);
                }
            });
        }
    }
    // Everybody has been present once before anything is counted.
    sleep(if lab.quick { SETTLE } else { RENEWAL + SETTLE }).await;
    let window = if lab.quick { lab.window } else { 2 * RENEWAL };
    counts.0.store(0, Relaxed);
    let busy_before = (account.cpu()?, Account::own().cpu()?);
    sleep(window).await;
    let busy = (account.cpu()? - busy_before.0, Account::own().cpu()? - busy_before.1);
    let grown = account.memory_bytes()?.saturating_sub(before);
    let (received, ended) = (counts.0.load(Relaxed), counts.1.load(Relaxed));
    tasks.stop().await;
    drop(first);
    let percent = |cpu: Duration| 100.0 * cpu.as_secs_f64() / window.as_secs_f64();
    Ok(Outcome {
        bytes_per_connection: grown as f64 / connections as f64,
        cpu_percent: percent(busy.0),
        generator_percent: percent(busy.1),
        received,
        ended,
    })
}

/// Announces its presence at a moment of its own within the first period, and renews it in each.
async fn keep_alive(mut member: Member, received: &AtomicU64) -> Result<()> {
    let client = u64::from(rand::random::<u32>());
    let timer = sleep_until(Instant::now() + RENEWAL.mul_f64(rand::random::<f64>()));
    tokio::pin!(timer);
    for clock in 1.. {
        loop {
            tokio::select! {
                () = &mut timer => break,
                frame = member.receive() => {
                    frame?;
                    received.fetch_add(1, Relaxed);
                }
            }
        }
        let update = awareness(client, clock, STATE);
        member.send(ClientFrame::Awareness(&update).encode()).await?;
        let next = timer.deadline() + RENEWAL;
        timer.as_mut().reset(next);
    }
    Ok(())
}
