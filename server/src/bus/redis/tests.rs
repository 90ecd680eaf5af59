//! Two nodes on a Redis that is killed, frozen, cut off and filled with garbage.

#[allow(dead_code, reason = "shared with the tests that start whole servers, which use more of it")]
#[path = "../../../../tests/src/redis.rs"]
mod redis_server;
#[path = "../../../../tests/src/wait.rs"]
mod wait;

use super::*;
use crate::bus::{Bus, Piece, Subscription};
use ::redis::Value;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use promptroom_protocol::{BlockKind, Epoch, LineageId, MemberId, Offset, PromptId, RunId};
use redis_server::Redis as Server;
use std::{future::pending, time::Instant};
use tokio::{task::JoinSet, time::timeout};
use wait::{PATIENCE, until};

const WORKSPACE: Uuid = Uuid::from_u128(1);
const ROOM: Topic = Topic::Room(PromptId(Uuid::from_u128(2)));
const HEALS_WITHIN: Duration = Duration::from_secs(2);
/// A ping's time and its limit, and one more for the machine.
const NOTICED_WITHIN: Duration = Duration::from_millis(2_500);

/// A node without rooms; what it hears is read by the test.
struct Node {
    redis: Arc<Redis>,
    bus: Bus,
    ears: Ears,
    _upkeep: JoinSet<()>,
}

impl Node {
    fn start(url: &str, node: u128) -> Result<Node> {
        let (redis, ears, upkeep) = Redis::start(url, WORKSPACE, Uuid::from_u128(node))?;
        let mut running = JoinSet::new();
        running.spawn(upkeep.run(pending()));
        Ok(Node { bus: Bus::Redis(redis.clone()), redis, ears, _upkeep: running })
    }

    /// One that is connected, and has been told that it missed what was before.
    async fn join(server: &Server, node: u128) -> Result<Node> {
        let mut started = Node::start(&server.url(), node)?;
        started.until_connected().await?;
        assert_eq!(started.next().await?, Heard::Missed);
        Ok(started)
    }

    async fn until_connected(&self) -> Result<()> {
        until("both connections", async || Ok(self.connections().eq(&(true, true)).then_some(()))).await
    }

    async fn until_cut_off(&self) -> Result<()> {
        until("the loss of both connections", async || {
            Ok(self.connections().eq(&(false, false)).then_some(()))
        })
        .await
    }

    fn connections(&self) -> (bool, bool) {
        (self.redis.standing.is_up(Part::Publishing), self.redis.standing.is_up(Part::Listening))
    }

    async fn next(&mut self) -> Result<Heard> {
        timeout(PATIENCE, self.ears.recv()).await.context("nothing was heard")?.context("the ears are closed")
    }

    async fn until_missed(&mut self) -> Result<()> {
        while self.next().await? != Heard::Missed {}
        Ok(())
    }

