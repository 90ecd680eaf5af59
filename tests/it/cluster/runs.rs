//! Any node can start, watch, stop and take over any run; viewers everywhere get the same bytes, and see each seam.

use super::{PROMPT, all_is_settled, make_prompt, read_bytes, stored_text, until_over, watcher, with_double};
use anyhow::{Context, Result, ensure};
use promptroom_loadtest::{
    client::Client,
    events::Events,
    http,
    run_reader::RunReader,
    tasks::Tasks,
    upstream::{StreamEnd, numbered_text},
};
use promptroom_protocol::{Action, Role, RunId, RunState};
use promptroom_tests::{
    Api, Cluster, ClusterSettings, Crowd, PATIENCE, Place, minutes, rounds, seeded, until, view_to_end,
};
use rand::RngExt;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// From the death of a node to the moment at which viewers elsewhere see its run go on.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(8);
/// Longer than a node may be silent before its runs are claimed.
const SILENT_FOR: Duration = Duration::from_secs(12);
/// In `make soak`.
const SILENT_FOR_LONG: Duration = Duration::from_secs(60);
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

/// Two nodes with a prompt to run, and somebody who may.
async fn two_nodes() -> Result<(Cluster, promptroom_loadtest::upstream::Upstream, Api)> {
    let (cluster, upstream) = with_double(2, ClusterSettings::default()).await?;
    let api = cluster.api(1, &cluster.token(Role::Editor)?);
    make_prompt(&api).await?;
    Ok((cluster, upstream, api))
}

/// Starts a run on the first node.
async fn start(cluster: &Cluster, api: &Api, model: &str) -> Result<RunId> {
    Ok(cluster.api(0, api.token()).run(PROMPT, model).await?.id)
}

