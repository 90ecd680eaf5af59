//! 19: the wall clocks of the nodes disagree and jump, and nothing but the times shown depends on them.

use super::{
    PROMPT, all_is_settled, ann_and_bob, crosses_in_time, make_prompt, read_bytes, stored_text, until_over,
    watcher, with_double,
};
use anyhow::{Result, ensure};
use promptroom_loadtest::upstream::numbered_text;
use promptroom_protocol::{Role, RunState};
use promptroom_tests::{Api, Cluster, ClusterSettings};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

const DAY_S: i64 = 86_400;
const TOKENS: u64 = 1_200;
/// At 100 a second: what comes while a run could be taken over twice.
const BYTES_BETWEEN_JUMPS: usize = 2_000;
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_jump_by_days_take_nobodys_run_and_lose_no_edit() -> Result<()> {
    let (mut cluster, upstream) = with_double(2, ClusterSettings::default().movable_clocks()?).await?;
    let token = cluster.token(Role::Editor)?;
    let (here, there) = (cluster.api(0, &token), cluster.api(1, &token));
    make_prompt(&here).await?;
    let (mut ann, mut bob) = ann_and_bob(&cluster, &token).await?;
    let run = here.run(PROMPT, "double/paced-100-1200.jumping").await?.id;
    let (mut near, mut near_reader) = watcher(&cluster.ws(0), &token, run).await?;
    let (mut far, mut far_reader) = watcher(&cluster.ws(1), &token, run).await?;
    let jumps = [(0, 3 * DAY_S), (1, -DAY_S), (0, -2 * DAY_S), (0, 0)];
    for (number, (node, ahead_s)) in jumps.into_iter().enumerate() {
        cluster.node(node).server.set_clock(ahead_s)?;
        ensure_moved(&cluster, &cluster.api(node, &token), ahead_s).await?;
        crosses_in_time(&mut ann, &mut bob, &format!("ann {number}")).await?;
        crosses_in_time(&mut bob, &mut ann, &format!("bob {number}")).await?;
        let bytes = (number + 1) * BYTES_BETWEEN_JUMPS;
        tokio::try_join!(
            read_bytes(&mut near, &mut near_reader, bytes),
            read_bytes(&mut far, &mut far_reader, bytes)
        )?;
    }
    tokio::try_join!(async { anyhow::Ok(near.read_to_end(&mut near_reader).await?) }, async {
        anyhow::Ok(far.read_to_end(&mut far_reader).await?)
    })?;
    let whole = numbered_text(TOKENS);
    ensure!(near_reader.bytes() == whole.as_bytes() && far_reader.bytes() == whole.as_bytes());
    ensure!(stored_text(&there, run).await? == whole);
    let over = until_over(&there, run).await?;
    ensure!(over.state == RunState::Completed && over.epoch.0 == 1 && over.attempts == 1, "{over:?}");

    // The one whose clock is right takes over from one that died days ahead.
    cluster.node(1).server.set_clock(0)?;
    cluster.node(0).server.set_clock(3 * DAY_S)?;
    let run = here.run(PROMPT, "double/paced-100-1200.left").await?.id;
    let (mut far, mut reader) = watcher(&cluster.ws(1), &token, run).await?;
    read_bytes(&mut far, &mut reader, 800).await?;
    cluster.node_mut(0).server.kill()?;
    let killed_at = Instant::now();
    while reader.rewinds().is_empty() {
        ensure!(!reader.has_ended(), "the run ended without a rewind");
        reader.take(&far.next().await?.decode()?)?;
    }
    ensure!(killed_at.elapsed() <= TAKEN_OVER_WITHIN, "taken over after {:?}", killed_at.elapsed());
    far.read_to_end(&mut reader).await?;
    ensure!(reader.bytes() == whole.as_bytes() && stored_text(&there, run).await? == whole);
    all_is_settled(&cluster.sql(), &upstream).await
}

/// The node's clock has really moved: what is made now bears its time, and not the database's.
async fn ensure_moved(cluster: &Cluster, api: &Api, ahead_s: i64) -> Result<()> {
    let made = api.post("/prompts", &json!({"title": "when"})).await?;
    let shown = made["created_at_ms"].as_i64().unwrap_or_default() / 1_000;
    let now: i64 = cluster.sql().value("SELECT extract(epoch FROM now())::bigint")?;
    ensure!((shown - now - ahead_s).abs() < DAY_S / 2, "made at {shown}, {ahead_s} s from {now} were meant");
    Ok(())
}
