//! A reader that does not read while its room is busy: what the server keeps for it.

use super::Contenders;
use crate::{
    bench::Lab,
    client::{Client, ConnectOptions},
    edits::Writer,
    process::Account,
    report::{Bound, Figure},
    socket,
    target::{Member, Target},
    tasks::Tasks,
};
use anyhow::Result;
use promptroom_protocol::{ClientFrame, SyncStep};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

const SHAPE: &str = "slow";
const EDITS_PER_SECOND: u32 = 500;
/// One socket may not send so much.
const AUTHORS: u32 = 5;
/// Each edit replaces the last one, so that the document stays small while the traffic does not.
const EDIT_CHARS: usize = 1_000;
/// As little as the kernel gives, so that it is the server that has to hold what is not read.
const RECEIVE_BUFFER_BYTES: u32 = 4_096;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// What is left of the load once the stall is over.
const GOODBYE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Outcome {
    grown_bytes: f64,
    sent: u64,
    received: u64,
    /// How the stalled reader ended.
    ending: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stalled {
    Nobody,
    One,
}

pub async fn measure(lab: &Lab) -> Result<Vec<Figure>> {
    let contenders = Contenders::start(lab).await?;
    let (relay, relay_note) = cost(lab, &contenders.relay.target, contenders.relay.process.account()).await?;
    let mut note = format!(
        "{EDITS_PER_SECOND} edits/s by {AUTHORS} of {EDIT_CHARS} characters for {:?}; most that it grew with one reader that does \
         not read, less the same without it; relay: {relay_note}",
        lab.stall
    );
    let mut mebibytes = f64::NAN;
    if let Some(subject) = &contenders.subject {
        let (ours, ours_note) = cost(lab, &subject.target(), subject.process.account()).await?;
        note.push_str(&format!("; ours: {ours_note}"));
        mebibytes = ours;
    }
    let figure = Figure::new(SHAPE, "memory for one stalled reader", "MiB", mebibytes)
        .beside(Some(relay), None)
        .required(Bound::AtMost(2.0))
        .goal(Bound::AtMost(2.0))
        .note(note);
    Ok(vec![figure])
}

/// Mebibytes for the stalled reader, and what happened.
async fn cost(lab: &Lab, target: &Target, account: Account) -> Result<(f64, String)> {
    // The first busy room makes what any busy room makes.
    edit(lab.warm_up, target, account, "slow-first", Stalled::Nobody).await?;
    let without = edit(lab.stall, target, account, "slow-without", Stalled::Nobody).await?;
    let with = edit(lab.stall, target, account, "slow-with", Stalled::One).await?;
    let Outcome { sent, received, ending, .. } = &with;
    let note = format!("the healthy reader read {received} of {sent} edits, the stalled one {ending}");
    Ok(((with.grown_bytes - without.grown_bytes).max(0.0) / f64::from(1 << 20), note))
}

async fn edit(
    lasts: Duration,
    target: &Target,
    account: Account,
    room: &str,
    stalled: Stalled,
) -> Result<Outcome> {
    let mut authors = Vec::new();
    for index in 0..AUTHORS {
        authors.push(target.join(room, index as usize).await?);
    }
    let mut reader = target.join(room, AUTHORS as usize).await?;
    let stalled = match stalled {
        Stalled::One => Some(join_stalled(target, room).await?),
        Stalled::Nobody => None,
    };
    let before = account.memory_bytes()?;
    let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let mut tasks = Tasks::default();
    let received = Arc::clone(&counts);
    tasks.start(async move {
        while let Ok(frame) = reader.receive().await {
            received.1.fetch_add(u64::from(frame.first() == Some(&0)), Relaxed);
        }
    });
    for author in authors {
        let sent = Arc::clone(&counts);
        tasks.start(async move {
            // That an author was closed shows in the number of edits.
            let _ = write(author, &sent.0).await;
        });
    }
    let deadline = Instant::now() + lasts;
    let mut peak = before;
    while Instant::now() < deadline {
        sleep(SAMPLE_INTERVAL).await;
        peak = peak.max(account.memory_bytes()?);
    }
    tasks.stop().await;
    let ending = match stalled {
        Some(client) => ending(client).await,
        None => String::new(),
    };
    let (sent, received) = (counts.0.load(Relaxed), counts.1.load(Relaxed));
    Ok(Outcome { grown_bytes: (peak - before) as f64, sent, received, ending })
}

async fn write(mut author: Member, sent: &AtomicU64) -> Result<()> {
    let mut writer = Writer::random();
    let mut ticks = interval(Duration::from_secs(1) * AUTHORS / EDITS_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let text = "0123456789".repeat(EDIT_CHARS / 10);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let update = writer.replace(&text);
                author.send(ClientFrame::Sync(SyncStep::Update(&update)).encode()).await?;
                sent.fetch_add(1, Relaxed);
            }
            frame = author.receive() => drop(frame?),
        }
    }
}

/// Reads what is still there, up to the close if there is one.
async fn ending(mut client: Client) -> String {
    let reading = async {
        loop {
            if let Err(error) = client.receive().await {
                return error.to_string();
            }
        }
    };
    match timeout(GOODBYE, reading).await {
        Ok(error) => format!("ended: {error}"),
        Err(_) => "stayed open".to_owned(),
    }
}

/// A member that has joined and reads nothing more.
async fn join_stalled(target: &Target, room: &str) -> Result<Client> {
    let (base, options) = match target {
        Target::Promptroom { bases, token, .. } => (bases[0].clone(), ConnectOptions::page(token)),
        Target::Relay(address) | Target::Raw(address) => (address.to_string(), ConnectOptions::stock("none")),
    };
    let options = ConnectOptions {
        receive_buffer_bytes: Some(RECEIVE_BUFFER_BYTES),
        source: Some(socket::source(3)),
        ..options
    };
    let mut client = Client::connect(&base, room, &options).await?;
    if matches!(target, Target::Promptroom { .. }) {
        client.join().await?;
    }
    Ok(client)
}
