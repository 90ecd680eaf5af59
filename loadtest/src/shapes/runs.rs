//! How many runs one core can stream at 50 tokens a second, and how even the streams stay.

use super::run_load::{TokenReader, TokenTally, WatchedRuns, ask_upstream, connect_upstream, token_of};
use crate::{
    bench::Lab,
    client::{Client, ConnectOptions},
    clock::Stamp,
    process::Account,
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

const SHAPE: &str = "runs";
/// A person may have so many at once, so each seat is a person of its own.
const RUNS_PER_SEAT: usize = 4;
/// All runs are under way this long after the first one started.
const RUNS_STARTED_PER_SECOND: usize = 200;
const CANCEL_PATIENCE: Duration = Duration::from_secs(20);
const GAP_MS_MAX: f64 = 50.0;
const GAP_MS_GOAL: f64 = 25.0;
const SEATS_JOINED_AT_ONCE: usize = 32;

/// One number of runs, measured.
#[derive(Debug)]
struct Step {
    runs: usize,
    gap_p99_ms: f64,
    delay_p50_ms: f64,
    delay_p99_ms: f64,
    tokens: u64,
    expected: f64,
    cpu_percent: f64,
    generator_percent: f64,
}

pub async fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    let steps: &[usize] = if lab.quick { &[40, 200] } else { &[200, 400, 600, 800, 1_000] };
    let mut figures = Vec::new();
    let (mut held, mut held_well) = (0, 0);
    let subject = lab.subject().await?;
    for runs in steps.iter().copied() {
        crate::process::allow_open_files(runs as u64 * 3 + 200)?;
        let direct = direct(lab, runs).await?;
        let Some(subject) = &subject else {
            figures.extend(rows(None, &direct));
            continue;
        };
        let ours = through(lab, subject, runs).await?;
        let added = (ours.gap_p99_ms - direct.gap_p99_ms).max(0.0);
        let is_whole = ours.tokens as f64 >= 0.98 * ours.expected;
        figures.extend(rows(Some(&ours), &direct));
        if added > GAP_MS_MAX || !is_whole {
            break;
        }
        held = runs;
        if added <= GAP_MS_GOAL {
            held_well = runs;
        }
    }
    let name = |limit: f64| format!("runs at 50 tokens/s on one core, added gap p99 ≤ {limit} ms");
    let (held, held_well) =
        if subject.is_some() { (held as f64, held_well as f64) } else { (f64::NAN, f64::NAN) };
    figures.push(Figure::new(SHAPE, name(GAP_MS_MAX), "runs", held).required(Bound::AtLeast(200.0)));
    figures.push(Figure::new(SHAPE, name(GAP_MS_GOAL), "runs", held_well).goal(Bound::AtLeast(800.0)));
    Ok(figures)
}

fn rows(ours: Option<&Step>, direct: &Step) -> Vec<Figure> {
    let Step { runs, gap_p99_ms, delay_p50_ms, delay_p99_ms, .. } = direct;
    let mut note = format!(
        "read directly from the upstream double: gap p99 {gap_p99_ms:.1} ms, delay p50 {delay_p50_ms:.1} ms, \
         p99 {delay_p99_ms:.1} ms, generator at {:.0} % of its core",
        direct.generator_percent
    );
    let Some(ours) = ours else {
        return vec![Figure::new(SHAPE, format!("{runs} runs: added gap p99"), "ms", f64::NAN).note(note)];
    };
    note.push_str(&format!(
        "; ours: delay p50 {:.1} ms, p99 {:.1} ms, {} of {:.0} tokens, generator at {:.0} %",
        ours.delay_p50_ms, ours.delay_p99_ms, ours.tokens, ours.expected, ours.generator_percent
    ));
    let added = (ours.gap_p99_ms - direct.gap_p99_ms).max(0.0);
    vec![
        Figure::new(SHAPE, format!("{runs} runs: CPU"), "%", ours.cpu_percent),
        Figure::new(SHAPE, format!("{runs} runs: added gap p99"), "ms", added).note(note),
    ]
}

async fn direct(lab: &Lab, runs: usize) -> Result<Step> {
    let tally = Arc::new(TokenTally::new(begin(lab, runs), lab.window));
    let mut tasks = Tasks::default();
    for index in 0..runs {
        let (tally, address, model) = (Arc::clone(&tally), lab.upstream.address(), lab.run_model());
        let start =
            Stamp::now().after(Duration::from_secs(1) * index as u32 / RUNS_STARTED_PER_SECOND as u32);
        tasks.start(async move {
            sleep_until(start.instant()).await;
            let reading = async {
                let mut connection = connect_upstream(address).await?;
                let mut events = ask_upstream(&mut connection, &model).await?;
                let mut reader = TokenReader::default();
                while let Some(event) = events.next().await? {
                    if let Some(token) = token_of(&event.data) {
                        reader.take(token.as_bytes(), &tally);
                    }
                }
                Ok::<_, anyhow::Error>(())
            };
            if reading.await.is_err() {
                tally.errors.fetch_add(1, Relaxed);
            }
        });
    }
    let step = observe(lab, runs, None, &tally).await?;
    tasks.stop().await;
    lab.upstream.wait_for(CANCEL_PATIENCE, |counts| counts.open == 0).await?;
    Ok(step)
}

