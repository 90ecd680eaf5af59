//! 20: the build before this one and this one side by side, as while a deploy rolls on, and when it is rolled back.

use super::{
    PROMPT, all_is_settled, ann_and_bob, crosses_in_time, make_prompt, read_bytes, stored_text, until_over,
    watcher, with_double,
};
use anyhow::{Context, Result, ensure};
use promptroom_loadtest::{client::Client, run_reader::RunReader, upstream::numbered_text};
use promptroom_protocol::{Role, RunId, RunState};
use promptroom_tests::{Build, Cluster, ClusterSettings, Crowd, Place, seeded, view_from};
use serde_json::json;

const PEOPLE: usize = 4;
const DRAIN_S: u64 = 1;
const TOKENS: u64 = 500;
/// Read before something happens to the node that drives the run.
const BEGUN_BYTES: usize = 400;
const OLD: usize = 0;
const NEW: usize = 1;

/// How a node of one build leaves its run to one of the other.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// SIGTERM: what it cannot end within the drain is handed over.
    HandsOver,
    /// SIGKILL: it is found dead.
    Dies,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the build before this one, which `make test` makes where the history is"]
async fn the_build_before_this_one_and_this_one_serve_the_same_rooms_and_runs() -> Result<()> {
    let settings =
        ClusterSettings::default().build(Build::Previous).environment("PROMPTROOM_DRAIN_S", DRAIN_S);
    let (mut cluster, upstream) = with_double(2, settings).await?;
    let token = cluster.token(Role::Editor)?;
    make_prompt(&cluster.api(OLD, &token)).await?;
    let place = Place { doors: cluster.doors(), prompt: "crowded".into(), token: token.clone() };
    let crowd = Crowd::gather(&place, PEOPLE, &mut seeded()).await?;

    // The deploy begins: one of them is of the new build.
    cluster.node(NEW).server.ask_to_stop()?;
    ensure!(cluster.node_mut(NEW).server.ended().await?.success());
    cluster.node_mut(NEW).server.set_build(Build::This);
    cluster.node_mut(NEW).server.start().await?;
    Box::pin(type_watch_and_stop(&cluster, &token)).await.context("half way")?;
    for (leaving, how) in
        [(OLD, Leaves::Dies), (NEW, Leaves::Dies), (OLD, Leaves::HandsOver), (NEW, Leaves::HandsOver)]
    {
        let went_on = goes_on_on_the_other(&mut cluster, &token, leaving, how).await;
        went_on.with_context(|| format!("{how:?}: node {leaving}"))?;
    }

    // It is rolled back: what the new build has written is read by the old one alone.
    cluster.node(NEW).server.ask_to_stop()?;
    ensure!(cluster.node_mut(NEW).server.ended().await?.success());
    cluster.node_mut(NEW).server.set_build(Build::Previous);
    cluster.node_mut(NEW).server.start().await?;
    Box::pin(type_watch_and_stop(&cluster, &token)).await.context("rolled back")?;

    // And then it goes through.
    for node in [NEW, OLD] {
        cluster.node(node).server.ask_to_stop()?;
        ensure!(cluster.node_mut(node).server.ended().await?.success());
        cluster.node_mut(node).server.set_build(Build::This);
        cluster.node_mut(node).server.start().await?;
    }
    Box::pin(type_watch_and_stop(&cluster, &token)).await.context("through")?;
    ensure!(crowd.settle().await? > 0, "nobody typed");
    all_is_settled(&cluster.sql(), &upstream).await
}

/// Edits cross both ways; a run of each node is watched on both, and stopped from the other one.
async fn type_watch_and_stop(cluster: &Cluster, token: &str) -> Result<()> {
    let (mut ann, mut bob) = ann_and_bob(cluster, token).await?;
    let marker = uuid::Uuid::now_v7().simple();
    crosses_in_time(&mut ann, &mut bob, &format!("ann {marker}")).await?;
    crosses_in_time(&mut bob, &mut ann, &format!("bob {marker}")).await?;
    for driver in [OLD, NEW] {
        let (watched, mut viewers) = begin(cluster, token, driver, "double/paced-200-200").await?;
        for (node, (client, reader)) in viewers.iter_mut().enumerate() {
            client.read_to_end(reader).await.with_context(|| format!("a run of {driver} on {node}"))?;
        }
        ends_the_same(cluster, token, watched, &viewers, 200, 1).await?;

        let (stopped, mut viewers) = begin(cluster, token, driver, "double/paced-100-100000").await?;
        cluster.api(1 - driver, token).post(&format!("/runs/{stopped}/cancel"), &json!({})).await?;
        for (node, (client, reader)) in viewers.iter_mut().enumerate() {
            client
                .read_to_end(reader)
                .await
                .with_context(|| format!("a stopped run of {driver} on {node}"))?;
        }
        let over = until_over(&cluster.api(driver, token), stopped).await?;
        ensure!(over.state == RunState::Cancelled, "{over:?}");
        let stored = stored_text(&cluster.api(driver, token), stopped).await?;
        ensure!(viewers.iter().all(|(_, reader)| reader.bytes() == stored.as_bytes()));
    }
    Ok(())
}

/// A run that outlives its node is driven to its end by the other build; then the node comes back as what it was.
async fn goes_on_on_the_other(cluster: &mut Cluster, token: &str, leaving: usize, how: Leaves) -> Result<()> {
    let model = format!("double/paced-100-{TOKENS}.{leaving}-{how:?}");
    let (run, mut viewers) = begin(cluster, token, leaving, &model).await?;
    match how {
        Leaves::Dies => cluster.node_mut(leaving).server.kill()?,
        Leaves::HandsOver => {
            cluster.node(leaving).server.ask_to_stop()?;
            ensure!(cluster.node_mut(leaving).server.ended().await?.success());
        }
    }
    let staying = 1 - leaving;
    let (far, reader) = &mut viewers[staying];
    far.read_to_end(reader).await.context("the viewer who stayed")?;
    let moved = view_from(&cluster.ws(staying), PROMPT, token, &mut viewers[leaving].1).await;
    moved.context("the viewer who moved")?;
    cluster.node_mut(leaving).server.start().await?;
    ends_the_same(cluster, token, run, &viewers, TOKENS, 2).await
}

/// A run of one node, and a viewer on each who has begun to read.
async fn begin(
    cluster: &Cluster,
    token: &str,
    driver: usize,
    model: &str,
) -> Result<(RunId, Vec<(Client, RunReader)>)> {
    let run = cluster.api(driver, token).run(PROMPT, model).await?.id;
    let mut viewers = Vec::new();
    for node in [OLD, NEW] {
        let (mut client, mut reader) = watcher(&cluster.ws(node), token, run).await?;
        read_bytes(&mut client, &mut reader, BEGUN_BYTES).await?;
        viewers.push((client, reader));
    }
    Ok((run, viewers))
}

async fn ends_the_same(
    cluster: &Cluster,
    token: &str,
    run: RunId,
    viewers: &[(Client, RunReader)],
    tokens: u64,
    attempts: u32,
) -> Result<()> {
    let whole = numbered_text(tokens);
    ensure!(viewers.iter().all(|(_, reader)| reader.bytes() == whole.as_bytes()), "a viewer has other bytes");
    for node in [OLD, NEW] {
        let api = cluster.api(node, token);
        let over = until_over(&api, run).await?;
        ensure!(over.state == RunState::Completed && over.attempts == attempts, "{over:?}");
        ensure!(stored_text(&api, run).await? == whole);
    }
    Ok(())
}