async fn until_rewound(client: &mut Client, reader: &mut RunReader) -> Result<()> {
    let known = reader.rewinds().len();
    while reader.rewinds().len() == known {
        ensure!(!reader.has_ended(), "the run ended without a rewind");
        reader.take(&client.next().await?.decode()?)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_on_both_nodes_get_every_byte_of_a_run_as_frames_and_as_events() -> Result<()> {
    let (cluster, upstream, api) = two_nodes().await?;
    let run = start(&cluster, &api, "double/paced-200-600").await?;
    let (mut near, mut near_reader) = watcher(&cluster.ws(0), api.token(), run).await?;
    let (mut far, mut far_reader) = watcher(&cluster.ws(1), api.token(), run).await?;
    let address = cluster.node(1).server.address();
    let events = http::Api { address, token: Some(api.token().to_owned()) };
    let (near, far, ended) = tokio::join!(
        near.read_to_end(&mut near_reader),
        far.read_to_end(&mut far_reader),
        last_event(&events, run)
    );
    near?;
    far?;
    let whole = numbered_text(600);
    for reader in [&near_reader, &far_reader] {
        ensure!(reader.bytes() == whole.as_bytes() && reader.rewinds().is_empty());
    }
    ensure!(ended? == format!("{}:end", far_reader.cursor()));
    let over = until_over(&api, run).await?;
    ensure!(over.state == RunState::Completed && over.attempts == 1, "{over:?}");
    ensure!(over.usage.is_some_and(|usage| !usage.estimated && usage.output_tokens == 600), "{over:?}");
    // Late, on the node that never drove it.
    let late = view_to_end(&[cluster.ws(1)], PROMPT, api.token(), run).await?;
    ensure!(late.bytes() == whole.as_bytes() && stored_text(&api, run).await? == whole);
    all_is_settled(&cluster.sql(), &upstream).await
}

async fn last_event(api: &http::Api, run: RunId) -> Result<String> {
    let mut last = None;
    let mut events = Events::of_run(api, run, None).await?.context("204 before the end")?;
    while let Some(event) = events.next().await? {
        last = Some(event.id);
    }
    last.context("no event")
}

/// 30
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_a_killed_node_goes_on_on_another_and_viewers_see_the_seam() -> Result<()> {
    let (mut cluster, upstream, api) = two_nodes().await?;
    let mut random = seeded();
    for _ in 0..rounds(1) {
        let run = start(&cluster, &api, "double/paced-100-500").await?;
        let (mut far, mut reader) = watcher(&cluster.ws(1), api.token(), run).await?;
        read_bytes(&mut far, &mut reader, random.random_range(8..2_000)).await?;
        cluster.node_mut(0).server.kill()?;
        let killed_at = Instant::now();
        until_rewound(&mut far, &mut reader).await?;
        let taken_over = killed_at.elapsed();
        ensure!(taken_over <= TAKEN_OVER_WITHIN, "taken over after {taken_over:?}");
        far.read_to_end(&mut reader).await?;
        let over = until_over(&api, run).await?;
        ensure!(over.state == RunState::Completed, "{:?}: {:?}", over.state, over.problem);
        ensure!(over.epoch.0 == 2 && over.attempts == 2 && over.seams.len() == 1, "{over:?}");
        ensure!(over.usage.is_some_and(|usage| usage.estimated), "{:?}", over.usage);
        let whole = numbered_text(500);
        ensure!(reader.bytes() == whole.as_bytes() && stored_text(&api, run).await? == whole);
        cluster.node_mut(0).server.start().await?;
        let near = view_to_end(&[cluster.ws(0)], PROMPT, api.token(), run).await?;
        ensure!(near.bytes() == whole.as_bytes());
    }
    all_is_settled(&cluster.sql(), &upstream).await
}

/// 30: a model that cannot go on in mid-answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_go_on_is_interrupted_where_it_was_and_its_partial_kept() -> Result<()> {
    let (mut cluster, upstream, api) = two_nodes().await?;
    let run = start(&cluster, &api, "plain/paced-100-100000").await?;
    let (mut far, mut reader) = watcher(&cluster.ws(1), api.token(), run).await?;
    read_bytes(&mut far, &mut reader, 800).await?;
    cluster.node_mut(0).server.kill()?;
    far.read_to_end(&mut reader).await?;
    let over = until_over(&api, run).await?;
    ensure!(over.state == RunState::Interrupted && over.attempts == 1, "{over:?}");
    let stored = stored_text(&api, run).await?;
    ensure!(!stored.is_empty() && stored.as_bytes() == reader.bytes());
    ensure!(numbered_text(100_000).starts_with(&stored));
    ensure!(upstream.counts().opened == 1, "{:?}", upstream.counts());
    all_is_settled(&cluster.sql(), &upstream).await
}

/// 18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_that_wakes_up_after_its_run_was_taken_over_is_fenced() -> Result<()> {
    let (cluster, upstream, api) = two_nodes().await?;
    let run = start(&cluster, &api, "double/paced-50-600").await?;
    let (mut near, mut near_reader) = watcher(&cluster.ws(0), api.token(), run).await?;
    let (mut far, mut far_reader) = watcher(&cluster.ws(1), api.token(), run).await?;
    read_bytes(&mut near, &mut near_reader, 400).await?;
    read_bytes(&mut far, &mut far_reader, 400).await?;
    cluster.node(0).server.suspend()?;
    until_rewound(&mut far, &mut far_reader).await?;
    read_bytes(&mut far, &mut far_reader, 800).await?;
    cluster.node(0).server.resume()?;
    // Its own viewers are told the same, on the same socket.
    until_rewound(&mut near, &mut near_reader).await?;
    upstream.wait_for(PATIENCE, |counts| counts.closed_by_client == 1).await?;
    let (near, far) = tokio::join!(near.read_to_end(&mut near_reader), far.read_to_end(&mut far_reader));
    near?;
    far?;
    let whole = numbered_text(600);
    ensure!(near_reader.bytes() == whole.as_bytes() && far_reader.bytes() == whole.as_bytes());
    ensure!(stored_text(&api, run).await? == whole);
    let over = until_over(&api, run).await?;
    ensure!(over.state == RunState::Completed && over.epoch.0 == 2 && over.attempts == 2, "{over:?}");
    all_is_settled(&cluster.sql(), &upstream).await
}

/// 4 and 50, with edits going on all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stands_still_for_longer_than_a_claim_takes_nobodys_run() -> Result<()> {
    let silence = if minutes().is_some() { SILENT_FOR_LONG } else { SILENT_FOR };
    let (cluster, upstream, api) = two_nodes().await?;
    let tokens = silence.as_secs() * 50 + 500;
    let model = format!("double/paced-50-{tokens}");
    let mut watching = Tasks::default();
    for node in 0..2 {
        let run = cluster.api(node, api.token()).run(PROMPT, &model).await?.id;
        // Each from the node that does not drive it.
        let (mut client, mut reader) = watcher(&cluster.ws(1 - node), api.token(), run).await?;
        read_bytes(&mut client, &mut reader, 80).await?;
        // All the time: whoever reads nothing for a minute is hung up.
        watching.start(async move {
            client.read_to_end(&mut reader).await?;
            Ok(reader)
        });
    }
    let place = Place { doors: cluster.doors(), prompt: "frozen".to_owned(), token: api.token().to_owned() };
    let crowd = Crowd::gather(&place, 4, &mut seeded()).await?;
    cluster.postgres.suspend()?;
    // Time has to pass, with nothing to wait for in it.
    sleep(silence).await;
    cluster.postgres.resume()?;
    crowd.settle().await?;
    for reader in watching.all().await? {
        ensure!(reader.rewinds().is_empty(), "a run was taken: {:?}", reader.rewinds());
        ensure!(reader.bytes() == numbered_text(tokens).as_bytes(), "{} bytes", reader.bytes().len());
        let over = until_over(&api, reader.run()).await?;
        ensure!(over.state == RunState::Completed && over.epoch.0 == 1 && over.attempts == 1, "{over:?}");
        ensure!(over.usage.is_some_and(|usage| !usage.estimated), "{:?}", over.usage);
    }
    all_is_settled(&cluster.sql(), &upstream).await
}

