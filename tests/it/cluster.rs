//! Several nodes on one Postgres and one Redis, any of which may be killed, stopped, cut off or slow. What the comments
//! number is in tests/README.md.

mod balancer;
mod builds;
mod clocks;
mod coediting;
mod durability;
mod bus_faults;
mod without_redis;
mod runs;
mod deploys;
mod schedule;

use anyhow::{Context, Result, ensure};
use promptroom_loadtest::{
    client::{Client, ConnectOptions},
    run_reader::RunReader,
    upstream::Upstream,
};
use promptroom_protocol::{Role, RunCursor, RunId, RunSummary};
use promptroom_tests::{
    Api, Cluster, ClusterSettings, PATIENCE, Sql, Traveller, ensure_charged_as_counted, until,
};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

const PROMPT: &str = "together";
/// Between nodes, with Redis or without.
const APART_MAX: Duration = Duration::from_secs(1);

/// Nodes whose lane `double` leads to a counting double that goes on in mid-answer.
async fn with_double(nodes: usize, settings: ClusterSettings) -> Result<(Cluster, Upstream)> {
    let upstream = Upstream::start().await?;
    let lanes = format!(
        "[[lane]]\nname = \"double\"\nbase_url = \"{base}\"\nslots = 8\nprefill = \"assistant_message\"\n\
         [[lane]]\nname = \"plain\"\nbase_url = \"{base}\"\nslots = 8\n",
        base = upstream.base_url()
    );
    Ok((settings.lanes(&lanes).start(nodes).await?, upstream))
}

/// A prompt that can be run and that all in the workspace see; its slug is `PROMPT`.
async fn make_prompt(api: &Api) -> Result<()> {
    let content = json!({"variants": [{"messages": [{"role": "user", "text": "Write about tea."}]}]});
    let body = json!({"title": PROMPT, "slug": PROMPT, "visibility": "workspace", "content": content});
    api.post("/prompts", &body).await.map(drop)
}

/// Two people, each on a node of its own.
async fn ann_and_bob(cluster: &Cluster, token: &str) -> Result<(Traveller, Traveller)> {
    let ann = Traveller::join(&cluster.ws(0), PROMPT, token).await?;
    Ok((ann, Traveller::join(&cluster.ws(1), PROMPT, token).await?))
}

/// An edit of one is seen by the other within a second, whatever else is broken.
async fn crosses_in_time(from: &mut Traveller, to: &mut Traveller, marker: &str) -> Result<()> {
    let started = Instant::now();
    from.write(marker).await?;
    to.until_seen(marker).await?;
    let apart = started.elapsed();
    ensure!(apart <= APART_MAX, "{marker} took {apart:?}");
    from.until_saved().await
}

/// A socket at this door that does nothing but watch this run.
async fn watcher(door: &str, token: &str, run: RunId) -> Result<(Client, RunReader)> {
    let mut client = Client::connect(door, PROMPT, &ConnectOptions::page(token)).await?;
    client.join().await?;
    client.watch(run, RunCursor::START).await?;
    Ok((client, RunReader::new(run)))
}

async fn read_bytes(client: &mut Client, reader: &mut RunReader, bytes: usize) -> Result<()> {
    while reader.bytes().len() < bytes {
        ensure!(!reader.has_ended(), "the run ended after {} bytes", reader.bytes().len());
        reader.take(&client.next().await?.decode()?)?;
    }
    Ok(())
}

async fn until_over(api: &Api, run: RunId) -> Result<RunSummary> {
    until("the end of the run", async || {
        let summary = api.summary(run).await?;
        Ok(summary.state.is_terminal().then_some(summary))
    })
    .await
}

/// Every attempt is settled, once, as the upstream counted it or as an estimate; no run is left unfinished.
async fn all_is_settled(sql: &Sql, upstream: &Upstream) -> Result<()> {
    until("all attempts to be settled", async || {
        let open: u64 = sql.value("SELECT count(*) FROM run_attempts WHERE settled_at_ms IS NULL")?;
        let unfinished: u64 = sql.value("SELECT count(*) FROM runs WHERE ended_at_ms IS NULL")?;
        Ok((open == 0 && unfinished == 0).then_some(()))
    })
    .await?;
    upstream.wait_for(PATIENCE, |counts| counts.open == 0).await?;
    ensure_charged_as_counted(sql, upstream)
}

/// The output as it is stored, as one text.
async fn stored_text(api: &Api, run: RunId) -> Result<String> {
    let blocks = api.stored_blocks(run).await?;
    let (_, _, text) = blocks.into_iter().next().context("a run with one block")?;
    Ok(text)
}

fn an_editor(cluster: &Cluster) -> Result<String> {
    cluster.token(Role::Editor)
}
