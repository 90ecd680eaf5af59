//! The HTTP API: what is changed over it goes through the room, and every "no" has the same shape.

use anyhow::{Context, Result, ensure};
use promptroom_protocol::{Problem, Role, RunId, RunState, ServerFrame, SyncStep};
use promptroom_tests::{Api, Member, Server, ServerSettings, until};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use uuid::Uuid;

async fn problem(response: Response) -> Result<Problem> {
    let kind = response.headers().get("content-type").context("a content type")?.to_str()?.to_owned();
    ensure!(kind.starts_with("application/problem+json"), "{kind}");
    let request_id = response.headers().get("x-request-id").context("a request id")?.to_str()?.to_owned();
    let status = response.status().as_u16();
    let problem: Problem = serde_json::from_value(response.json().await?)?;
    ensure!(problem.status == status && problem.kind == "about:blank", "{problem:?}");
    ensure!(problem.request_id.is_some_and(|id| id.to_string() == request_id), "{problem:?}");
    ensure!(!problem.detail.is_empty() && problem.code.contains('.'), "{problem:?}");
    Ok(problem)
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_a_stable_code() -> Result<()> {
    let server = Server::fresh().await?;
    let api = server.api(Role::Editor)?;
    let viewer = server.api(Role::Viewer)?;
    let stranger = Api::new(server.http(), "pr_wrong".into());
    let nowhere = format!("/prompts/{}", Uuid::now_v7());
    let cases = [
        (stranger.request(Method::GET, "/prompts"), 401, "auth.sign_in_needed"),
        (viewer.request(Method::POST, "/prompts").json(&json!({"title": "x"})), 403, "auth.forbidden"),
        (api.request(Method::GET, &nowhere), 404, "prompt.not_found"),
        (api.request(Method::GET, "/nothing-here"), 404, "request.not_found"),
        (api.request(Method::PUT, "/prompts"), 405, "request.method"),
        (api.request(Method::POST, "/prompts").body("{"), 400, "request.bad"),
        (api.request(Method::GET, "/prompts/%ff"), 400, "request.bad"),
        (api.request(Method::POST, "/runs/a%fe/cancel"), 400, "request.bad"),
        (api.request(Method::POST, "/prompts").json(&json!({"slug": "No Slug"})), 422, "prompt.bad_slug"),
        (api.request(Method::GET, &format!("/runs/{}", Uuid::now_v7())), 404, "run.not_found"),
    ];
    for (request, status, code) in cases {
        let request = request.header("content-type", "application/json");
        let problem = problem(request.send().await?).await.with_context(|| code)?;
        ensure!((problem.status, problem.code.as_str()) == (status, code), "{problem:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_change_over_http_reaches_the_live_room_and_is_durable_when_answered() -> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let api = Api::new(server.http(), token.clone());
    let prompt = api.create_prompt("before").await?;
    let mut ann = Member::join(&server.ws(), &prompt, &token).await?;
    api.patch(&format!("/prompts/{prompt}"), &json!({"title": "after 😀"})).await?;
    server.kill()?;
    let mut came = String::new();
    while let Ok(frame) = ann.client().next().await {
        if let ServerFrame::Sync(SyncStep::Update(update)) = frame.decode()? {
            ann.document().apply(update)?;
            came = ann.document().text("title");
        }
    }
    ensure!(came == "after 😀", "the live member saw {came:?}");
    server.start().await?;
    let api = Api::new(server.http(), token.clone());
    ensure!(api.get(&format!("/prompts/{prompt}")).await?["title"] == "after 😀");
    let reader = Member::join(&server.ws(), &prompt, &token).await?;
    ensure!(reader.document().text("title") == "after 😀");
    Ok(())
}

#[tokio::test]
async fn a_run_asked_for_twice_with_one_key_is_one_run() -> Result<()> {
    let server = ServerSettings::default().environment("PROMPTROOM_DEMO_PACE_MS", 0).start().await?;
    let api = server.api(Role::Editor)?;
    let prompt = api.create_prompt("once").await?;
    let ask = |body: Value| {
        let request = api.request(Method::POST, &format!("/prompts/{prompt}/runs"));
        request.header("idempotency-key", "the-same").json(&body).send()
    };
    let first = ask(json!({})).await?;
    ensure!(first.status() == 202, "{first:?}");
    let first: Value = first.json().await?;
    let second: Value = ask(json!({})).await?.json().await?;
    ensure!(first["id"] == second["id"] && first["id"].is_string());
    let other = problem(ask(json!({"overrides": {"model": "demo/slow"}})).await?).await?;
    ensure!(other.code == "request.idempotency_conflict", "{other:?}");
    let runs = api.get(&format!("/prompts/{prompt}/runs")).await?;
    ensure!(runs["runs"].as_array().is_some_and(|runs| runs.len() == 1), "{runs}");
    Ok(())
}

#[tokio::test]
async fn of_two_requests_that_come_at_once_with_one_key_only_one_is_taken() -> Result<()> {
    let server = ServerSettings::default().environment("PROMPTROOM_DEMO_PACE_MS", 0).start().await?;
    let api = server.api(Role::Editor)?;
    let prompts = [api.create_prompt("one").await?, api.create_prompt("two").await?];
    let ask = async |prompt: &str, model: &str, key: &str| {
        let request = api.request(Method::POST, &format!("/prompts/{prompt}/runs"));
        let body = json!({"overrides": {"model": model}});
        anyhow::Ok(request.header("idempotency-key", key).json(&body).send().await?.status().as_u16())
    };
    for round in 0..5 {
        let (key, other) = (format!("prompts {round}"), format!("models {round}"));
        let mut prompts_taken = futures_util::future::try_join_all([
            ask(&prompts[0], "demo/markdown", &key),
            ask(&prompts[1], "demo/markdown", &key),
        ])
        .await?;
        let mut models_taken = futures_util::future::try_join_all([
            ask(&prompts[0], "demo/markdown", &other),
            ask(&prompts[0], "demo/tools", &other),
        ])
        .await?;
        prompts_taken.sort_unstable();
        models_taken.sort_unstable();
        ensure!(
            prompts_taken == [202, 409] && models_taken == [202, 409],
            "{prompts_taken:?} {models_taken:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_finished_run_keeps_the_exact_request_and_what_it_took() -> Result<()> {
    let server = ServerSettings::default().environment("PROMPTROOM_DEMO_PACE_MS", 0).start().await?;
    let api = server.api(Role::Editor)?;
    let prompt = api.create_prompt("record").await?;
    let run: RunId = api.run(&prompt, "demo/markdown").await?.id;
    let summary = until("the end of the run", async || {
        let summary = api.summary(run).await?;
        Ok((summary.state == RunState::Completed).then_some(summary))
    })
    .await?;
    ensure!(summary.usage.is_some_and(|usage| usage.output_tokens > 0), "{:?}", summary.usage);
    ensure!(summary.cost.is_some() && summary.first_token_at_ms.is_some() && summary.ended_at_ms.is_some());
    let record = api.get(&format!("/runs/{run}")).await?;
    ensure!(record["request"].is_object() && record["source"].is_object(), "{record}");
    let bytes: usize = api.stored_blocks(run).await?.iter().map(|(_, _, text)| text.len()).sum();
    ensure!(bytes as u64 == summary.bytes.0);
    Ok(())
}

#[tokio::test]
async fn a_deleted_prompt_can_be_restored_with_all_it_held() -> Result<()> {
    let server = Server::fresh().await?;
    let api = server.api(Role::Editor)?;
    let prompt = api.create_prompt("kept").await?;
    ensure!(api.delete(&format!("/prompts/{prompt}")).await?.status() == 204);
    let gone = problem(api.request(Method::GET, &format!("/prompts/{prompt}")).send().await?).await?;
    ensure!(gone.code == "prompt.deleted" || gone.code == "prompt.not_found", "{gone:?}");
    api.post(&format!("/prompts/{prompt}/restore"), &json!({})).await?;
    ensure!(api.get(&format!("/prompts/{prompt}")).await?["title"] == "kept");
    Ok(())
}

#[tokio::test]
async fn a_private_prompt_is_not_there_for_others() -> Result<()> {
    let server = Server::fresh().await?;
    let (ann, bob) = (server.api(Role::Editor)?, server.api(Role::Editor)?);
    let prompt = ann.post("/prompts", &json!({"title": "mine"})).await?;
    let id = prompt["id"].as_str().context("an id")?;
    let refused = problem(bob.request(Method::GET, &format!("/prompts/{id}")).send().await?).await?;
    ensure!(refused.code == "prompt.not_found", "{refused:?}");
    let list = bob.get("/prompts").await?;
    ensure!(!list.to_string().contains(id), "{list}");
    Ok(())
}

#[tokio::test]
async fn the_models_the_description_and_the_operators_pages_are_there() -> Result<()> {
    let server = Server::fresh().await?;
    let api = server.api(Role::Viewer)?;
    let models = api.get("/models").await?;
    let ids: Vec<&str> =
        models["models"].as_array().into_iter().flatten().filter_map(|model| model["id"].as_str()).collect();
    for id in ["demo/markdown", "demo/slow", "demo/long", "demo/tools", "demo/failing", "demo/overloaded"] {
        ensure!(ids.contains(&id), "{id} is not among {ids:?}");
    }
    let description = api.get("/openapi.json").await?;
    ensure!(description["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    for path in
        ["/prompts", "/prompts/{id}", "/prompts/{id}/runs", "/runs/{id}", "/runs/{id}/events", "/models"]
    {
        let with_prefix = format!("/api/v1{path}");
        let paths = &description["paths"];
        ensure!(paths[path].is_object() || paths[with_prefix].is_object(), "{path} is not described");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = reqwest::get(format!("{}{path}", server.http())).await?;
        ensure!(answer.status() == 200, "{path}: {answer:?}");
    }
    Ok(())
}
