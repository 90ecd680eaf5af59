//! Stop stops: the upstream connection is closed, what was written is kept, and leaving is not stopping.

use anyhow::{Result, bail, ensure};
use promptroom_loadtest::{
    client::{Client, ClientError},
    run_reader::RunReader,
    upstream::Upstream,
};
use promptroom_protocol::{
    Action, ClientFrame, Command, CommandId, Overrides, Role, RunCursor, RunId, RunState, RunSummary,
    ServerFrame,
};
use promptroom_tests::{Member, PATIENCE, Server, ServerSettings, until};
use std::time::Duration;
use uuid::Uuid;

const PROMPT: &str = "stopping";
const UPSTREAM_CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// A server whose lane `double` leads to a counting double with this many slots.
async fn with_double(slots: u32) -> Result<(Server, Upstream)> {
    let upstream = Upstream::start().await?;
    let lanes =
        format!("[[lane]]\nname = \"double\"\nbase_url = \"{}\"\nslots = {slots}\n", upstream.base_url());
    let server = ServerSettings::default().lanes(&lanes).start().await?;
    Ok((server, upstream))
}

/// Watches `run` until at least `bytes` of it have come.
async fn read_some(client: &mut Client, run: RunId, bytes: usize) -> Result<RunReader> {
    client.watch(run, RunCursor::START).await?;
    let mut reader = RunReader::new(run);
    while reader.bytes().len() < bytes {
        ensure!(!reader.has_ended(), "the run ended after {} bytes", reader.bytes().len());
        reader.take(&client.next().await?.decode()?)?;
    }
    Ok(reader)
}

async fn until_state(server: &Server, run: RunId, wanted: RunState) -> Result<RunSummary> {
    let api = server.api(Role::Editor)?;
    until(wanted.name(), async || {
        let summary = api.summary(run).await?;
        if summary.state.is_terminal() && summary.state != wanted {
            bail!("the run is {}, not {}: {:?}", summary.state.name(), wanted.name(), summary.problem);
        }
        Ok((summary.state == wanted).then_some(summary))
    })
    .await
}

#[tokio::test]
async fn stop_by_another_member_closes_the_upstream_and_keeps_what_was_written() -> Result<()> {
    let (server, upstream) = with_double(4).await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    let mut bob = Member::join(&server.ws(), PROMPT, &token).await?;
    let run = ann.client().run(Some("double/paced-100-100000")).await?.id;
    let mut reader = read_some(ann.client(), run, 200).await?;

    bob.client().cancel(run).await?;
    upstream.wait_for(UPSTREAM_CLOSED_WITHIN, |counts| counts.closed_by_client == 1).await?;
    ann.client().read_to_end(&mut reader).await?;

    let summary = until_state(&server, run, RunState::Cancelled).await?;
    ensure!(summary.bytes.0 == reader.bytes().len() as u64, "{:?}", summary.bytes);
    ensure!(summary.stopped_by.is_some(), "nobody is named");
    let Some(usage) = summary.usage else { bail!("a stopped run says what it used") };
    ensure!(usage.output_tokens > 0 && usage.estimated, "{usage:?}");
    let stored = server.api(Role::Editor)?.stored_blocks(run).await?;
    ensure!(stored == reader.blocks(), "what is stored differs from what was seen");
    Ok(())
}

#[tokio::test]
async fn a_run_stopped_in_the_queue_never_reaches_the_upstream() -> Result<()> {
    let (server, upstream) = with_double(1).await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    let first = ann.client().run(Some("double/paced-100-100000")).await?.id;
    read_some(ann.client(), first, 8).await?;
    let second = ann.client().run(Some("double/paced-100-100000")).await?;
    ensure!(second.state == RunState::Queued, "{:?}", second.state);
    ensure!(second.queue.is_some_and(|place| place.position == 1));

    ann.client().cancel(second.id).await?;
    let summary = until_state(&server, second.id, RunState::Cancelled).await?;
    ensure!(summary.bytes.0 == 0 && summary.admitted_at_ms.is_none(), "{summary:?}");
    ann.client().cancel(first).await?;
    upstream.wait_for(UPSTREAM_CLOSED_WITHIN, |counts| counts.open == 0).await?;
    ensure!(upstream.counts().opened == 1, "{:?}", upstream.counts());
    Ok(())
}

