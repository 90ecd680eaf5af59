//! Rolling deploys: people move without loading anything again, runs are handed over, and builds overlap.

use super::{
    PROMPT, all_is_settled, an_editor, make_prompt, read_bytes, stored_text, until_over, watcher, with_double,
};
use anyhow::{Context, Result, ensure};
use promptroom_loadtest::{
    client::{Client, ClientError},
    run_reader::RunReader,
    upstream::numbered_text,
};
use promptroom_protocol::{Role, RunState, ServerFrame};
use promptroom_tests::{Cluster, ClusterSettings, Traveller, Welcome, is_away, view_from};
use std::time::Duration;
use tokio::time::Instant;

const PEOPLE: usize = 8;
/// What the room is worth loading for.
const DOCUMENT_BYTES: usize = 100_000;
/// What may come on return: what others typed meanwhile.
const RESUMED_BYTES_MAX: usize = 10_000;
const DRAIN_S: u64 = 2;
/// From the end of the drain to the moment at which the run goes on elsewhere: nobody has to be found dead.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_stop_moves_its_people_without_a_full_load() -> Result<()> {
    let settings = ClusterSettings::default().environment("PROMPTROOM_DRAIN_S", DRAIN_S);
    let mut cluster = settings.start(2).await?;
    let token = an_editor(&cluster)?;
    let mut bob = Traveller::join(&cluster.ws(1), PROMPT, &token).await?;
    bob.write_saved(&"x".repeat(DOCUMENT_BYTES)).await?;
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        let mut person = Traveller::join(&cluster.ws(0), PROMPT, &token).await?;
        person.write_saved(&format!("person {number}")).await?;
        people.push(person);
    }
    for person in &mut people {
        person.until("all of them", |person| person.text().matches("<person").count() == PEOPLE).await?;
    }
    cluster.node(0).server.ask_to_stop()?;
    let door = cluster.ws(1);
    for (number, person) in people.iter_mut().enumerate() {
        let code = until_sent_away(person).await?;
        ensure!(code == 4503, "closed with {code}");
        let _not_connected = person.write(&format!("moving {number}")).await;
        person.arrive(&door).await?;
        let Some(Welcome::Rows { bytes }) = person.last_join() else {
            anyhow::bail!("person {number} loaded the document again: {:?}", person.last_join());
        };
        ensure!(bytes <= RESUMED_BYTES_MAX, "{bytes} bytes came on return");
        person.until_saved().await?;
    }
    ensure!(cluster.node_mut(0).server.ended().await?.success());
    let moved = |bob: &Traveller| bob.text().matches("<moving").count() == PEOPLE;
    bob.until("what all typed while they moved", moved).await?;
    // The new build is there, and the other one goes.
    cluster.node_mut(0).server.start().await?;
    cluster.node(1).server.ask_to_stop()?;
    until_sent_away(&mut bob).await?;
    bob.arrive(&cluster.ws(0)).await?;
    ensure!(matches!(bob.last_join(), Some(Welcome::Rows { bytes }) if bytes <= RESUMED_BYTES_MAX));
    Ok(())
}

