//! One stream: every viewer of a run gets the same bytes, however they come and go.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use promptroom_loadtest::{
    client::{Client, ConnectOptions},
    events::{Event, Events},
    http,
    run_reader::RunReader,
    tasks::Tasks,
    upstream::Upstream,
};
use promptroom_protocol::{
    Action, BlockKind, ClientFrame, Command, CommandId, Epoch, Offset, RecordsFrame, Role, RunCursor, RunId,
    RunState, ServerFrame,
};
use promptroom_tests::{Member, PATIENCE, Server, ServerSettings, rounds, seeded};
use rand::RngExt;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

const PROMPT: &str = "streams";
const STAY: Duration = Duration::from_millis(200);

/// What a reader ended up with, block by block.
type Blocks = Vec<(u32, BlockKind, String)>;

/// Where a viewer finds the run.
#[derive(Clone, Debug)]
struct Place {
    entrance: Entrance,
    run: RunId,
}

/// What of the server a task of its own needs.
#[derive(Clone, Debug)]
struct Entrance {
    ws: String,
    api: http::Api,
    token: String,
}

impl Place {
    async fn connect(&self) -> Result<Client> {
        let mut client =
            Client::connect(&self.entrance.ws, PROMPT, &ConnectOptions::page(&self.entrance.token)).await?;
        client.join().await?;
        Ok(client)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_viewer_of_a_megabyte_with_reasoning_and_a_tool_call_ends_with_exactly_what_is_stored()
-> Result<()> {
    let server = ServerSettings::default().environment("PROMPTROOM_DEMO_PACE_MS", 1).start().await?;
    let stored = read_in_every_way(&server, "demo/long").await?;
    let bytes: usize = stored.iter().map(|(_, _, text)| text.len()).sum();
    ensure!(bytes >= 1 << 20, "only {bytes} bytes");
    ensure!(stored.iter().any(|(_, _, text)| text.chars().any(|c| c as u32 > 0xffff)), "no emoji");
    shows_every_kind(&stored)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_viewer_of_a_tool_call_at_the_pace_of_a_model_ends_with_exactly_what_is_stored() -> Result<()> {
    let server = ServerSettings::default().environment("PROMPTROOM_DEMO_PACE_MS", 5).start().await?;
    shows_every_kind(&read_in_every_way(&server, "demo/tools").await?)
}

fn shows_every_kind(stored: &Blocks) -> Result<()> {
    let kinds: BTreeSet<&str> = stored.iter().map(|(_, kind, _)| kind.name()).collect();
    ensure!(kinds == BTreeSet::from(["reasoning", "text", "tool_call"]), "{kinds:?}");
    let (_, _, call) =
        stored.iter().find(|(_, kind, _)| *kind == BlockKind::ToolCall).context("a tool call")?;
    let (head, arguments) = call.split_once('\n').context("a tool call begins with one line")?;
    ensure!(serde_json::from_str::<Value>(head)?["name"].is_string(), "{head}");
    ensure!(serde_json::from_str::<Value>(arguments)?.is_object(), "{arguments}");
    Ok(())
}

/// A server whose lane `double` leads to a counting double with this many slots.
async fn with_double(slots: u32) -> Result<(Server, Upstream)> {
    let upstream = Upstream::start().await?;
    let lanes =
        format!("[[lane]]\nname = \"double\"\nbase_url = \"{}\"\nslots = {slots}\n", upstream.base_url());
    Ok((ServerSettings::default().lanes(&lanes).start().await?, upstream))
}

/// 32
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_races_the_end_ends_the_run_once_and_frees_its_slot() -> Result<()> {
    let mut random = seeded();
    let (server, upstream) = with_double(2).await?;
    let api = server.api(Role::Editor)?;
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, api.token()).await?;
    let mut bob = Member::join(&server.ws(), PROMPT, api.token()).await?;
    let mut ends = BTreeMap::<&str, u64>::new();
    let turns = rounds(60);
    for _ in 0..turns {
        let run = ann.client().run(Some("double/paced-1000-20")).await?.id;
        ann.client().watch(run, RunCursor::START).await?;
        let mut reader = RunReader::new(run);
        let stop_at = random.random_range(120..=160);
        while reader.bytes().len() < stop_at && !reader.has_ended() {
            reader.take(&ann.client().next().await?.decode()?)?;
        }
        // The answer is the run as it is by then, whoever was first.
        let cancel = Command { id: CommandId(Uuid::now_v7()), action: Action::Cancel { run } };
        ann.client().send(&ClientFrame::Command(Box::new(cancel))).await?;
        ann.client().read_to_end(&mut reader).await?;
        let state = api.summary(run).await?.state;
        ensure!(matches!(state, RunState::Completed | RunState::Cancelled), "{state:?}");
        ensure!(
            api.stored_blocks(run).await? == reader.blocks(),
            "what is stored differs from what was seen"
        );
        *ends.entry(state.name()).or_default() += 1;
        let told = told_states(&mut bob, run).await?;
        let over = told.iter().filter(|told| told.is_terminal()).count();
        ensure!(over == 1 && told.last() == Some(&state), "{state:?} was told as {told:?}");
    }
    eprintln!("of {turns} runs: {ends:?}");
    let counts = upstream.wait_for(PATIENCE, |counts| counts.open == 0).await?;
    ensure!(counts.opened == turns, "{counts:?}");

    // Both slots are free: two runs at once are with the upstream.
    for _ in 0..2 {
        ann.client().run(Some("double/paced-100-100000")).await?;
    }
    upstream.wait_for(PATIENCE, |counts| counts.open == 2).await?;
    Ok(())
}

/// The states that a bystander is told of a run, one after the other, with what is told after its end.
async fn told_states(bystander: &mut Member, run: RunId) -> Result<Vec<RunState>> {
    let mut told: Vec<RunState> = Vec::new();
    let mut last_frame = None;
    while last_frame.is_none_or(|frame| bystander.client().saved() < frame) {
        let frame = bystander.client().next().await?;
        match frame.decode()? {
            ServerFrame::Run(summary) if summary.id == run && told.last() != Some(&summary.state) => {
                told.push(summary.state);
            }
            _ => {}
        }
        if last_frame.is_none() && told.last().is_some_and(|state| state.is_terminal()) {
            // What was to be told of the end is told before this is saved.
            last_frame = Some(bystander.write("seen").await?);
        }
    }
    Ok(told)
}

/// 33
#[tokio::test]
async fn what_the_upstream_counted_is_kept_and_what_it_did_not_is_an_estimate() -> Result<()> {
    let (server, upstream) = with_double(2).await?;
    let api = server.api(Role::Editor)?;
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, api.token()).await?;
    for (model, estimated) in [("double/numbered-20", false), ("double/cut-after-20", true)] {
        let run = ann.client().run(Some(model)).await?.id;
        ann.client().watch(run, RunCursor::START).await?;
        ann.client().read_to_end(&mut RunReader::new(run)).await?;
        let usage = api.summary(run).await?.usage.with_context(|| format!("{model}: no usage"))?;
        ensure!(usage.estimated == estimated && usage.input_tokens > 0, "{model}: {usage:?}");
        ensure!(estimated || usage.output_tokens == upstream.tokens_sent(), "{model}: {usage:?}");
        ensure!(usage.output_tokens > 0, "{model}: {usage:?}");
    }
    Ok(())
}

/// Starts a run of `model` and reads it from the start (three times), late, with breaks, slowly and as events.
async fn read_in_every_way(server: &Server, model: &str) -> Result<Blocks> {
    let token = server.token(Role::Editor)?;
    let mut author = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    let run = author.client().run(Some(model)).await?.id;
    let api = http::Api { address: server.address(), token: Some(token.clone()) };
    let place = Place { entrance: Entrance { ws: server.ws(), api, token }, run };

    let mut viewers: Tasks<Result<(&'static str, Blocks)>> = Tasks::default();
    for _ in 0..3 {
        let place = place.clone();
        viewers.start(async move { Ok(("from the start", from_the_start(&place).await?)) });
    }
    let late = place.clone();
    viewers.start(async move { Ok(("late", late_joiner(&late).await?)) });
    let restless = place.clone();
    viewers.start(async move { Ok(("reconnecting", reconnecting(&restless).await?)) });
    let slow = place.clone();
    viewers.start(async move { Ok(("slow", slowly(&slow).await?)) });
    let events = place.clone();
    viewers.start(async move { Ok(("events", as_events(&events).await?)) });

    let views = viewers.all().await?;
    let stored = promptroom_tests::Api::new(server.http(), place.entrance.token).stored_blocks(run).await?;
    for (name, blocks) in views {
        ensure!(blocks == stored, "the viewer `{name}` has something else than what is stored");
    }
    Ok(stored)
}

async fn from_the_start(place: &Place) -> Result<Blocks> {
    let mut client = place.connect().await?;
    client.watch(place.run, RunCursor::START).await?;
    let mut reader = RunReader::new(place.run);
    client.read_to_end(&mut reader).await?;
    Ok(reader.blocks())
}

async fn late_joiner(place: &Place) -> Result<Blocks> {
    let mut early = place.connect().await?;
    early.watch(place.run, RunCursor::START).await?;
    let mut reader = RunReader::new(place.run);
    while reader.bytes().len() < 300 && !reader.has_ended() {
        reader.take(&early.next().await?.decode()?)?;
    }
    drop(early);
    from_the_start(place).await
}

async fn reconnecting(place: &Place) -> Result<Blocks> {
    let mut reader = RunReader::new(place.run);
    while !reader.has_ended() {
        let mut client = place.connect().await?;
        client.watch(place.run, reader.cursor()).await?;
        let leave_at = Instant::now() + STAY;
        while !reader.has_ended() {
            let Ok(frame) = timeout_at(leave_at, client.receive()).await else { break };
            reader.take(&frame?.decode()?)?;
        }
    }
    Ok(reader.blocks())
}

/// Reads one frame each few milliseconds through a small receive buffer.
async fn slowly(place: &Place) -> Result<Blocks> {
    let options =
        ConnectOptions { receive_buffer_bytes: Some(4_096), ..ConnectOptions::page(&place.entrance.token) };
    let mut client = Client::connect(&place.entrance.ws, PROMPT, &options).await?;
    client.join().await?;
    client.watch(place.run, RunCursor::START).await?;
    let mut reader = RunReader::new(place.run);
    while !reader.has_ended() {
        // The pace is the point here.
        tokio::time::sleep(Duration::from_millis(20)).await;
        reader.take(&client.next().await?.decode()?)?;
    }
    Ok(reader.blocks())
}

/// Reads server-sent events, and comes back with the last id after every twentieth.
async fn as_events(place: &Place) -> Result<Blocks> {
    let mut reader = RunReader::new(place.run);
    let mut last_id: Option<String> = None;
    while !reader.has_ended() {
        let events = Events::of_run(&place.entrance.api, place.run, last_id.as_deref()).await?;
        let mut events = events.context("204 before the end")?;
        for _ in 0..20 {
            let Some(event) = events.next().await? else { break };
            if !take_event(&mut reader, place.run, &event)? {
                continue;
            }
            last_id = Some(event.id.clone());
            if reader.has_ended() {
                break;
            }
            let cursor = reader.cursor().to_string();
            ensure!(event.id == cursor, "the id {} is not the position after the event, {cursor}", event.id);
        }
    }
    let last_id = last_id.context("an end has an id")?;
    ensure!(last_id == format!("{}:end", reader.cursor()), "{last_id}");
    let after_end = Events::of_run(&place.entrance.api, place.run, Some(&last_id)).await?;
    ensure!(after_end.is_none(), "an EventSource that comes back after the end is told to stop");
    Ok(reader.blocks())
}

/// Whether the event was about the output, and not the run's state.
fn take_event(reader: &mut RunReader, run: RunId, event: &Event) -> Result<bool> {
    let data: Value = serde_json::from_str(&event.data)?;
    let epoch = Epoch(u32::try_from(data["epoch"].as_u64().context("an epoch")?)?);
    let offset = |key: &str| Ok::<_, anyhow::Error>(Offset(data[key].as_u64().context("an offset")?));
    match event.name.as_str() {
        "records" => {
            let records = data["records"].as_array().context("records")?;
            let records = records.iter().map(record).collect::<Result<Vec<_>>>()?;
            reader.take_records(&RecordsFrame { run, epoch, offset: offset("offset")?, records })?;
        }
        "rewind" => {
            reader.take(&ServerFrame::Rewind { run, epoch, offset: offset("offset")? })?;
        }
        "end" => {
            reader.take(&ServerFrame::End { run, epoch, offset: offset("bytes")? })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn record(value: &Value) -> Result<(u32, BlockKind, Bytes)> {
    let block = u32::try_from(value["block"].as_u64().context("a block number")?)?;
    let kind = serde_json::from_value(value["kind"].clone())?;
    Ok((block, kind, Bytes::from(value["text"].as_str().context("text")?.to_owned())))
}