#[tokio::test]
async fn a_stop_before_the_first_token_is_charged_the_input_as_an_estimate() -> Result<()> {
    let (server, upstream) = with_double(1).await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    let run = ann.client().run(Some("double/slow-start-60000")).await?.id;
    upstream.wait_for(PATIENCE, |counts| counts.open == 1).await?;
    ann.client().cancel(run).await?;
    let summary = until_state(&server, run, RunState::Cancelled).await?;
    let Some(usage) = summary.usage else { bail!("a stopped run says what it used") };
    ensure!(usage.input_tokens > 0 && usage.output_tokens == 0 && usage.estimated, "{usage:?}");
    upstream.wait_for(UPSTREAM_CLOSED_WITHIN, |counts| counts.open == 0).await?;
    Ok(())
}

#[tokio::test]
async fn a_repeated_command_gets_its_run_even_where_it_would_be_refused_now() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let id = CommandId(Uuid::now_v7());
    let run = |variant: Option<&str>| {
        let variant = variant.map(str::to_owned);
        Command { id, action: Action::Run { variant, inputs: None, overrides: Overrides::default() } }
    };
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    let first = ann.client().repeat_command(run(None)).await?;
    // As after somebody deleted the variant.
    let again = ann.client().repeat_command(run(Some("gone"))).await?;
    ensure!(first.id == again.id);
    let mut elsewhere = Member::join_to_run(&server.ws(), "stopping-elsewhere", &token).await?;
    match elsewhere.client().repeat_command(run(None)).await {
        Err(ClientError::Problem(problem)) => {
            ensure!(problem.code == "request.idempotency_conflict", "{problem:?}");
        }
        other => bail!("another prompt's command got {other:?}"),
    }
    Ok(())
}

#[tokio::test]
async fn a_run_goes_on_when_all_its_viewers_leave() -> Result<()> {
    let (server, upstream) = with_double(4).await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    let run = ann.client().run(Some("double/paced-400-400")).await?.id;
    read_some(ann.client(), run, 80).await?;
    ann.close().await?;
    let summary = until_state(&server, run, RunState::Completed).await?;
    ensure!(summary.bytes.0 == 400 * 8, "{:?}", summary.bytes);
    ensure!(upstream.counts().finished == 1 && upstream.counts().closed_by_client == 0);
    Ok(())
}

#[tokio::test]
async fn a_command_sent_again_after_a_reconnect_does_nothing_twice() -> Result<()> {
    let (server, upstream) = with_double(4).await?;
    let token = server.token(Role::Editor)?;
    let overrides = Overrides { model: Some("double/numbered-50".into()), ..Overrides::default() };
    let action = Action::Run { variant: None, inputs: None, overrides };
    let command = Command { id: CommandId(Uuid::now_v7()), action };
    let mut first = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    let run = first.client().repeat_command(command.clone()).await?;
    let again = first.client().repeat_command(command.clone()).await?;
    drop(first);
    let mut second = Member::join(&server.ws(), PROMPT, &token).await?;
    let later = second.client().repeat_command(command).await?;
    ensure!(run.id == again.id && run.id == later.id && run.hash == later.hash);
    until_state(&server, run.id, RunState::Completed).await?;
    ensure!(upstream.counts().opened == 1, "{:?}", upstream.counts());
    Ok(())
}

