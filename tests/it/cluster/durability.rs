//! Saved means saved, whichever process of the cluster is killed, stopped or slow.

use super::{APART_MAX, PROMPT, an_editor, ann_and_bob};
use anyhow::{Context, Result, ensure};
use promptroom_loadtest::client::ClientError;
use promptroom_tests::{
    Cluster, ClusterSettings, Crowd, PATIENCE, Place, Traveller, Way, is_away, markers_in, rounds, seeded,
    until,
};
use rand::RngExt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const PEOPLE: usize = 4;
/// Long enough for a mark that must not come.
const SILENCE: Duration = Duration::from_secs(2);
/// A snapshot is due after 500 rows.
const ROWS: usize = 520;
const LOST_ROWS: usize = 5;

fn place(cluster: &Cluster) -> Result<Place> {
    Ok(Place { doors: cluster.doors(), prompt: PROMPT.to_owned(), token: an_editor(cluster)? })
}

/// So many more edits than by now are acknowledged, so that each round hurts somebody at work.
async fn until_more(crowd: &Crowd, edits: usize) -> Result<()> {
    let enough = crowd.acknowledged() + edits;
    until("acknowledged edits", async || Ok((crowd.acknowledged() >= enough).then_some(()))).await
}

/// 1 and 2: before or after a commit, as chance has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_any_node_acknowledged_stands_exactly_once_after_every_kill() -> Result<()> {
    let mut random = seeded();
    let mut cluster = Cluster::of(2).await?;
    let crowd = Crowd::gather(&place(&cluster)?, PEOPLE, &mut random).await?;
    for _ in 0..rounds(8) {
        until_more(&crowd, random.random_range(5..40)).await?;
        let server = &mut cluster.node_mut(random.random_range(0..2)).server;
        server.kill()?;
        server.start().await?;
    }
    let written = crowd.settle().await?;
    ensure!(written >= 40, "only {written} edits");
    Ok(())
}

/// 3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_killed_in_mid_transaction_loses_nothing_that_was_acknowledged() -> Result<()> {
    let mut random = seeded();
    let mut cluster = Cluster::of(2).await?;
    let crowd = Crowd::gather(&place(&cluster)?, PEOPLE, &mut random).await?;
    for _ in 0..rounds(3) {
        until_more(&crowd, random.random_range(5..40)).await?;
        cluster.postgres.kill()?;
        cluster.postgres.start_again().await?;
    }
    until_more(&crowd, 20).await?;
    crowd.settle().await?;
    Ok(())
}

/// A backup is put back, or a standby takes over that lacked the last second: what people still hold is brought again,
/// and nothing is saved that rests on what is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_put_back_gets_again_what_people_still_have() -> Result<()> {
    let cluster = Cluster::of(2).await?;
    let Place { doors, prompt, token } = place(&cluster)?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    let mut markers = Vec::new();
    for round in 0..rounds(3) {
        for number in 0..2 * LOST_ROWS {
            ann.write_saved(&format!("ann.{round}.{number}")).await?;
            bob.write_saved(&format!("bob.{round}.{number}")).await?;
        }
        ann.until_same_as(&mut bob).await?;
        cluster.sql().run(&format!(
            "BEGIN;
             UPDATE prompts SET head = head - {LOST_ROWS} WHERE slug = '{PROMPT}';
             DELETE FROM room_updates USING prompts WHERE prompts.id = prompt_id AND slug = '{PROMPT}' AND seq > head;
             COMMIT"
        ))?;
        for number in 0..2 * LOST_ROWS {
            save_somehow(&mut ann, &doors[0], &format!("ann.after.{round}.{number}")).await?;
            save_somehow(&mut bob, &doors[1], &format!("bob.after.{round}.{number}")).await?;
        }
        ann.until_same_as(&mut bob).await?;
        markers.extend(ann.acknowledged().iter().chain(bob.acknowledged()).cloned());
    }
    // Nobody's memory is asked.
    for door in &doors {
        let newcomer = Traveller::join(door, &prompt, &token).await?;
        ensure!(newcomer.document().is_same(ann.document()));
        let text = newcomer.text();
        for marker in &markers {
            let count = text.matches(&format!("<{marker}>")).count();
            ensure!(count == 1, "{marker} stands there {count} times");
        }
    }
    Ok(())
}

