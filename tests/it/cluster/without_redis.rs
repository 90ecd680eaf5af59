//! Redis is dead for the whole test: people on two nodes notice nothing but a little less speed.

use super::{
    APART_MAX, PROMPT, ann_and_bob, crosses_in_time, make_prompt, read_bytes, until_over, watcher,
    with_double,
};
use anyhow::{Context, Result, ensure};
use promptroom_loadtest::upstream::numbered_text;
use promptroom_protocol::{Role, RunState};
use promptroom_tests::{ClusterSettings, PATIENCE, Traveller, is_away};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// What a stop by somebody on the other node may take: one look at the rows, and a checkpoint that brings the flag.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

/// 13
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_on_two_nodes_type_watch_and_stop_a_run() -> Result<()> {
    let (mut cluster, upstream) = with_double(2, ClusterSettings::default()).await?;
    let token = cluster.token(Role::Editor)?;
    let api = cluster.api(0, &token);
    make_prompt(&api).await?;
    cluster.redis.kill()?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    for number in 0..5 {
        crosses_in_time(&mut ann, &mut bob, &format!("ann {number}")).await?;
        crosses_in_time(&mut bob, &mut ann, &format!("bob {number}")).await?;
    }

    let run = api.run(PROMPT, "double/paced-50-200").await?.id;
    let (mut far, mut reader) = watcher(&cluster.ws(1), &token, run).await?;
    let started = Instant::now();
    read_bytes(&mut far, &mut reader, 8).await?;
    ensure!(started.elapsed() <= 2 * APART_MAX, "the first token after {:?}", started.elapsed());
    far.read_to_end(&mut reader).await?;
    ensure!(reader.bytes() == numbered_text(200).as_bytes(), "{} bytes", reader.bytes().len());

    let run = api.run(PROMPT, "double/paced-50-100000").await?.id;
    let (mut far, mut reader) = watcher(&cluster.ws(1), &token, run).await?;
    read_bytes(&mut far, &mut reader, 80).await?;
    let started = Instant::now();
    far.cancel(run).await?;
    upstream.wait_for(PATIENCE, |counts| counts.open == 0).await?;
    ensure!(started.elapsed() <= STOPPED_WITHIN, "stopped after {:?}", started.elapsed());
    far.read_to_end(&mut reader).await?;
    let over = until_over(&cluster.api(1, &token), run).await?;
    ensure!(over.state == RunState::Cancelled && over.bytes.0 == reader.bytes().len() as u64, "{over:?}");
    Ok(())
}

/// 49
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lowered_role_reaches_the_other_node_within_a_second() -> Result<()> {
    lowered_role_reaches_the_other_node(true).await
}

/// 38, with Redis: here because it is the same test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_redis_a_lowered_role_reaches_the_other_node_within_a_second() -> Result<()> {
    lowered_role_reaches_the_other_node(false).await
}

async fn lowered_role_reaches_the_other_node(redis_is_dead: bool) -> Result<()> {
    let (mut cluster, _upstream) = with_double(2, ClusterSettings::default()).await?;
    let owner = cluster.api(1, &cluster.token(Role::Owner)?);
    make_prompt(&owner).await?;
    let token = cluster.token(Role::Editor)?;
    if redis_is_dead {
        cluster.redis.kill()?;
    }
    let mut ann = Traveller::join(&cluster.ws(0), PROMPT, &token).await?;
    ann.write_saved("allowed").await?;
    let members = owner.get("/members").await?;
    let name = format!("test {}", Role::Editor.name());
    let member = members["members"].as_array().into_iter().flatten().find(|member| member["name"] == *name);
    let id = member.and_then(|member| member["id"].as_str()).context("the editor is listed")?.to_owned();

    owner.patch(&format!("/members/{id}"), &json!({"role": "viewer"})).await?;
    let refused = timeout(APART_MAX, async {
        let mut number = 0;
        while ann.write_saved(&format!("in time {number}")).await.is_ok() {
            number += 1;
        }
    });
    ensure!(refused.await.is_ok(), "still writing a second after the change");
    let in_time = ann.acknowledged().to_vec();
    // Whoever comes back may look, and no more.
    for door in cluster.doors() {
        let mut again = Traveller::join(&door, PROMPT, &token).await?;
        match again.write_saved("forbidden").await {
            Ok(()) => anyhow::bail!("a viewer wrote"),
            Err(error) => ensure!(!is_away(&error), "not refused for good: {error:#}"),
        }
        let text = Traveller::join(&door, PROMPT, owner.token()).await?.text();
        ensure!(in_time.iter().all(|marker| text.contains(marker)), "an acknowledged edit is gone");
        ensure!(!text.contains("forbidden"), "{text}");
    }
    Ok(())
}
