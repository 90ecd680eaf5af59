//! Three nodes, people who type, run and watch, and a random schedule of what can go wrong. Afterwards everything is
//! healed, and every promise is checked.

use super::{PROMPT, all_is_settled, make_prompt, with_double};
use anyhow::{Context, Result, bail, ensure};
use promptroom_loadtest::{
    client::{Client, ClientError, ConnectOptions, Create},
    run_reader::RunReader,
    tasks::Tasks,
    upstream::{Upstream, numbered_text},
};
use promptroom_protocol::{Action, Command, CommandId, Overrides, Role, RunId, RunState};
use promptroom_tests::{
    Cluster, ClusterSettings, Crowd, FaultProxy, Place, Way, is_away, minutes, seeded, view_to_end,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

const NODES: usize = 3;
const PEOPLE: usize = 6;
const RUNNERS: usize = 2;
/// In `make test`.
const SHORT: Duration = Duration::from_secs(40);
/// As many as a node has slots: all start at once only if every slot is free.
const SLOTS: usize = 8;
const TOKENS: u64 = 300;
/// A command whose answer never came is sent again until then.
const ASK_LIMIT: Duration = Duration::from_secs(90);

/// What goes wrong, until it is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    NodeKilled(usize),
    NodeStopped(usize),
    RedisKilled,
    RedisStopped,
    RedisFlushed,
    PostgresKilled,
    PostgresStopped,
    Line(usize, Peer, Weather),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Postgres,
    Redis,
    People,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Held(Way),
    CutAfter(Way, u64),
    Shut,
    Slow,
}

impl Fault {
    /// How long it may last, in milliseconds: a node is now and then silent for longer than a claim takes.
    fn lasts_ms(self, random: &mut StdRng) -> u64 {
        match self {
            Fault::NodeStopped(_) if random.random_ratio(1, 3) => random.random_range(6_000..9_000),
            Fault::PostgresStopped | Fault::PostgresKilled => random.random_range(100..2_500),
            _ => random.random_range(100..4_000),
        }
    }

    fn draw(random: &mut StdRng) -> Fault {
        let node = random.random_range(0..NODES);
        match random.random_range(0..16) {
            0..=2 => Fault::NodeKilled(node),
            3..=5 => Fault::NodeStopped(node),
            6 => Fault::RedisKilled,
            7 => Fault::RedisStopped,
            8 => Fault::RedisFlushed,
            9 => Fault::PostgresKilled,
            10 => Fault::PostgresStopped,
            _ => Fault::Line(node, Peer::draw(random), Weather::draw(random)),
        }
    }

    /// Two of the same thing at once would heal each other.
    fn touches(self) -> (u8, usize, Option<Peer>) {
        match self {
            Fault::NodeKilled(node) | Fault::NodeStopped(node) => (0, node, None),
            Fault::RedisKilled | Fault::RedisStopped | Fault::RedisFlushed => (1, 0, None),
            Fault::PostgresKilled | Fault::PostgresStopped => (2, 0, None),
            Fault::Line(node, peer, _) => (3, node, Some(peer)),
        }
    }

    fn begin(self, cluster: &mut Cluster) -> Result<()> {
        match self {
            Fault::NodeKilled(node) => cluster.node_mut(node).server.kill()?,
            Fault::NodeStopped(node) => cluster.node(node).server.suspend()?,
            Fault::RedisKilled => cluster.redis.kill()?,
            Fault::RedisStopped => cluster.redis.suspend()?,
            Fault::RedisFlushed => cluster.redis.flush_all()?,
            Fault::PostgresKilled => cluster.postgres.kill()?,
            Fault::PostgresStopped => cluster.postgres.suspend()?,
            Fault::Line(node, peer, weather) => weather.begin(line(cluster, node, peer)),
        }
        Ok(())
    }

    async fn heal(self, cluster: &mut Cluster) -> Result<()> {
        match self {
            Fault::NodeKilled(node) => cluster.node_mut(node).server.start_unready()?,
            Fault::NodeStopped(node) => cluster.node(node).server.resume()?,
            Fault::RedisKilled => cluster.redis.start_again().await?,
            Fault::RedisStopped => cluster.redis.resume()?,
            Fault::RedisFlushed => {}
            Fault::PostgresKilled => cluster.postgres.start_again().await?,
            Fault::PostgresStopped => cluster.postgres.resume()?,
            Fault::Line(node, peer, _) => line(cluster, node, peer).open(),
        }
        Ok(())
    }
}

fn line(cluster: &Cluster, node: usize, peer: Peer) -> &FaultProxy {
    let node = cluster.node(node);
    match peer {
        Peer::Postgres => &node.to_postgres,
        Peer::Redis => &node.to_redis,
        Peer::People => &node.door,
    }
}

