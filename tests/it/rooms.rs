//! Coming into a room, what one is told there, and when one has to leave.

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use promptroom_loadtest::{
    client::{Client, ConnectOptions},
    edits::{EMPTY_UPDATE, NOTHING, Writer},
};
use promptroom_protocol::{ClientFrame, Role, RunState, ServerFrame, SyncStep};
use promptroom_tests::{Member, Server, ServerSettings, close_code, http_client, until};
use std::time::{Duration, Instant};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, client::IntoClientRequest},
};

const PROMPT: &str = "room";

#[tokio::test]
async fn a_change_that_changes_nothing_is_answered_at_once() -> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let api = promptroom_tests::Api::new(server.http(), token.clone());
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let title = serde_json::json!({"title": "Same"});
    let patch = format!("/prompts/{PROMPT}");
    api.patch(&patch, &title).await?;
    // The newest thing in the room is no edit: who Ann's caret belongs to.
    ann.client().present(r#"{"user":{"name":"Ann"}}"#).await?;
    ann.client().wait_for("who it is", |frame| matches!(frame, ServerFrame::Person(_)).then_some(())).await?;
    let asked = Instant::now();
    api.patch(&patch, &title).await?;
    ensure!(asked.elapsed() < Duration::from_secs(5), "answered after {:?}", asked.elapsed());

    server.ask_to_stop()?;
    ensure!(server.ended().await?.success());
    ensure!(!server.log().contains("could not be written"), "{}", server.log());
    Ok(())
}

#[tokio::test]
async fn what_happens_between_hello_and_join_is_told_with_the_join_and_in_order() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let api = promptroom_tests::Api::new(server.http(), token.clone());
    let mut ann = Member::join_to_run(&server.ws(), PROMPT, &token).await?;
    ann.client().present(r#"{"user":{"name":"Ann"}}"#).await?;
    ann.client().wait_for("who it is", |frame| matches!(frame, ServerFrame::Person(_)).then_some(())).await?;

    let mut late = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
    let lineage = late
        .wait_for("hello", |frame| match frame {
            ServerFrame::Hello(hello) => Some(hello.lineage),
            _ => None,
        })
        .await?;
    let run = api.run(PROMPT, "demo/markdown").await?;
    until("the end of the run", async || {
        Ok((api.summary(run.id).await?.state == RunState::Completed).then_some(()))
    })
    .await?;
    late.send(&ClientFrame::Join { lineage, have: None, state_vector: NOTHING }).await?;
    let mut seen: Vec<&str> = Vec::new();
    let mut end_seen = false;
    loop {
        let frame = late.next().await?;
        match frame.decode()? {
            ServerFrame::Run(told) => end_seen |= told.id == run.id && told.state == RunState::Completed,
            ServerFrame::Sync(SyncStep::Step1(_)) => seen.push("question"),
            ServerFrame::Sync(_) => seen.push("document"),
            ServerFrame::Person(_) => seen.push("person"),
            ServerFrame::Awareness(_) => seen.push("awareness"),
            ServerFrame::Saved { .. } => break,
            _ => {}
        }
    }
    ensure!(end_seen, "the run's end was lost");
    ensure!(seen == ["document", "question", "person", "awareness"], "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn our_own_frames_begin_with_one_join() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let lineage = {
        let mut other = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
        other.join().await?.hello.context("our own frames begin with hello")?.lineage
    };
    ann.client().send(&ClientFrame::Join { lineage, have: None, state_vector: NOTHING }).await?;
    ensure!(close_code(ann.client()).await? == 4400, "a second join");
    for early in [SyncStep::Step1(NOTHING), SyncStep::Step2(EMPTY_UPDATE)] {
        let mut hasty = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
        hasty.send(&ClientFrame::Sync(early)).await?;
        ensure!(close_code(&mut hasty).await? == 4400, "{early:?} before the join");
    }
    Ok(())
}

#[tokio::test]
async fn one_who_comes_back_after_a_restart_gets_the_rows_it_lacks() -> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    ann.write_saved("before").await?;
    let mut bob = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
    let state_vector = bob.join().await?.state_vector;
    let have = bob.head();
    for marker in ["one", "two", "three"] {
        ann.write_saved(marker).await?;
    }
    server.kill()?;
    server.start().await?;
    let mut back = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
    let joined = back.rejoin(Some(have), &state_vector).await?;
    let text = joined.updates.concat();
    let holds = |marker: &str| text.windows(marker.len()).any(|window| window == marker.as_bytes());
    ensure!(joined.updates.len() == 3, "{} updates", joined.updates.len());
    ensure!(holds("<one>") && holds("<three>") && !holds("<before>"));
    // A row that is not the one that the client took to be it: by its state vector it has nothing of what is before.
    let mut back = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
    let joined = back.rejoin(Some(have), NOTHING).await?;
    ensure!(joined.updates.len() == 1, "{} updates", joined.updates.len());
    let text = &joined.updates[0];
    ensure!(
        ["<before>", "<one>", "<three>"]
            .iter()
            .all(|marker| { text.windows(marker.len()).any(|window| window == marker.as_bytes()) })
    );
    Ok(())
}