/// Reads until the socket is closed; the drain hint comes first.
async fn until_sent_away(person: &mut Traveller) -> Result<u16> {
    let client = person.client()?;
    let mut is_told = false;
    loop {
        match client.next().await {
            Ok(frame) => is_told |= matches!(frame.decode()?, ServerFrame::Drain { .. }),
            Err(ClientError::Closed { code, .. }) => {
                ensure!(is_told, "closed with {code} without a hint");
                person.leave();
                return Ok(code);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_node_hands_its_long_run_over_and_ends_its_short_one() -> Result<()> {
    let settings = ClusterSettings::default().environment("PROMPTROOM_DRAIN_S", DRAIN_S);
    let (mut cluster, upstream) = with_double(2, settings).await?;
    let token = cluster.token(Role::Editor)?;
    let (here, there) = (cluster.api(0, &token), cluster.api(1, &token));
    make_prompt(&here).await?;
    let long = here.run(PROMPT, "double/paced-100-1000").await?.id;
    let short = here.run(PROMPT, "double/paced-100-100").await?.id;
    let (mut far, mut reader) = watcher(&cluster.ws(1), &token, long).await?;
    let (mut near, mut moved) = watcher(&cluster.ws(0), &token, long).await?;
    read_bytes(&mut far, &mut reader, 80).await?;
    read_bytes(&mut near, &mut moved, 80).await?;
    cluster.node(0).server.ask_to_stop()?;
    let told_at = Instant::now();
    match near.read_to_end(&mut moved).await {
        Err(error) => ensure!(is_away(&error.into()), "a viewer is not sent away for now"),
        Ok(()) => anyhow::bail!("the run ended on a node that is told to stop"),
    }
    until_new_epoch(&mut far, &mut reader).await?;
    let handed_over = told_at.elapsed().saturating_sub(Duration::from_secs(DRAIN_S));
    ensure!(handed_over <= HANDED_OVER_WITHIN, "handed over {handed_over:?} after the drain");
    ensure!(cluster.node_mut(0).server.ended().await?.success());
    far.read_to_end(&mut reader).await?;
    view_from(&cluster.ws(1), PROMPT, &token, &mut moved).await?;
    let whole = numbered_text(1_000);
    ensure!(reader.bytes() == whole.as_bytes() && moved.bytes() == whole.as_bytes());
    ensure!(stored_text(&there, long).await? == whole);
    let over = until_over(&there, long).await?;
    ensure!(over.state == RunState::Completed && over.attempts == 2 && over.seams.len() == 1, "{over:?}");
    let over = until_over(&there, short).await?;
    ensure!(over.state == RunState::Completed && over.attempts == 1, "{over:?}");
    all_is_settled(&cluster.sql(), &upstream).await
}

async fn until_new_epoch(client: &mut Client, reader: &mut RunReader) -> Result<()> {
    while reader.rewinds().is_empty() {
        ensure!(!reader.has_ended(), "the run ended without a rewind");
        reader.take(&client.next().await?.decode()?)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_drains_takes_no_new_runs_and_the_other_one_does() -> Result<()> {
    let settings = ClusterSettings::default().environment("PROMPTROOM_DRAIN_S", 20);
    let (cluster, _upstream) = with_double(2, settings).await?;
    let token = cluster.token(Role::Editor)?;
    let (here, there) = (cluster.api(0, &token), cluster.api(1, &token));
    make_prompt(&here).await?;
    let long = here.run(PROMPT, "double/paced-100-100000").await?.id;
    let (mut far, mut reader) = watcher(&cluster.ws(1), &token, long).await?;
    read_bytes(&mut far, &mut reader, 80).await?;
    cluster.node(0).server.ask_to_stop()?;
    promptroom_tests::until("a refusal", async || Ok(here.run(PROMPT, "double/numbered-5").await.err()))
        .await?;
    let run = there.run(PROMPT, "double/numbered-5").await?.id;
    ensure!(until_over(&there, run).await?.state == RunState::Completed);
    // Its own run can still be stopped from elsewhere, and then it need not wait.
    far.cancel(long).await?;
    ensure!(until_over(&there, long).await?.state == RunState::Cancelled);
    Ok(())
}

/// 20: the next build has already migrated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_starts_and_works_on_a_schema_that_is_one_migration_ahead() -> Result<()> {
    let mut cluster = Cluster::of(2).await?;
    let token = an_editor(&cluster)?;
    let api = cluster.api(0, &token);
    make_prompt(&api).await?;
    cluster.sql().run(
        "BEGIN;
         CREATE TABLE of_the_next_build (id bigint PRIMARY KEY);
         ALTER TABLE prompts ADD COLUMN of_the_next_build text NOT NULL DEFAULT '';
         ALTER TABLE runs ADD COLUMN of_the_next_build bigint;
         INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
         SELECT max(version) + 1, 'of the next build', now(), true, '\\x00', 0 FROM _sqlx_migrations;
         COMMIT",
    )?;
    // One build runs on while the schema moves; the other one is started on it.
    cluster.node_mut(1).server.kill()?;
    cluster.node_mut(1).server.start().await?;
    let (mut ann, mut bob) = super::ann_and_bob(&cluster, &token).await?;
    super::crosses_in_time(&mut ann, &mut bob, "ann").await?;
    super::crosses_in_time(&mut bob, &mut ann, "bob").await?;
    for number in 0..2 {
        let api = cluster.api(number, &token);
        let run = api.run(PROMPT, "demo/markdown").await?.id;
        let over = until_over(&api, run).await.context("a run on the newer schema")?;
        ensure!(over.state == RunState::Completed, "{over:?}");
    }
    Ok(())
}
