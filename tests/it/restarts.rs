//! The server is killed in the middle of a run: it goes on with a seam, or is interrupted, and never silently.

use anyhow::{Context, Result, ensure};
use promptroom_loadtest::{run_reader::RunReader, upstream::Upstream};
use promptroom_protocol::{Action, BlockKind, Role, RunCursor, RunId, RunOrigin, RunState, RunSummary};
use promptroom_tests::{Api, Member, Server, ServerSettings, seeded, until};
use rand::RngExt;

const PROMPT: &str = "restarts";

async fn until_over(api: &Api, run: RunId) -> Result<RunSummary> {
    until("the end of the run", async || {
        let summary = api.summary(run).await?;
        Ok(summary.state.is_terminal().then_some(summary))
    })
    .await
}

/// Runs `model`, kills the server once a viewer has `bytes` of it, starts it again; what the viewer had.
async fn kill_in_mid_run(server: &mut Server, token: &str, model: &str, bytes: usize) -> Result<RunReader> {
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, token).await?;
    let run = ann.client().run(Some(model)).await?.id;
    ann.client().watch(run, RunCursor::START).await?;
    let mut reader = RunReader::new(run);
    while reader.bytes().len() < bytes {
        ensure!(!reader.has_ended(), "the run ended before the kill");
        reader.take(&ann.client().next().await?.decode()?)?;
    }
    server.kill()?;
    server.start().await?;
    Ok(reader)
}

#[tokio::test]
async fn a_model_that_accepts_a_prefill_goes_on_with_a_seam_and_viewers_end_with_what_is_stored() -> Result<()>
{
    let mut random = seeded();
    let mut server = ServerSettings::default().environment("PROMPTROOM_DEMO_PACE_MS", 4).start().await?;
    let token = server.token(Role::Editor)?;
    for _ in 0..5 {
        let bytes = random.random_range(1..600);
        let mut reader = kill_in_mid_run(&mut server, &token, "demo/markdown", bytes).await?;
        let mut ann = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
        ann.client().watch(reader.run(), reader.cursor()).await?;
        ann.client().read_to_end(&mut reader).await?;

        let api = server.api(Role::Editor)?;
        let summary = until_over(&api, reader.run()).await?;
        ensure!(summary.state == RunState::Completed, "{:?}: {:?}", summary.state, summary.problem);
        ensure!(summary.attempts == 2 && summary.seams.len() == 1, "{summary:?}");
        ensure!(summary.epoch.0 == 2 && reader.rewinds().len() == 1, "{:?}", reader.rewinds());
        ensure!(reader.blocks() == api.stored_blocks(reader.run()).await?, "the viewer has something else");
    }
    Ok(())
}

#[tokio::test]
async fn a_model_that_does_not_is_interrupted_and_its_partial_kept() -> Result<()> {
    let upstream = Upstream::start().await?;
    let lanes = format!("[[lane]]\nname = \"double\"\nbase_url = \"{}\"\n", upstream.base_url());
    let mut server = ServerSettings::default().lanes(&lanes).start().await?;
    let token = server.token(Role::Editor)?;
    let mut reader = kill_in_mid_run(&mut server, &token, "double/paced-200-100000", 400).await?;
    let api = server.api(Role::Editor)?;
    let summary = until_over(&api, reader.run()).await?;
    ensure!(summary.state == RunState::Interrupted, "{:?}", summary.state);
    ensure!(summary.problem.is_some(), "nothing says what is kept");
    ensure!(upstream.counts().opened == 1, "nobody asked for a second attempt: {:?}", upstream.counts());

    let mut ann = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    ann.client().watch(reader.run(), reader.cursor()).await?;
    ann.client().read_to_end(&mut reader).await?;
    let stored = api.stored_blocks(reader.run()).await?;
    ensure!(reader.blocks() == stored, "the viewer has something else");
    let kept: usize = stored.iter().map(|(_, _, text)| text.len()).sum();
    ensure!(kept > 0 && kept as u64 == summary.bytes.0, "{kept} bytes of {:?}", summary.bytes);
    ensure!(summary.usage.is_some_and(|usage| usage.estimated), "{:?}", summary.usage);
    Ok(())
}

#[tokio::test]
async fn an_interrupted_run_is_continued_as_a_child_only_when_somebody_asks() -> Result<()> {
    let mut server = ServerSettings::default().environment("PROMPTROOM_DEMO_PACE_MS", 10).start().await?;
    let token = server.token(Role::Editor)?;
    // Output with a tool call cannot be prefilled, so the restart interrupts it.
    let reader = kill_in_mid_run(&mut server, &token, "demo/tools", 40).await?;
    let api = server.api(Role::Editor)?;
    let parent = until_over(&api, reader.run()).await?;
    ensure!(parent.state == RunState::Interrupted, "{:?}", parent.state);
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    let child = ann.client().command(Action::Regenerate { run: parent.id }).await?;
    ensure!(
        child.parent == Some(parent.id) && child.origin == RunOrigin::Regenerate && child.id != parent.id
    );
    let child = until_over(&api, child.id).await?;
    ensure!(child.state == RunState::Completed, "{:?}", child.state);
    let blocks = api.stored_blocks(child.id).await?;
    blocks.iter().find(|(_, kind, _)| *kind == BlockKind::ToolCall).context("a tool call")?;
    Ok(())
}

#[tokio::test]
async fn a_queued_run_survives_the_restart_and_runs_once() -> Result<()> {
    let upstream = Upstream::start().await?;
    let lanes = format!("[[lane]]\nname = \"double\"\nbase_url = \"{}\"\nslots = 1\n", upstream.base_url());
    let mut server = ServerSettings::default().lanes(&lanes).start().await?;
    let api = server.api(Role::Editor)?;
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, api.token()).await?;
    let first = ann.client().run(Some("double/paced-100-100000")).await?.id;
    // Of a run of which nothing is stored yet the restart would begin again.
    until("output on disk", async || Ok((api.summary(first).await?.bytes.0 > 0).then_some(()))).await?;
    let second = ann.client().run(Some("double/numbered-30")).await?;
    ensure!(second.state == RunState::Queued, "{:?}", second.state);
    server.kill()?;
    server.start().await?;
    ensure!(until_over(&api, first).await?.state == RunState::Interrupted);
    let second = until_over(&api, second.id).await?;
    ensure!(
        matches!(second.state, RunState::Completed | RunState::Interrupted),
        "{:?}: {:?}",
        second.state,
        second.problem
    );
    let opened = upstream.counts().opened;
    ensure!(opened <= 2, "{opened} requests for two runs");
    Ok(())
}