    /// Publishes again and again until `other` hears it: notes may be lost while a connection comes back.
    async fn until_heard_by(&self, other: &mut Node) -> Result<()> {
        until("a note from one node to the other", async || {
            self.bus.publish(ROOM, cancel(77));
            while let Ok(heard) = other.ears.try_recv() {
                if heard == (Heard::Note { topic: ROOM, note: cancel(77) }) {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
        .await
    }
}

fn cancel(number: u128) -> Note {
    Note::Cancel { run: RunId(Uuid::from_u128(number)), by: MemberId(Uuid::from_u128(5)) }
}

fn heard(number: u128) -> Heard {
    Heard::Note { topic: ROOM, note: cancel(number) }
}

fn channel(topic: Topic) -> String {
    Channels::of(WORKSPACE).name(topic)
}

/// Two nodes, of which the second hears the room.
async fn pair(server: &Server) -> Result<(Node, Node, Subscription)> {
    let (first, second) = (Node::join(server, 10).await?, Node::join(server, 20).await?);
    let subscription = second.bus.subscribe(ROOM).await;
    Ok((first, second, subscription))
}

#[tokio::test]
async fn a_note_reaches_the_other_nodes_in_order_and_not_its_own() -> Result<()> {
    let server = Server::start().await?;
    let (mut first, mut second, _there) = pair(&server).await?;
    let _here = first.bus.subscribe(ROOM).await;
    assert!(first.bus.has_others());
    for number in 0..200 {
        first.bus.publish(ROOM, cancel(number));
    }
    for number in 0..200 {
        assert_eq!(second.next().await?, heard(number));
    }
    second.bus.publish(ROOM, cancel(1_000));
    assert_eq!(first.next().await?, heard(1_000), "its own notes would have come before");
    Ok(())
}

#[tokio::test]
async fn rooms_that_are_not_subscribed_and_other_workspaces_are_not_heard() -> Result<()> {
    let server = Server::start().await?;
    let (first, mut second, _there) = pair(&server).await?;
    let (stranger, _ears, upkeep) = Redis::start(&server.url(), Uuid::from_u128(99), Uuid::from_u128(30))?;
    let mut running = JoinSet::new();
    running.spawn(upkeep.run(pending()));
    until("the stranger", async || Ok(stranger.standing.is_up(Part::Publishing).then_some(()))).await?;
    stranger.publish(ROOM, cancel(1));
    first.bus.publish(Topic::Workspace, Note::Rights);
    first.bus.publish(Topic::Room(PromptId(Uuid::from_u128(3))), cancel(2));
    first.until_heard_by(&mut second).await?;
    Ok(())
}

#[tokio::test]
async fn the_last_subscription_that_is_dropped_ends_it_at_redis() -> Result<()> {
    let server = Server::start().await?;
    let (_first, second, subscription) = pair(&server).await?;
    let again = second.bus.subscribe(ROOM).await;
    assert_eq!(server.subscribers(&channel(ROOM))?, 1, "subscribed when subscribe() resolves");
    drop(subscription);
    let other = second.bus.subscribe(Topic::Workspace).await;
    assert_eq!(server.subscribers(&channel(ROOM))?, 1);
    drop((again, other));
    until("no subscriber", async || Ok((server.subscribers(&channel(ROOM))? == 0).then_some(()))).await?;
    until("no subscriber", async || Ok((server.subscribers(&channel(Topic::Workspace))? == 0).then_some(())))
        .await
}

#[tokio::test]
async fn a_redis_that_was_killed_and_comes_back_is_used_again_and_the_gap_is_told() -> Result<()> {
    let mut server = Server::start().await?;
    let (first, mut second, _there) = pair(&server).await?;
    for _ in 0..2 {
        server.kill()?;
        second.until_cut_off().await?;
        first.until_cut_off().await?;
        first.bus.publish(ROOM, cancel(1));
        let _meanwhile = second.bus.subscribe(Topic::Workspace).await;
        server.start_again().await?;
        let back = Instant::now();
        second.until_missed().await?;
        assert_eq!(server.subscribers(&channel(ROOM))?, 1, "in force when the gap is told");
        first.until_heard_by(&mut second).await?;
        assert!(back.elapsed() < HEALS_WITHIN, "{:?}", back.elapsed());
        server.flush_all()?;
        first.until_heard_by(&mut second).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_node_starts_without_redis_and_finds_it_later() -> Result<()> {
    let mut server = Server::start().await?;
    server.kill()?;
    let mut node = Node::start(&server.url(), 10)?;
    let _before =
        timeout(Duration::from_secs(1), node.bus.subscribe(ROOM)).await.context("it was waited for")?;
    server.start_again().await?;
    let back = Instant::now();
    node.until_missed().await?;
    assert!(back.elapsed() < HEALS_WITHIN, "{:?}", back.elapsed());
    assert_eq!(server.subscribers(&channel(ROOM))?, 1);
    Ok(())
}

#[tokio::test]
async fn a_frozen_redis_is_noticed_and_never_waited_for() -> Result<()> {
    let server = Server::start().await?;
    let (first, mut second, _there) = pair(&server).await?;
    server.suspend()?;
    let frozen = Instant::now();
    for _ in 0..2 * OUTGOING_WAITING {
        first.bus.publish(ROOM, cancel(1));
    }
    let _meanwhile =
        timeout(HEALS_WITHIN, second.bus.subscribe(Topic::Workspace)).await.context("it was waited for")?;
    first.until_cut_off().await?;
    second.until_cut_off().await?;
    assert!(frozen.elapsed() < NOTICED_WITHIN, "{:?}", frozen.elapsed());
    server.resume()?;
    let back = Instant::now();
    second.until_missed().await?;
    first.until_heard_by(&mut second).await?;
    assert!(back.elapsed() < HEALS_WITHIN, "{:?}", back.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_subscriber_that_redis_cuts_off_is_told_that_it_missed_something() -> Result<()> {
    let server = Server::start().await?;
    let (first, mut second, _there) = pair(&server).await?;
    assert_eq!(server.kill_subscribers()?, 1);
    second.until_missed().await?;
    assert_eq!(server.subscribers(&channel(ROOM))?, 1);
    first.bus.publish(ROOM, cancel(1));
    assert_eq!(second.next().await?, heard(1));
    Ok(())
}

#[tokio::test]
async fn garbage_on_a_channel_is_passed_over() -> Result<()> {
    let server = Server::start().await?;
    let (first, mut second, _there) = pair(&server).await?;
    let long = "x".repeat(100_000);
    for garbage in ["", "{}", "\u{1}aaaaaaaaaaaaaaaa", "\u{1}aaaaaaaaaaaaaaaa\u{7f}", &long] {
        assert_eq!(server.command(&["PUBLISH", &channel(ROOM), garbage])?, "1");
    }
    first.bus.publish(ROOM, cancel(1));
    assert_eq!(second.next().await?, heard(1));
    Ok(())
}

#[tokio::test]
async fn rows_that_are_too_many_bytes_become_a_hint_at_what_lies_beyond_them() -> Result<()> {
    let server = Server::start().await?;
    let (first, mut second, _there) = pair(&server).await?;
    let lineage = LineageId(Uuid::from_u128(8));
    let rows = |bytes, count| vec![Bytes::from(vec![7; bytes]); count];
    let few = Note::Rows { lineage, first: Seq(5), rows: rows(ROWS_BYTES_MAX / 2, 2) };
    first.bus.publish(ROOM, few.clone());
    first.bus.publish(ROOM, Note::Rows { lineage, first: Seq(7), rows: rows(ROWS_BYTES_MAX / 2, 3) });
    assert_eq!(second.next().await?, Heard::Note { topic: ROOM, note: few });
    let hint = Note::Rows { lineage, first: Seq(10), rows: Vec::new() };
    assert_eq!(second.next().await?, Heard::Note { topic: ROOM, note: hint });
    Ok(())
}

#[tokio::test]
async fn a_listener_that_does_not_keep_up_is_told_so_when_it_reads_on() -> Result<()> {
    let mut node = Node::start("redis://127.0.0.1:1", 10)?;
    let _here = node.bus.subscribe(ROOM).await;
    let bytes = envelope::seal(Uuid::from_u128(20), &cancel(1))?;
    let message = [Value::BulkString(channel(ROOM).into_bytes()), Value::BulkString(bytes)];
    for _ in 0..HEARD_WAITING + 10 {
        node.redis.hear(&message);
    }
    for _ in 0..HEARD_WAITING {
        assert_eq!(node.next().await?, heard(1));
    }
    assert_eq!(node.next().await?, Heard::Missed);
    assert!(node.ears.try_recv().is_err());
    Ok(())
}

#[tokio::test]
async fn notes_that_wait_are_bounded_in_number_and_in_bytes() -> Result<()> {
    let (redis, _ears, upkeep) = Redis::start("redis://127.0.0.1:1", WORKSPACE, Uuid::from_u128(10))?;
    redis.publish(ROOM, Note::Rights);
    assert_eq!(upkeep.queue.len(), 0, "nothing waits for a Redis that is away");
    redis.standing.up(Part::Publishing);
    let piece = Piece { block: 0, kind: BlockKind::Text, bytes: Bytes::from(vec![b'a'; 1024 * 1024]) };
    let (run, epoch, offset) = (RunId(Uuid::from_u128(1)), Epoch::FIRST, Offset(0));
    for _ in 0..20 {
        redis.publish(ROOM, Note::Output { run, epoch, offset, pieces: vec![piece.clone()] });
    }
    assert_eq!(upkeep.queue.len(), 7, "seven and their envelopes fit into 8 MiB");
    for _ in 0..2 * OUTGOING_WAITING {
        redis.publish(ROOM, Note::WhoIsHere);
    }
    assert_eq!(upkeep.queue.len(), OUTGOING_WAITING);
    drop(upkeep);
    assert_eq!(redis.memory.available_permits(), OUTGOING_BYTES);
    Ok(())
}

#[tokio::test]
async fn in_a_cluster_topics_are_spread_over_the_shards() -> Result<()> {
    let mut shard = Server::start_with(&["--cluster-enabled", "yes"]).await?;
    let other_shard = Server::start_with(&["--cluster-enabled", "yes"]).await?;
    shard.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"])?;
    other_shard.command(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"])?;
    shard.command(&["CLUSTER", "MEET", "127.0.0.1", &other_shard.address().port().to_string()])?;
    until_cluster(&shard).await?;
    until_cluster(&other_shard).await?;
    let (first, mut second, there) = pair(&shard).await?;
    let rooms: Vec<Topic> = (100..120).map(|number| Topic::Room(PromptId(Uuid::from_u128(number)))).collect();
    let mut subscriptions = vec![there];
    for &room in &rooms {
        subscriptions.push(second.bus.subscribe(room).await);
        first.bus.publish(room, Note::Rights);
    }
    let mut heard_in = Vec::new();
    while heard_in.len() < rooms.len() {
        let Heard::Note { topic, note: Note::Rights } = second.next().await? else {
            bail!("not what was sent")
        };
        heard_in.push(topic);
    }
    heard_in.sort();
    assert_eq!(heard_in, rooms, "each once");
    let spread = (shard_channels(&shard)?, shard_channels(&other_shard)?);
    assert!(spread.0 > 0 && spread.1 > 0 && spread.0 + spread.1 == rooms.len() + 1, "{spread:?}");
    shard.kill()?;
    second.until_cut_off().await?;
    shard.start_again().await?;
    until_cluster(&shard).await?;
    until_cluster(&other_shard).await?;
    second.until_missed().await?;
    first.until_heard_by(&mut second).await?;
    drop(subscriptions);
    until("no subscriber", async || {
        Ok((shard_channels(&shard)? + shard_channels(&other_shard)? == 0).then_some(()))
    })
    .await
}

async fn until_cluster(server: &Server) -> Result<()> {
    until("the cluster", async || {
        Ok(server.command(&["CLUSTER", "INFO"])?.contains("cluster_state:ok").then_some(()))
    })
    .await
}

fn shard_channels(server: &Server) -> Result<usize> {
    Ok(server.command(&["PUBSUB", "SHARDCHANNELS"])?.lines().filter(|line| !line.is_empty()).count())
}

#[tokio::test]
async fn the_check_says_which_redis_it_is_or_what_is_wrong_with_it() -> Result<()> {
    let mut server = Server::start_with(&["--requirepass", "secret"]).await?;
    let address = server.address();
    let version = Redis::check(&format!("redis://:secret@{address}")).await;
    assert!(version.as_ref().is_ok_and(|version| version.starts_with(char::is_numeric)), "{version:?}");
    for url in [format!("redis://{address}"), format!("redis://:wrong@{address}")] {
        let refusal = Redis::check(&url).await.expect_err("it was let in");
        assert_eq!(refusal, "Redis refuses the user or the password of its address");
    }
    server.suspend()?;
    assert_eq!(Redis::check(&server.url()).await, Err("Redis does not answer in time".to_owned()));
    server.kill()?;
    let away = Redis::check(&server.url()).await.expect_err("nobody is there");
    assert!(away.starts_with("Redis cannot be used: ") && !away.contains("secret"), "{away}");
    Ok(())
}