#[tokio::test]
async fn an_awareness_state_that_others_could_not_parse_costs_only_its_sender() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let mut mallory = Client::connect(&server.ws(), PROMPT, &ConnectOptions::stock(&token)).await?;
    mallory.present("{\"user\":").await?;
    ensure!(close_code(&mut mallory).await? == 4400);
    ann.write_saved("still here").await
}

#[tokio::test]
async fn a_stock_reader_who_edits_is_told_so_in_its_own_protocol() -> Result<()> {
    let server = Server::fresh().await?;
    let prompt = server.api(Role::Owner)?.create_prompt("Shared").await?;
    let viewer = server.token(Role::Viewer)?;
    let mut client = Client::connect(&server.ws(), &prompt, &ConnectOptions::stock(&viewer)).await?;
    client.join().await?;
    let edit = Writer::new(77, "load").append("no");
    client.send(&ClientFrame::Sync(SyncStep::Update(&edit))).await?;
    client.wait_for("denied", |frame| matches!(frame, ServerFrame::Denied(_)).then_some(())).await?;
    ensure!(close_code(&mut client).await? == 4403);
    Ok(())
}

#[tokio::test]
async fn a_removed_member_is_closed_for_good_and_a_changed_one_for_now() -> Result<()> {
    let server = Server::fresh().await?;
    let owner = server.api(Role::Owner)?;
    let prompt = owner.create_prompt("Shared").await?;
    let (editor, runner) = (server.token(Role::Editor)?, server.token(Role::Runner)?);
    let mut ann = Member::join(&server.ws(), &prompt, &editor).await?;
    let mut bob = Member::join(&server.ws(), &prompt, &runner).await?;
    let members = owner.get("/members").await?;
    let id_of = |name: &str| -> Result<String> {
        let members = members["members"].as_array().context("a list")?;
        let member = members.iter().find(|member| member["name"] == name).context("a member")?;
        Ok(member["id"].as_str().context("an id")?.to_owned())
    };
    owner
        .patch(&format!("/members/{}", id_of("test runner")?), &serde_json::json!({"role": "viewer"}))
        .await?;
    ensure!(close_code(bob.client()).await? == 4500);
    ann.write_saved("kept").await?;
    owner.delete(&format!("/members/{}", id_of("test editor")?)).await?;
    ensure!(close_code(ann.client()).await? == 4401);
    let bob = Member::join(&server.ws(), &prompt, &runner).await?;
    ensure!(bob.document().text("load").contains("<kept>"));
    Ok(())
}

#[tokio::test]
async fn a_foreign_page_may_bring_a_token_but_not_a_cookie() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    Member::join(&server.ws(), PROMPT, &token).await?;
    let cookie = server.sign_in().await?;
    let asked = async |name: &str, value: &str, origin: &str| {
        let request = http_client().get(format!("{}/ws/{PROMPT}", server.http()));
        let request = request.header("connection", "upgrade").header("upgrade", "websocket");
        let request = request.header("sec-websocket-version", "13");
        let request = request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        anyhow::Ok(request.header(name, value).header("origin", origin).send().await?.status().as_u16())
    };
    let bearer = format!("Bearer {token}");
    ensure!(asked("authorization", &bearer, "https://elsewhere.example").await? == 101);
    ensure!(asked("cookie", &cookie, "https://elsewhere.example").await? == 403);
    ensure!(asked("cookie", &cookie, &server.http()).await? == 101);
    Ok(())
}

#[tokio::test]
async fn signing_out_closes_what_the_session_has_opened() -> Result<()> {
    let server = Server::fresh().await?;
    let prompt = server.api(Role::Owner)?.create_prompt("Shared").await?;
    let cookie = server.sign_in().await?;
    let mut request = format!("{}/ws/{prompt}", server.ws()).into_client_request()?;
    request.headers_mut().insert("cookie", cookie.parse()?);
    request.headers_mut().insert("origin", server.http().parse()?);
    let (mut socket, _answer) = connect_async(request).await?;
    let first = socket.next().await.context("the server asks first")??;
    ensure!(first.is_binary(), "{first:?}");

    let request = http_client().delete(format!("{}/api/v1/session", server.http()));
    let answer = request.header("cookie", &cookie).header("origin", server.http()).send().await?;
    ensure!(answer.status() == 204, "{answer:?}");
    while let Some(message) = socket.next().await {
        if let Message::Close(Some(frame)) = message? {
            ensure!(u16::from(frame.code) == 4401, "{frame:?}");
            return Ok(());
        }
    }
    bail!("the socket ended without a word")
}

#[tokio::test]
async fn a_database_is_served_by_one_server_wherever_its_data_directory_is() -> Result<()> {
    let server = Server::fresh().await?;
    let url = format!("sqlite://{}", server.database()?.display());
    let second = ServerSettings::default().environment("PROMPTROOM_DATABASE_URL", url).start().await;
    let Err(refused) = second else { bail!("a second server serves the same database") };
    ensure!(format!("{refused:#}").contains("another promptroom"), "{refused:#}");
    Ok(())
}