/// As a page does that is sent away for now: it comes back with what it has.
async fn save_somehow(person: &mut Traveller, door: &str, marker: &str) -> Result<()> {
    let mut saved = person.write_saved(marker).await;
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = saved {
        ensure!(is_away(&error) && Instant::now() < deadline, "{marker} is not saved: {error:#}");
        saved = match person.arrive(door).await {
            Ok(()) => person.until_saved().await,
            refused => refused,
        };
    }
    Ok(())
}

/// 41: not one saved mark may arrive, and all arrive afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_is_stopped_nothing_is_called_saved_and_all_arrives_afterwards() -> Result<()> {
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    let mut carl = Traveller::join(&cluster.ws(0), PROMPT, &token).await?;
    ann.write_saved("before").await?;
    cluster.postgres.suspend()?;
    for number in 0..20 {
        ann.write(&format!("stopped.{number}")).await?;
    }
    carl.until_seen("stopped.19").await.context("others on the same node go on seeing edits")?;
    let acknowledged = ann.acknowledged().len();
    ann.read_until(Instant::now() + SILENCE).await?;
    ensure!(ann.acknowledged().len() == acknowledged, "a saved mark came from a database that stands still");
    ensure!(!bob.text().contains("stopped"), "an edit that is not saved left its node");
    cluster.postgres.resume()?;
    ann.until_saved().await?;
    bob.until_same_as(&mut ann).await
}

/// 7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newest_snapshot_that_is_damaged_is_given_up_for_the_one_before_it_on_any_node() -> Result<()> {
    let mut cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let sql = cluster.sql();
    let mut ann = Traveller::join(&cluster.ws(0), PROMPT, &token).await?;
    for generation in 1..=2 {
        write_rows(&mut ann, generation).await?;
        until("a generation of snapshots", async || {
            let kept: i32 = sql.value("SELECT count(*) FROM room_snapshots")?;
            Ok((kept >= generation).then_some(()))
        })
        .await?;
    }
    let damage = "UPDATE room_snapshots SET bytes = set_byte(bytes, length(bytes) / 2, \
                  255 - get_byte(bytes, length(bytes) / 2)) WHERE seq = (SELECT max(seq) FROM room_snapshots)";
    sql.run(damage)?;
    for number in 0..2 {
        let server = &mut cluster.node_mut(number).server;
        server.kill()?;
        server.start().await?;
    }
    for door in cluster.doors() {
        let mut bob = Traveller::join(&door, PROMPT, &token).await?;
        bob.until("the whole document", |bob| bob.document().is_same(ann.document())).await?;
    }
    Ok(())
}

async fn write_rows(member: &mut Traveller, generation: i32) -> Result<()> {
    for number in 0..ROWS {
        member.write(&format!("{generation}.{number}")).await?;
        // What a page may send a second is bounded, and nobody reads while it writes.
        if number % 50 == 49 {
            member.until_saved().await?;
        }
    }
    member.until_saved().await
}

/// 6: the node that makes snapshots is killed while it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_any_node_while_snapshots_are_swapped_loses_nothing() -> Result<()> {
    let mut random = seeded();
    let mut cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let sql = cluster.sql();
    let newest = "SELECT coalesce(max(seq), 0) FROM room_snapshots";
    for round in 0..rounds(2) as i32 {
        let mut ann = Traveller::join(&cluster.ws(0), PROMPT, &token).await?;
        let known: u64 = sql.value(newest)?;
        write_rows(&mut ann, round).await?;
        until("a new snapshot", async || Ok((sql.value::<u64>(newest)? > known).then_some(()))).await?;
        sleep(Duration::from_micros(random.random_range(0..2_000))).await;
        for number in 0..2 {
            cluster.node_mut(number).server.kill()?;
        }
        for number in 0..2 {
            cluster.node_mut(number).server.start().await?;
        }
        for door in cluster.doors() {
            let mut bob = Traveller::join(&door, PROMPT, &token).await?;
            bob.until("the whole document", |bob| bob.document().is_same(ann.document())).await?;
        }
    }
    Ok(())
}

/// 8
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_read_a_room_refuses_it_for_now_and_never_serves_it_empty() -> Result<()> {
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let mut ann = Traveller::join(&cluster.ws(0), PROMPT, &token).await?;
    ann.write_saved("first").await?;
    cluster.node(1).to_postgres.shut();
    for _ in 0..3 {
        match Traveller::join(&cluster.ws(1), PROMPT, &token).await {
            Ok(_) => anyhow::bail!("a room was served without a database"),
            Err(error) => ensure!(is_away(&error), "not refused for now, but: {error:#}"),
        }
    }
    cluster.node(1).to_postgres.open();
    until("the room", async || match Traveller::join(&cluster.ws(1), PROMPT, &token).await {
        Ok(bob) => {
            ensure!(bob.text().contains("<first>"), "an empty room was served");
            Ok(Some(()))
        }
        Err(error) if is_away(&error) => Ok(None),
        Err(error) => Err(error),
    })
    .await
}

