//! A "no" also reaches what is not a socket: requests under way, and streams of events.

use anyhow::{Context, Result, ensure};
use promptroom_protocol::Role;
use promptroom_tests::{Api, Server, http_client};
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

/// The second in which a "no" holds, and what a busy machine takes.
const NO_WITHIN: Duration = Duration::from_millis(1_500);

async fn member_named(owner: &Api, name: &str) -> Result<String> {
    let members = owner.get("/members").await?;
    let members = members["members"].as_array().context("a list")?;
    let member = members.iter().find(|member| member["name"] == name).context("a member")?;
    Ok(member["id"].as_str().context("an id")?.to_owned())
}

#[tokio::test]
async fn a_lowered_role_holds_for_a_request_whose_body_comes_after_it() -> Result<()> {
    let server = Server::fresh().await?;
    let owner = server.api(Role::Owner)?;
    let prompt = owner.create_prompt("mine").await?;
    let editor = server.token(Role::Editor)?;
    let body = json!({"title": "theirs"}).to_string();
    let head = format!(
        "PATCH /api/v1/prompts/{prompt} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {editor}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\nexpect: 100-continue\r\n\r\n",
        server.address(),
        body.len()
    );
    let mut stream = TcpStream::connect(server.address()).await?;
    stream.write_all(head.as_bytes()).await?;
    // The body is asked for only after the server has looked who asks.
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    ensure!(answer == *b"HTTP/1.1 100", "{}", String::from_utf8_lossy(&answer));

    let id = member_named(&owner, "test editor").await?;
    owner.patch(&format!("/members/{id}"), &json!({"role": "viewer"})).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.contains("HTTP/1.1 403"), "{answer}");
    let title = owner.get(&format!("/prompts/{prompt}")).await?["title"].clone();
    ensure!(title == "mine", "{title}");
    Ok(())
}

#[tokio::test]
async fn a_stream_of_events_ends_with_the_session_and_with_the_right_to_see_it() -> Result<()> {
    let server = Server::fresh().await?;
    let owner = server.api(Role::Owner)?;
    let prompt = owner.create_prompt("watched").await?;
    let run = owner.run(&prompt, "demo/slow").await?.id;
    let path = format!("{}/api/v1/runs/{run}/events", server.http());

    let cookie = server.sign_in().await?;
    let by_session = http_client().get(&path).header("cookie", &cookie).send().await?;
    let request = http_client().delete(format!("{}/api/v1/session", server.http()));
    let answer = request.header("cookie", &cookie).header("origin", server.http()).send().await?;
    ensure!(answer.status() == 204, "{answer:?}");
    ends_in_time(by_session).await.context("after the sign-out")?;

    let viewer = server.token(Role::Viewer)?;
    let by_token = http_client().get(&path).bearer_auth(&viewer).send().await?;
    owner.delete(&format!("/members/{}", member_named(&owner, "test viewer").await?)).await?;
    ends_in_time(by_token).await.context("after the removal")
}

async fn ends_in_time(mut events: reqwest::Response) -> Result<()> {
    ensure!(events.status() == 200, "{events:?}");
    let began = Instant::now();
    let mut text = Vec::new();
    timeout(NO_WITHIN, async {
        while let Some(piece) = events.chunk().await? {
            text.extend_from_slice(&piece);
        }
        anyhow::Ok(())
    })
    .await
    .with_context(|| format!("still told after {:?}", began.elapsed()))??;
    let text = String::from_utf8_lossy(&text);
    ensure!(!text.contains("event: end"), "the run ended by itself: {text}");
    Ok(())
}
