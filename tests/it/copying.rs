//! `promptroom copy`: a workspace moves from SQLite to Postgres, whole.

use anyhow::{Result, ensure};
use promptroom_protocol::{Role, RunId};
use promptroom_tests::{Api, Postgres, Server, ServerSettings, until};
use serde_json::Value;

async fn output_of(api: &Api, run: RunId) -> Result<Value> {
    until("the end of the run", async || {
        let summary = api.summary(run).await?;
        Ok(summary.state.is_terminal().then_some(()))
    })
    .await?;
    Ok(api.get(&format!("/runs/{run}")).await?["blocks"].take())
}

#[tokio::test]
async fn a_workspace_moves_to_postgres_with_all_that_is_in_it() -> Result<()> {
    let postgres = Postgres::start().await?;
    let mut old = ServerSettings::default().environment("PROMPTROOM_DEMO_PACE_MS", 1).start().await?;
    let api = old.api(Role::Owner)?;
    let prompt = api.create_prompt("Moving house").await?;
    let run = api.run(&prompt, "demo/markdown").await?.id;
    let output = output_of(&api, run).await?;
    let content = api.get(&format!("/prompts/{prompt}")).await?["content"].take();
    let from = format!("sqlite://{}", old.database()?.display());

    let refused = old.copy(&from, &postgres.url())?;
    ensure!(!refused.status.success(), "a database that is being served was copied");
    old.kill()?;
    let copied = old.copy(&from, &postgres.url())?;
    ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let again = old.copy(&from, &postgres.url())?;
    ensure!(!again.status.success(), "a database that holds something was written over");
    let nowhere = old.copy("sqlite:///nowhere/at/all.db", &postgres.url())?;
    ensure!(String::from_utf8_lossy(&nowhere.stderr).contains("there is no database"), "{nowhere:?}");

    let settings = ServerSettings::default().environment("PROMPTROOM_DATABASE_URL", postgres.url());
    let new: Server = settings.start().await?;
    // The token is the one that the old server made.
    let api = Api::new(new.http(), api.token().to_owned());
    ensure!(api.get(&format!("/prompts/{prompt}")).await?["content"] == content, "the draft is another one");
    ensure!(output_of(&api, run).await? == output, "the run's output is another one");
    Ok(())
}