impl Peer {
    fn draw(random: &mut StdRng) -> Peer {
        [Peer::Postgres, Peer::Redis, Peer::People][random.random_range(0..3)]
    }
}

impl Weather {
    fn draw(random: &mut StdRng) -> Weather {
        let way = if random.random() { Way::ToServer } else { Way::ToClient };
        match random.random_range(0..5) {
            0 | 1 => Weather::Held(way),
            2 => Weather::CutAfter(way, random.random_range(0..20_000)),
            3 => Weather::Shut,
            _ => Weather::Slow,
        }
    }

    fn begin(self, line: &FaultProxy) {
        match self {
            Weather::Held(way) => line.hold(way),
            Weather::CutAfter(way, bytes) => line.cut_after(way, bytes),
            Weather::Shut => line.shut(),
            Weather::Slow => line.delay(Duration::from_millis(120)),
        }
    }
}

/// 1–4, 13–18, 30 and 32, in any order and at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_nothing_acknowledged_is_lost_doubled_or_paid_twice() -> Result<()> {
    let settings = ClusterSettings::default().environment("PROMPTROOM_RUNS_PER_MEMBER", SLOTS);
    let (mut cluster, upstream) = with_double(NODES, settings).await?;
    let kept = keeps_its_promises(&mut cluster, &upstream).await;
    if kept.is_err() {
        eprintln!("{}", cluster.account());
    }
    kept
}

async fn keeps_its_promises(cluster: &mut Cluster, upstream: &Upstream) -> Result<()> {
    let mut random = seeded();
    let api = cluster.api(0, &cluster.token(Role::Editor)?);
    make_prompt(&api).await?;
    let place = Place { doors: cluster.doors(), prompt: "crowded".into(), token: api.token().into() };
    let crowd = Crowd::gather(&place, PEOPLE, &mut random).await?;
    let stage = Place { prompt: PROMPT.into(), ..place };
    let stop = watch::Sender::new(false);
    let mut runners: Tasks<Result<Vec<RunReader>>> = Tasks::default();
    for _ in 0..RUNNERS {
        let random = StdRng::seed_from_u64(random.random());
        runners.start(run_until(stage.clone(), random, stop.subscribe()));
    }

    let lasts = minutes().unwrap_or(SHORT);
    hurt_for(cluster, lasts, &mut random).await?;

    stop.send_replace(true);
    let watched: Vec<RunReader> = runners.all().await?.into_iter().flatten().collect();
    let edits = crowd.settle().await?;
    eprintln!("{edits} edits, {} runs", watched.len());
    ensure!(edits > 0 && !watched.is_empty(), "nothing was done in all that time");
    for reader in &watched {
        check(cluster, &stage, reader).await.with_context(|| format!("run {}", reader.run()))?;
    }
    all_is_settled(&cluster.sql(), upstream).await?;
    all_slots_are_free(cluster, &stage).await
}

/// Faults begin and are healed at random moments, some of them at once; in the end all is healed and every node is ready.
async fn hurt_for(cluster: &mut Cluster, lasts: Duration, random: &mut StdRng) -> Result<()> {
    let started = Instant::now();
    let mut going: Vec<(Instant, Fault)> = Vec::new();
    while started.elapsed() < lasts {
        // The moments are the schedule: nothing is waited for.
        sleep_until(Instant::now() + Duration::from_millis(random.random_range(50..900))).await;
        let is_over = |(until, _): &mut (Instant, Fault)| *until <= Instant::now();
        let over: Vec<(Instant, Fault)> = going.extract_if(.., is_over).collect();
        for (_, fault) in over {
            heal(cluster, fault, started).await?;
        }
        supervise(cluster, &going)?;
        let fault = Fault::draw(random);
        let lasts_ms = fault.lasts_ms(random);
        if going.len() >= 2 || going.iter().any(|(_, other)| other.touches() == fault.touches()) {
            continue;
        }
        eprintln!("{:6} ms: {fault:?} for {lasts_ms} ms", started.elapsed().as_millis());
        fault.begin(cluster).with_context(|| format!("{fault:?}"))?;
        going.push((Instant::now() + Duration::from_millis(lasts_ms), fault));
    }
    for (_, fault) in going {
        heal(cluster, fault, started).await?;
    }
    let nobody_is_killed = [];
    supervise(cluster, &nobody_is_killed)?;
    for number in 0..NODES {
        cluster.node_mut(number).server.until_ready().await.with_context(|| format!("node {number}"))?;
    }
    Ok(())
}

