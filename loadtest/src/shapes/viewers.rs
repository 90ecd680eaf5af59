//! One room that a thousand people look at: edits first, then a run's tokens.

use super::{
    Contenders, RoomLoad, RoomOutcome,
    run_load::{TokenTally, WatchedRuns},
};
use crate::{
    bench::{Lab, TOKENS_PER_SECOND},
    client::{Client, ConnectOptions},
    clock::Stamp,
    report::{Bound, Figure},
    socket,
    subject::Subject,
    tasks::Tasks,
};
use anyhow::{Context, Result};
use promptroom_protocol::{RunCursor, RunId, ServerFrame};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::sleep_until;

const SHAPE: &str = "viewers";
const VIEWERS: usize = 1_000;
const EDITS_PER_SECOND: f64 = 50.0;
const FLOOD_EDITS_PER_SECOND: f64 = 800.0;
/// One socket may not send so much.
const FLOOD_WRITERS: usize = 8;
const JOINS_AT_ONCE: usize = 64;

pub async fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    crate::process::allow_open_files(VIEWERS as u64 * 2 + 200)?;
    let contenders = Contenders::start(lab).await?;
    let (warm_up, window) = (lab.warm_up, lab.window);
    let load = RoomLoad {
        rooms: 1,
        members: VIEWERS + 1,
        writers: 1,
        edits_per_second: EDITS_PER_SECOND,
        warm_up,
        window,
    };
    let compared = contenders.run(lab, &load, "viewers").await?;
    let cpu = compared.figure(SHAPE, "edits: CPU a delivery", "µs", RoomOutcome::cpu_micros_per_delivery);
    let relay = cpu.relay;
    let mut figures = vec![
        cpu.required(Bound::TimesRelay(1.3)).goal(Bound::TimesRelay(1.1)),
        compared.figure(SHAPE, "edits: p99", "ms", |round| round.latency.p99_ms()).note(compared.note(&load)),
    ];

    let mut rounds = Vec::new();
    if let Some(subject) = &contenders.subject {
        for round in 0..lab.rounds {
            rounds.push(watch(lab, subject, &format!("tokens-{round}")).await?);
        }
    }
    figures.extend(token_rows(&rounds, relay));

    if !lab.quick {
        let flood = RoomLoad { edits_per_second: FLOOD_EDITS_PER_SECOND, writers: FLOOD_WRITERS, ..load };
        let compared = contenders.run(lab, &flood, "flood").await?;
        let name = |figure: &str| format!("{FLOOD_EDITS_PER_SECOND} edits/s: {figure}");
        let p99 = compared.figure(SHAPE, name("p99"), "ms", |round| round.latency.p99_ms());
        figures.push(p99.goal(Bound::AtMost(25.0)));
        let lost = compared.figure(SHAPE, name("deliveries lost"), "", |round| round.lost as f64);
        figures.push(lost.goal(Bound::AtMost(0.0)).note(compared.note(&flood)));
    }
    Ok(figures)
}

/// One run watched by all, measured.
#[derive(Debug)]
struct Watched {
    cpu_micros_per_token: f64,
    delay_p99_ms: f64,
    delivered: u64,
    expected: u64,
}

fn token_rows(rounds: &[Watched], relay: Option<f64>) -> [Figure; 2] {
    let median = |value: fn(&Watched) -> f64| crate::latency::median(rounds.iter().map(value).collect());
    let delivered: u64 = rounds.iter().map(|round| round.delivered).sum();
    let expected: u64 = rounds.iter().map(|round| round.expected).sum();
    let note = format!(
        "one run at {TOKENS_PER_SECOND} tokens/s watched by {VIEWERS}, {delivered} of {expected} tokens; beside it the \
         relay's cost of a delivered edit"
    );
    [
        Figure::new(
            SHAPE,
            "tokens: CPU a token and viewer",
            "µs",
            median(|round| round.cpu_micros_per_token),
        )
        .beside(relay, None)
        .required(Bound::TimesRelay(0.7))
        .goal(Bound::TimesRelay(0.5)),
        Figure::new(SHAPE, "tokens: p99 from due to read", "ms", median(|round| round.delay_p99_ms))
            .note(note),
    ]
}

async fn watch(lab: &Lab, subject: &Subject, room: &str) -> Result<Watched> {
    let options = ConnectOptions::page(&subject.token);
    let base = subject.base();
    subject.prompt(room).await?;
    let mut runner = Client::connect(&base, room, &options).await?;
    runner.join().await?;
    let mut viewers = Vec::new();
    for batch in (0..VIEWERS).collect::<Vec<_>>().chunks(JOINS_AT_ONCE) {
        let mut joins = Tasks::default();
        for index in batch.iter().copied() {
            let (base, room) = (base.clone(), room.to_owned());
            let options = options.clone().from(socket::source(index));
            joins.start(async move {
                let mut client = Client::connect(&base, &room, &options).await?;
                client.join().await?;
                Ok(client)
            });
        }
        viewers.extend(joins.all().await?);
    }
    let run = runner.run(Some(&format!("load/{}", lab.run_model()))).await?.id;
    let tally =
        Arc::new(TokenTally::new(Stamp::now().after(lab.warm_up + Duration::from_secs(1)), lab.window));
    let mut tasks = Tasks::default();
    for client in viewers {
        let tally = Arc::clone(&tally);
        tasks.start(async move {
            if view(client, run, &tally).await.is_err() {
                tally.errors.fetch_add(1, Relaxed);
            }
        });
    }
    sleep_until(tally.from().instant()).await;
    let before = subject.process.account().cpu()?;
    sleep_until(tally.until().instant()).await;
    let cpu = subject.process.account().cpu()? - before;
    sleep_until(tally.until().after(Duration::from_millis(500)).instant()).await;
    runner.cancel(run).await.context("the watched run could not be stopped")?;
    tasks.stop().await;
    let delivered = tally.tokens.load(Relaxed);
    Ok(Watched {
        cpu_micros_per_token: cpu.as_micros() as f64 / delivered.max(1) as f64,
        delay_p99_ms: tally.delay.p99_ms(),
        delivered,
        expected: (VIEWERS as f64 * f64::from(TOKENS_PER_SECOND) * lab.window.as_secs_f64()) as u64,
    })
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