#[tokio::test]
async fn a_run_holds_what_was_typed_before_it_and_nothing_typed_after() -> Result<()> {
    let server = Server::fresh().await?;
    let api = server.api(Role::Editor)?;
    let prompt = api.create_prompt("order").await?;
    let mut ann = Member::join_to_run(&server.ws(), &prompt, api.token()).await?;
    ann.type_into_message("BEFORE").await?;
    let command = Command {
        id: CommandId(Uuid::now_v7()),
        action: Action::Run { variant: None, inputs: None, overrides: Overrides::default() },
    };
    ann.client().send(&ClientFrame::Command(Box::new(command.clone()))).await?;
    ann.type_into_message("AFTER").await?;
    let run = ann.client().repeat_command(command).await?;
    let record = api.get(&format!("/runs/{}", run.id)).await?;
    let request = record["request"].to_string();
    ensure!(request.contains("BEFORE") && !request.contains("AFTER"), "{request}");
    Ok(())
}

#[tokio::test]
async fn an_upstream_that_ends_without_a_reason_is_no_success() -> Result<()> {
    let (server, _upstream) = with_double(4).await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    for model in ["double/unfinished-20", "double/cut-after-20", "double/fail-500", "double/fail-429"] {
        let run = ann.client().run(Some(model)).await?.id;
        let ended = |frame: &ServerFrame<'_>| match frame {
            ServerFrame::Run(summary) if summary.id == run && summary.state.is_terminal() => {
                Some((**summary).clone())
            }
            _ => None,
        };
        let summary = ann.client().wait_for("the end of the run", ended).await?;
        ensure!(summary.state != RunState::Completed, "{model} counts as completed");
        ensure!(summary.problem.is_some(), "{model}: nothing says why");
        if model.contains("20") {
            // A broken connection may take the last chunk with it.
            let least = if model.contains("cut") { 144 } else { 160 };
            ensure!(
                (least..=160).contains(&summary.bytes.0),
                "{model}: {:?} of 160 bytes are kept",
                summary.bytes
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_viewer_can_watch_but_neither_run_nor_stop() -> Result<()> {
    let (server, _upstream) = with_double(4).await?;
    let api = server.api(Role::Editor)?;
    let prompt = api.create_prompt("watched").await?;
    let mut ann = Member::join_to_run(&server.ws(), &prompt, api.token()).await?;
    let run = ann.client().run(Some("double/paced-100-100000")).await?.id;
    let mut viewer = Member::join(&server.ws(), &prompt, &server.token(Role::Viewer)?).await?;
    read_some(viewer.client(), run, 80).await?;
    for refused in [viewer.client().cancel(run).await, viewer.client().run(None).await] {
        let Err(ClientError::Problem(problem)) = refused else { bail!("not refused: {refused:?}") };
        ensure!(problem.status == 403, "{problem:?}");
    }
    tokio::time::timeout(PATIENCE, ann.client().cancel(run)).await??;
    Ok(())
}

#[tokio::test]
async fn a_prompt_that_is_deleted_takes_its_runs_with_it() -> Result<()> {
    let (server, upstream) = with_double(4).await?;
    let api = server.api(Role::Editor)?;
    let prompt = api.create_prompt("going").await?;
    let run = api.run(&prompt, "double/paced-100-100000").await?.id;
    upstream.wait_for(PATIENCE, |counts| counts.open == 1).await?;
    ensure!(api.delete(&format!("/prompts/{prompt}")).await?.status() == 204);
    upstream.wait_for(UPSTREAM_CLOSED_WITHIN, |counts| counts.open == 0).await?;
    // One that is not yet over can be stopped again, though its prompt is gone.
    let answer = api.request(reqwest::Method::POST, &format!("/runs/{run}/cancel")).send().await?;
    ensure!(answer.status() == 200, "{answer:?}");
    ensure!(
        api.request(reqwest::Method::POST, &format!("/prompts/{prompt}/restore")).send().await?.status()
            == 200
    );
    let over = until_state(&server, run, RunState::Cancelled).await?;
    ensure!(over.stopped_by.is_some(), "nobody is named");
    Ok(())
}
