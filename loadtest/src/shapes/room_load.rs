//! Rooms in which some type and all read: what typing and viewers have in common.

use crate::{
    clock::Stamp,
    edits::{Writer, stamps},
    latency::Latency,
    process::Account,
    target::{Member, Target},
    tasks::Tasks,
};
use anyhow::{Context, Result};
use bytes::Bytes;
use promptroom_protocol::{ServerFrame, SyncStep};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

const JOINS_AT_ONCE: usize = 64;
const DRAIN: Duration = Duration::from_secs(3);
const DRAIN_STEP: Duration = Duration::from_millis(20);
const ERRORS_KEPT: usize = 5;
const JOIN_PATIENCE: Duration = Duration::from_secs(30);

/// How many rooms, how full, how busy and for how long.
#[derive(Clone, Copy, Debug)]
pub struct RoomLoad {
    pub rooms: usize,
    pub members: usize,
    /// How many of a room's members type.
    pub writers: usize,
    /// In each room, by all its writers together.
    pub edits_per_second: f64,
    pub warm_up: Duration,
    pub window: Duration,
}

/// What came of it, within the window.
#[derive(Debug)]
pub struct RoomOutcome {
    /// Processor time of each of the measured processes.
    pub cpus: Vec<Duration>,
    /// Processor time of this process: near the window's length, the figures are the generator's.
    pub generator_cpu: Duration,
    pub sent: u64,
    pub delivered: u64,
    pub lost: u64,
    /// Sockets that ended early, and the first reasons.
    pub errors: u64,
    pub reasons: Vec<String>,
    pub latency: Latency,
    /// Of edits written on another node than they were read on.
    pub crossed: Latency,
    pub saved: Latency,
}

impl RoomOutcome {
    pub fn cpu(&self) -> Duration {
        self.cpus.iter().sum()
    }

    pub fn cpu_micros_per_delivery(&self) -> f64 {
        self.cpu().as_micros() as f64 / self.delivered.max(1) as f64
    }
}

/// What all members write to.
#[derive(Debug, Default)]
struct Tally {
    /// Writers that are not done.
    writing: AtomicU64,
    sent: AtomicU64,
    delivered: AtomicU64,
    errors: AtomicU64,
    reasons: Mutex<Vec<String>>,
    latency: Latency,
    crossed: Latency,
    saved: Latency,
}

/// Where a member is: one of so many nodes.
#[derive(Clone, Copy, Debug)]
struct Place {
    node: u64,
    nodes: u64,
}

/// What a member counts what it reads by, and where to.
#[derive(Clone, Copy, Debug)]
struct Reading<'a> {
    place: Place,
    window: Window,
    tally: &'a Tally,
}

/// When edits count, and when the last one is written.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Stamp,
    until: Stamp,
}

impl Window {
    fn holds(self, stamp: Stamp) -> bool {
        (self.from..self.until).contains(&stamp)
    }
}

/// Puts the load on `target`, whose processes have `accounts`; rooms are named after `name`.
pub async fn run(load: &RoomLoad, target: &Target, accounts: &[Account], name: &str) -> Result<RoomOutcome> {
    let members = join_all(load, target, name).await?;
    let from = Stamp::now().after(load.warm_up);
    let window = Window { from, until: from.after(load.window) };
    let tally = Arc::new(Tally::default());
    tally.writing.store((load.rooms * load.writers) as u64, Relaxed);
    let mut tasks = Tasks::default();
    let interval = Duration::from_secs_f64(load.writers as f64 / load.edits_per_second);
    for (index, member) in members.into_iter().enumerate() {
        let seat = index % load.members;
        let phase = interval.mul_f64((seat as f64 + rand::random::<f64>()) / load.writers as f64);
        let place = Place { node: target.node_of(index) as u64, nodes: target.nodes() as u64 };
        let schedule =
            (seat < load.writers).then(|| Schedule::new(Stamp::now().after(phase), interval, place));
        tasks.start(take_part(member, schedule, place, window, Arc::clone(&tally)));
    }

    sleep_until(window.from.instant()).await;
    let before = (cpus_of(accounts)?, Account::own().cpu()?);
    sleep_until(window.until.instant()).await;
    let after = (cpus_of(accounts)?, Account::own().cpu()?);
    wait_for_the_rest(&tally, load.members as u64 - 1).await;
    tasks.stop().await;

    let tally = Arc::into_inner(tally).context("a member still runs")?;
    let expected = tally.sent.load(Relaxed) * (load.members as u64 - 1);
    let delivered = tally.delivered.into_inner();
    Ok(RoomOutcome {
        cpus: used_since(&before.0, &after.0),
        generator_cpu: after.1.saturating_sub(before.1),
        sent: tally.sent.into_inner(),
        delivered,
        lost: expected.saturating_sub(delivered),
        errors: tally.errors.into_inner(),
        reasons: tally.reasons.into_inner().unwrap_or_else(PoisonError::into_inner),
        latency: tally.latency,
        crossed: tally.crossed,
        saved: tally.saved,
    })
}

pub fn cpus_of(accounts: &[Account]) -> Result<Vec<Duration>> {
    accounts.iter().map(|account| account.cpu()).collect()
}

pub fn used_since(before: &[Duration], after: &[Duration]) -> Vec<Duration> {
    after.iter().zip(before).map(|(after, before)| after.saturating_sub(*before)).collect()
}