/// 11 and 12
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_node_with_a_slow_database_writes_what_was_not_yet_written() -> Result<()> {
    let settings = ClusterSettings::default().environment("PROMPTROOM_DRAIN_S", 1);
    let mut cluster = settings.start(2).await?;
    let token = an_editor(&cluster)?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    let mut carl = Traveller::join(&cluster.ws(0), PROMPT, &token).await?;
    cluster.node(0).to_postgres.delay(Duration::from_millis(150));
    for number in 0..50 {
        ann.write(&format!("last.{number}")).await?;
    }
    carl.until_seen("last.49").await?;
    // A tab that is closed right after typing.
    ann.leave();
    cluster.node(0).server.ask_to_stop()?;
    let status = cluster.node_mut(0).server.ended().await?;
    ensure!(status.success(), "the node ended with {status}");
    bob.until("all that was typed", |bob| markers_in(&bob.text()).len() == 50).await
}

/// 48: a row that is locked for as long as somebody likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_whose_row_is_locked_keeps_no_other_room_waiting() -> Result<()> {
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let mut ann = Traveller::join(&cluster.ws(0), PROMPT, &token).await?;
    ann.write_saved("before").await?;
    let mut others = Vec::new();
    for (number, door) in cluster.doors().iter().enumerate() {
        others.push(Traveller::join(door, &format!("other-{number}"), &token).await?);
    }
    let lock = cluster.sql().lock(&format!("SELECT 1 FROM prompts WHERE slug = '{PROMPT}' FOR UPDATE"))?;
    ann.write("locked").await?;
    for number in 0..15 {
        for other in &mut others {
            let started = Instant::now();
            other.write_saved(&number.to_string()).await?;
            ensure!(started.elapsed() <= APART_MAX, "saved after {:?}", started.elapsed());
        }
    }
    ensure!(ann.has_unsaved(), "an edit of the locked room is called saved");
    lock.release();
    ann.until_saved().await
}

/// 48: a node is stopped again and again, in the middle of whatever it does; nobody on the other one notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_stopped_in_mid_commit_keeps_rooms_of_the_other_within_a_second_of_saved() -> Result<()> {
    let mut random = seeded();
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    let mut other = Traveller::join(&cluster.ws(1), "other", &token).await?;
    for round in 0..rounds(6) {
        for number in 0..20 {
            ann.write(&format!("{round}.{number}")).await?;
        }
        sleep(Duration::from_micros(random.random_range(0..10_000))).await;
        cluster.node(0).server.suspend()?;
        for number in 0..5 {
            for (name, member) in [("this", &mut bob), ("another", &mut other)] {
                let started = Instant::now();
                member.write_saved(&format!("{round}.{name}.{number}")).await?;
                let after = started.elapsed();
                ensure!(after <= APART_MAX, "round {round}: saved in {name} room after {after:?}");
            }
        }
        cluster.node(0).server.resume()?;
        ann.until_saved().await?;
    }
    bob.until_same_as(&mut ann).await
}

/// A line that breaks in the middle of a commit or of its answer: in doubt, the edit is there once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_cut_off_is_there_once() -> Result<()> {
    let mut random = seeded();
    let cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    for round in 0..rounds(12) {
        let way = if random.random() { Way::ToServer } else { Way::ToClient };
        cluster.node(0).to_postgres.cut_after(way, random.random_range(0..3_000));
        for number in 0..5 {
            ann.write(&format!("{round}.{number}")).await?;
        }
        match ann.until_saved().await {
            Ok(()) => {}
            // The room's life on that node may have ended with the doubt.
            Err(error) if is_away(&error) && !is_late(&error) => {
                ann.arrive(&cluster.ws(0)).await?;
                ann.until_saved().await?;
            }
            Err(error) => return Err(error),
        }
    }
    cluster.node(0).to_postgres.open();
    bob.until_same_as(&mut ann).await?;
    let text = bob.text();
    let found = markers_in(&text);
    let doubled = found.iter().find(|(_, count)| **count > 1);
    ensure!(doubled.is_none() && found.len() as u64 == rounds(12) * 5, "{doubled:?} of {}", found.len());
    Ok(())
}

fn is_late(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Late { .. }))
}