/// Starts nodes again that have ended by themselves, which they may do only where there was no database to start with.
fn supervise(cluster: &mut Cluster, going: &[(Instant, Fault)]) -> Result<()> {
    for number in 0..NODES {
        let is_killed = going.iter().any(|(_, fault)| *fault == Fault::NodeKilled(number));
        let server = &mut cluster.node_mut(number).server;
        if !is_killed && server.has_ended()? {
            let log = server.log();
            let is_broken = log.contains("broke down") || log.contains("panicked");
            ensure!(!is_broken, "node {number} broke down:\n{log}");
            server.start_unready()?;
        }
    }
    Ok(())
}

async fn heal(cluster: &mut Cluster, fault: Fault, started: Instant) -> Result<()> {
    eprintln!("{:6} ms: {fault:?} is over", started.elapsed().as_millis());
    fault.heal(cluster).await.with_context(|| format!("{fault:?}"))
}

/// Runs, and watches each to its end through any door, until told to stop.
async fn run_until(place: Place, mut random: StdRng, stop: watch::Receiver<bool>) -> Result<Vec<RunReader>> {
    let mut watched = Vec::new();
    while !*stop.borrow() {
        let Some(run) = ask_for_a_run(&place, &mut random, &stop).await? else { break };
        let mut doors = place.doors.clone();
        doors.rotate_left(random.random_range(0..NODES));
        watched.push(view_to_end(&doors, &place.prompt, &place.token, run).await?);
    }
    Ok(watched)
}

/// One command, sent again through another door until it is answered; none if it was refused until the end.
async fn ask_for_a_run(
    place: &Place,
    random: &mut StdRng,
    stop: &watch::Receiver<bool>,
) -> Result<Option<RunId>> {
    let id = Uuid::now_v7();
    // A name of its own, so that the upstream's count of it can be told from all others.
    let model = format!("double/paced-100-{TOKENS}.{}", id.simple());
    let overrides = Overrides { model: Some(model), ..Overrides::default() };
    let action = Action::Run { variant: None, inputs: None, overrides };
    let command = Command { id: CommandId(id), action };
    let give_up_at = Instant::now() + ASK_LIMIT;
    let mut was_refused = true;
    while !(*stop.borrow() && was_refused) {
        if Instant::now() > give_up_at {
            bail!("no answer to a command within {ASK_LIMIT:?}");
        }
        let door = &place.doors[random.random_range(0..NODES)];
        match ask(door, place, command.clone()).await {
            Ok(run) => return Ok(Some(run)),
            // Not started, as it says; or too many already.
            Err(ClientError::Problem(problem)) if problem.status == 503 || problem.status == 429 => {}
            Err(error) => {
                let error = error.into();
                ensure!(is_away(&error), "a run was refused for good: {error:#}");
                was_refused = false;
            }
        }
        sleep(Duration::from_millis(random.random_range(50..300))).await;
    }
    Ok(None)
}

async fn ask(door: &str, place: &Place, command: Command) -> Result<RunId, ClientError> {
    let options = ConnectOptions { create: Create::Never, ..ConnectOptions::page(&place.token) };
    let mut client = Client::connect(door, &place.prompt, &options).await?;
    client.join().await?;
    Ok(client.repeat_command(command).await?.id)
}

/// What was seen is what is stored, and a run that did not end early said all that it had to say.
async fn check(cluster: &Cluster, place: &Place, reader: &RunReader) -> Result<()> {
    let api = cluster.api(1, &place.token);
    let over = api.summary(reader.run()).await?;
    ensure!(over.state.is_terminal(), "seen to end, and yet {:?}", over.state);
    ensure!(reader.blocks() == api.stored_blocks(reader.run()).await?, "seen and stored differ");
    let whole = numbered_text(TOKENS);
    ensure!(whole.as_bytes().starts_with(reader.bytes()), "bytes that the model did not say");
    if over.state == RunState::Completed {
        ensure!(reader.bytes() == whole.as_bytes(), "completed with {} bytes", reader.bytes().len());
    }
    ensure!((over.seams.len() as u32) < over.epoch.0, "{over:?}");
    Ok(())
}

async fn all_slots_are_free(cluster: &Cluster, place: &Place) -> Result<()> {
    for number in 0..NODES {
        let mut waiting = Tasks::default();
        for _ in 0..SLOTS {
            let api = cluster.api(number, &cluster.token(Role::Editor)?);
            let (door, place) = (cluster.ws(number), place.clone());
            waiting.start(async move {
                let run = api.run(&place.prompt, "double/paced-100-100").await?;
                ensure!(run.state != RunState::Queued, "a slot is still taken: {:?}", run.queue);
                view_to_end(&[door], &place.prompt, &place.token, run.id).await.map(drop)
            });
        }
        waiting.all().await?;
    }
    Ok(())
}