/// Joins the first member of each room before the others, so that each room is made once.
pub async fn join_all(load: &RoomLoad, target: &Target, name: &str) -> Result<Vec<Member>> {
    let total = load.rooms * load.members;
    let mut members: Vec<Option<Member>> = (0..total).map(|_| None).collect();
    let (first, others): (Vec<usize>, Vec<usize>) = (0..total).partition(|index| index % load.members == 0);
    for indices in [first, others] {
        for batch in indices.chunks(JOINS_AT_ONCE) {
            let mut joins = Tasks::default();
            for index in batch.iter().copied() {
                let (target, room) = (target.clone(), format!("{name}-{}", index / load.members));
                joins.start(async move {
                    let joined =
                        timeout(JOIN_PATIENCE, target.join(&room, index)).await.context("no join in time");
                    Ok((index, joined??))
                });
            }
            for (index, member) in joins.all().await? {
                members[index] = Some(member);
            }
        }
    }
    Ok(members.into_iter().flatten().collect())
}

/// Waits until each writer has written all that it should, and each other member of its room has read it.
async fn wait_for_the_rest(tally: &Tally, readers: u64) {
    let deadline = Instant::now() + DRAIN;
    let is_done = || {
        tally.writing.load(Relaxed) == 0
            && tally.delivered.load(Relaxed) >= tally.sent.load(Relaxed) * readers
    };
    while !is_done() && Instant::now() < deadline {
        sleep(DRAIN_STEP).await;
    }
}

/// When a writer writes: fixed beforehand, however late the last one was.
#[derive(Debug)]
struct Schedule {
    next: Stamp,
    interval: Duration,
    writer: Writer,
    unsaved: VecDeque<(u64, Stamp)>,
    frames: u64,
}

impl Schedule {
    fn new(first: Stamp, interval: Duration, place: Place) -> Self {
        let writer = Writer::random_of(place.node, place.nodes);
        // The first document frame of a page member is its SyncStep2.
        Schedule { next: first, interval, writer, unsaved: VecDeque::new(), frames: 1 }
    }
}

async fn take_part(
    mut member: Member,
    mut schedule: Option<Schedule>,
    place: Place,
    window: Window,
    tally: Arc<Tally>,
) {
    let reading = Reading { place, window, tally: &tally };
    let ended = match &mut schedule {
        Some(schedule) => write_and_read(&mut member, schedule, reading).await,
        None => read(&mut member, reading).await,
    };
    let Err(error) = ended else { return };
    tally.errors.fetch_add(1, Relaxed);
    let mut reasons = tally.reasons.lock().unwrap_or_else(PoisonError::into_inner);
    if reasons.len() < ERRORS_KEPT {
        reasons.push(format!("{error:#}"));
    }
}

async fn read(member: &mut Member, reading: Reading<'_>) -> Result<()> {
    loop {
        let frame = member.receive().await?;
        count(&frame, reading)?;
    }
}

async fn write_and_read(member: &mut Member, schedule: &mut Schedule, reading: Reading<'_>) -> Result<()> {
    let Reading { window, tally, .. } = reading;
    let timer = sleep_until(schedule.next.instant());
    tokio::pin!(timer);
    while schedule.next < window.until {
        tokio::select! {
            () = &mut timer => {
                let intended = schedule.next;
                member.send(schedule.writer.stamped_frame(intended)).await?;
                schedule.frames += 1;
                schedule.next = intended.after(schedule.interval);
                timer.as_mut().reset(schedule.next.instant());
                if window.holds(intended) {
                    tally.sent.fetch_add(1, Relaxed);
                    schedule.unsaved.push_back((schedule.frames, intended));
                }
            }
            frame = member.receive() => take(member, &frame?, schedule, reading)?,
        }
    }
    tally.writing.fetch_sub(1, Relaxed);
    loop {
        let frame = member.receive().await?;
        take(member, &frame, schedule, reading)?;
    }
}

fn take(member: &Member, frame: &Bytes, schedule: &mut Schedule, reading: Reading<'_>) -> Result<()> {
    let saved = member.saved();
    while let Some((_, intended)) = schedule.unsaved.pop_front_if(|(number, _)| *number <= saved) {
        reading.tally.saved.since(intended);
    }
    count(frame, reading)
}

fn count(frame: &Bytes, reading: Reading<'_>) -> Result<()> {
    // Only document frames are counted; the rest is not even decoded.
    if frame.first() != Some(&0) {
        return Ok(());
    }
    let ServerFrame::Sync(SyncStep::Update(update)) = ServerFrame::decode(frame)? else { return Ok(()) };
    let Reading { place, window, tally } = reading;
    for (client, stamp) in stamps(update)?.into_iter().filter(|(_, stamp)| window.holds(*stamp)) {
        tally.delivered.fetch_add(1, Relaxed);
        tally.latency.since(stamp);
        if client % place.nodes != place.node {
            tally.crossed.since(stamp);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{raw_relay::RawRelay, relay::Relay};
    use std::net::{Ipv4Addr, SocketAddr};

    const LOAD: RoomLoad = RoomLoad {
        rooms: 3,
        members: 4,
        writers: 2,
        edits_per_second: 200.0,
        warm_up: Duration::from_millis(100),
        window: Duration::from_millis(500),
    };
    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    async fn check(target: Target) {
        let outcome = run(&LOAD, &target, &[Account::own()], "room").await.unwrap();
        assert_eq!((outcome.sent, outcome.delivered, outcome.lost), (300, 900, 0), "{:?}", outcome.reasons);
        assert_eq!((outcome.latency.count(), outcome.errors), (900, 0), "{:?}", outcome.reasons);
    }

    #[tokio::test]
    async fn the_relay_delivers_each_edit_to_all_others() {
        let relay = Relay::start(ANY_PORT).await.unwrap();
        check(Target::Relay(relay.address())).await;
    }

    #[tokio::test]
    async fn plain_tcp_delivers_each_edit_to_all_others() {
        let relay = RawRelay::start(ANY_PORT).await.unwrap();
        check(Target::Raw(relay.address())).await;
    }
}