/// 31
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_on_when_its_viewers_on_both_nodes_leave() -> Result<()> {
    let (cluster, upstream, api) = two_nodes().await?;
    let run = start(&cluster, &api, "double/paced-400-800").await?;
    for door in cluster.doors() {
        let (mut client, mut reader) = watcher(&door, api.token(), run).await?;
        read_bytes(&mut client, &mut reader, 80).await?;
    }
    let over = until_over(&api, run).await?;
    ensure!(over.state == RunState::Completed && over.bytes.0 == 800 * 8, "{over:?}");
    ensure!(upstream.counts().finished == 1 && upstream.counts().closed_by_client == 0);
    Ok(())
}

/// 32
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_from_the_other_node_that_races_the_end_ends_the_run_once_and_frees_its_slot() -> Result<()> {
    let (cluster, upstream, api) = two_nodes().await?;
    let mut random = seeded();
    // More than there are slots.
    for _ in 0..rounds(12) {
        let run = start(&cluster, &api, "double/paced-1000-20").await?;
        let (mut far, mut reader) = watcher(&cluster.ws(1), api.token(), run).await?;
        let stop_at = random.random_range(8..=160);
        while reader.bytes().len() < stop_at && !reader.has_ended() {
            reader.take(&far.next().await?.decode()?)?;
        }
        let stopped = far.cancel(run).await?;
        // The answer to the stop may have come with frames of the stream before it, so the reader starts over.
        let reader = view_to_end(&[cluster.ws(1)], PROMPT, api.token(), run).await?;
        let over = until_over(&api, run).await?;
        ensure!(matches!(over.state, RunState::Completed | RunState::Cancelled), "{over:?}");
        ensure!(!stopped.state.is_terminal() || stopped.state == over.state, "{stopped:?} became {over:?}");
        ensure!(stored_text(&api, run).await.unwrap_or_default().as_bytes() == reader.bytes());
    }
    upstream.wait_for(PATIENCE, |counts| counts.open == 0).await?;
    all_is_settled(&cluster.sql(), &upstream).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_on_the_other_node_closes_the_upstream_and_keeps_what_was_written() -> Result<()> {
    let (cluster, upstream, api) = two_nodes().await?;
    let run = start(&cluster, &api, "double/paced-100-100000").await?;
    let (mut near, mut reader) = watcher(&cluster.ws(0), api.token(), run).await?;
    read_bytes(&mut near, &mut reader, 200).await?;
    let (mut far, _) = watcher(&cluster.ws(1), api.token(), run).await?;
    far.cancel(run).await?;
    upstream.wait_for(STOPPED_WITHIN, |counts| counts.closed_by_client == 1).await?;
    near.read_to_end(&mut reader).await?;
    let over = until_over(&api, run).await?;
    ensure!(over.state == RunState::Cancelled && over.stopped_by.is_some(), "{over:?}");
    ensure!(stored_text(&api, run).await?.as_bytes() == reader.bytes());
    all_is_settled(&cluster.sql(), &upstream).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_begun_again_from_the_other_node_and_a_repeated_command_is_one_run() -> Result<()> {
    let (cluster, upstream, api) = two_nodes().await?;
    let first = start(&cluster, &api, "double/numbered-20").await?;
    until_over(&api, first).await?;
    let (mut far, _) = watcher(&cluster.ws(1), api.token(), first).await?;
    let id = promptroom_protocol::CommandId(uuid::Uuid::now_v7());
    let command = promptroom_protocol::Command { id, action: Action::Regenerate { run: first } };
    let child = far.repeat_command(command.clone()).await?;
    ensure!(child.parent == Some(first));
    // The connection broke before the answer, and the page came back elsewhere.
    let (mut near, _) = watcher(&cluster.ws(0), api.token(), first).await?;
    ensure!(near.repeat_command(command).await?.id == child.id);
    ensure!(until_over(&api, child.id).await?.state == RunState::Completed);
    until("two requests", async || Ok((upstream.counts().finished == 2).then_some(()))).await?;
    ensure!(upstream.records().iter().all(|record| record.end == StreamEnd::Finished));
    all_is_settled(&cluster.sql(), &upstream).await
}