async fn through(lab: &Lab, subject: &Subject, runs: usize) -> Result<Step> {
    let seats = join_seats(subject, runs).await?;
    let tally = Arc::new(TokenTally::new(begin(lab, runs), lab.window));
    let mut tasks = Tasks::default();
    let pause = Duration::from_secs(1) * RUNS_PER_SEAT as u32 / RUNS_STARTED_PER_SECOND as u32;
    for (index, mut client) in seats.into_iter().enumerate() {
        let (tally, model) = (Arc::clone(&tally), format!("load/{}", lab.run_model()));
        let start = Stamp::now().after(pause * index as u32);
        let count = RUNS_PER_SEAT.min(runs - index * RUNS_PER_SEAT);
        tasks.start(async move {
            sleep_until(start.instant()).await;
            watch_runs(&mut client, &model, count, &tally).await
        });
    }
    let step = observe(lab, runs, Some(subject), &tally).await;
    // Each seat stops its own runs, so the upstream is free for the next step.
    let ended = tasks.all().await;
    let step = step?;
    ended.context("a seat could not run, watch and stop")?;
    lab.upstream.wait_for(CANCEL_PATIENCE, |counts| counts.open == 0).await?;
    Ok(step)
}

async fn join_seats(subject: &Subject, runs: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    let seats: Vec<usize> = (0..runs.div_ceil(RUNS_PER_SEAT)).collect();
    for batch in seats.chunks(SEATS_JOINED_AT_ONCE) {
        let mut joins = Tasks::default();
        for seat in batch.iter().copied() {
            let token = subject.mint(&format!("seat-{seat}"))?;
            let options = ConnectOptions::page(&token).from(socket::source(seat));
            let (base, room) = (subject.base(), format!("runs-{runs}-{seat}"));
            subject.prompt(&room).await?;
            joins.start(async move {
                let mut client = Client::connect(&base, &room, &options).await?;
                client.join().await?;
                Ok(client)
            });
        }
        clients.extend(joins.all().await?);
    }
    Ok(clients)
}

async fn watch_runs(client: &mut Client, model: &str, count: usize, tally: &TokenTally) -> Result<()> {
    let mut started: Vec<RunId> = Vec::new();
    for _ in 0..count {
        let run = client.run(Some(model)).await?;
        started.push(run.id);
    }
    for run in &started {
        client.watch(*run, RunCursor::START).await?;
    }
    let mut watched = WatchedRuns::default();
    let over = sleep_until(tally.until().after(Duration::from_secs(1)).instant());
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => break,
            frame = client.receive() => {
                if let ServerFrame::Records(records) = frame?.decode()? {
                    watched.take(&records, tally);
                }
            }
        }
    }
    for run in started {
        client.cancel(run).await?;
    }
    Ok(())
}

/// When the window begins: all runs have started and warmed up.
fn begin(lab: &Lab, runs: usize) -> Stamp {
    let starting = Duration::from_secs_f64(runs as f64 / RUNS_STARTED_PER_SECOND as f64);
    Stamp::now().after(starting + lab.warm_up + Duration::from_secs(1))
}

async fn observe(lab: &Lab, runs: usize, subject: Option<&Subject>, tally: &TokenTally) -> Result<Step> {
    let cpu = || subject.map_or(Ok(Duration::ZERO), |subject| subject.process.account().cpu());
    sleep_until(tally.from().instant()).await;
    let before = (cpu()?, Account::own().cpu()?);
    sleep_until(tally.until().instant()).await;
    let after = (cpu()?, Account::own().cpu()?);
    // What was due at the very end may still be on its way.
    sleep_until(tally.until().after(Duration::from_millis(500)).instant()).await;
    let percent = |used: Duration| 100.0 * used.as_secs_f64() / lab.window.as_secs_f64();
    Ok(Step {
        runs,
        gap_p99_ms: tally.gap.p99_ms(),
        delay_p50_ms: tally.delay.p50_ms(),
        delay_p99_ms: tally.delay.p99_ms(),
        tokens: tally.tokens.load(Relaxed),
        expected: runs as f64 * f64::from(crate::bench::TOKENS_PER_SECOND) * lab.window.as_secs_f64(),
        cpu_percent: percent(after.0 - before.0),
        generator_percent: percent(after.1 - before.1),
    })
}
