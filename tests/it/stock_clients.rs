//! What a plain y-websocket client may rely on, item by item; the real ones are in `peers/ywebsocket`.

use anyhow::{Result, ensure};
use bytes::Bytes;
use promptroom_loadtest::{
    client::{Client, ConnectOptions, Create},
    edits::{EMPTY_UPDATE, Writer, awareness},
    socket::Credential,
};
use promptroom_protocol::{ClientFrame, Role, ServerFrame, SyncStep};
use promptroom_tests::{Document, Member, Server, close_code, until};

const PROMPT: &str = "stock";

/// A server and an editor's token.
async fn room() -> Result<(Server, String)> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    // The room exists before anybody joins it without `create`.
    Member::join(&server.ws(), PROMPT, &token).await?;
    Ok((server, token))
}

async fn stock(server: &Server, token: &str) -> Result<Client> {
    Ok(Client::connect(&server.ws(), PROMPT, &ConnectOptions::stock(token)).await?)
}

async fn close_code_at_the_door(server: &Server, prompt: &str, options: &ConnectOptions) -> Result<u16> {
    close_code(&mut Client::connect(&server.ws(), prompt, options).await?).await
}

#[tokio::test]
async fn the_server_asks_first_and_sends_a_stock_client_only_plain_frames() -> Result<()> {
    let (server, token) = room().await?;
    let mut client = stock(&server, &token).await?;
    let first = client.next().await?;
    ensure!(matches!(first.decode()?, ServerFrame::Sync(SyncStep::Step1(_))), "{first:?}");

    client.join().await.ok();
    let mut page = Member::join(&server.ws(), PROMPT, &token).await?;
    page.write_saved("seen").await?;
    let mut frames = 0;
    loop {
        let frame = client.next().await?;
        ensure!(frame.0[0] < 16, "type {} for a stock client", frame.0[0]);
        frames += 1;
        if let ServerFrame::Sync(SyncStep::Update(update)) = frame.decode()?
            && update.windows(6).any(|window| window == b"<seen>")
        {
            break;
        }
        ensure!(frames < 100, "the edit never came");
    }
    Ok(())
}

#[tokio::test]
async fn a_client_hears_its_own_awareness_and_others_do_too() -> Result<()> {
    let (server, token) = room().await?;
    let mut ann = stock(&server, &token).await?;
    let mut bob = stock(&server, &token).await?;
    ann.present(r#"{"user":{"name":"Ann 😀"}}"#).await?;
    for client in [&mut ann, &mut bob] {
        client.wait_for("Ann's awareness", |frame| presence(frame, "Ann 😀")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn nobody_can_speak_for_anothers_awareness() -> Result<()> {
    let (server, token) = room().await?;
    let mut ann = stock(&server, &token).await?;
    let mut mallory = stock(&server, &token).await?;
    ann.present(r#"{"user":{"name":"Ann"}}"#).await?;
    mallory.present(r#"{"user":{"name":"Mallory"}}"#).await?;
    mallory.wait_for("Ann's awareness", |frame| presence(frame, "Ann")).await?;

    // Clearing Ann's entry is dropped without a word, and the forger goes on.
    let forged = awareness(ann.client_id(), 99, "null");
    mallory.send(&ClientFrame::Awareness(&forged)).await?;
    mallory.present(r#"{"user":{"name":"Mallory again"}}"#).await?;
    mallory.wait_for("own echo", |frame| presence(frame, "Mallory again")).await?;

    let mut carol = stock(&server, &token).await?;
    carol.send(&ClientFrame::QueryAwareness).await?;
    carol.wait_for("Ann, still present", |frame| presence(frame, "Ann")).await?;
    Ok(())
}

#[tokio::test]
async fn an_edit_sent_too_early_is_dropped_and_comes_with_the_answer() -> Result<()> {
    let (server, token) = room().await?;
    let mut writer = Writer::new(4_242, "load");
    let (first, second) = (writer.append("<one>"), writer.append("<two>"));
    let mut client = stock(&server, &token).await?;
    client.send(&ClientFrame::Sync(SyncStep::Update(&second))).await?;
    let document = Document::of([first.as_ref(), second.as_ref()])?;
    client.send(&ClientFrame::Sync(SyncStep::Step2(&document.encoded()))).await?;
    until("both edits", async || {
        let reader = Member::join(&server.ws(), PROMPT, &token).await?;
        Ok(reader.document().text("load").contains("<one><two>").then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_edit_with_a_gap_is_asked_for_once_and_then_closed_as_transient() -> Result<()> {
    let (server, token) = room().await?;
    let mut writer = Writer::new(4_243, "load");
    let (_, second, third) = (writer.append("<one>"), writer.append("<two>"), writer.append("<three>"));
    let mut client = stock(&server, &token).await?;
    client.join().await?;
    client.send(&ClientFrame::Sync(SyncStep::Update(&second))).await?;
    client
        .wait_for("a question", |frame| matches!(frame, ServerFrame::Sync(SyncStep::Step1(_))).then_some(()))
        .await?;
    client.send(&ClientFrame::Sync(SyncStep::Step2(EMPTY_UPDATE))).await?;
    client.send(&ClientFrame::Sync(SyncStep::Update(&third))).await?;
    ensure!(close_code(&mut client).await? == 4505);
    Ok(())
}

#[tokio::test]
async fn a_reader_may_answer_but_not_edit() -> Result<()> {
    let (server, editor) = room().await?;
    server.api(Role::Owner)?.patch(&format!("/prompts/{PROMPT}"), &visible()).await?;
    let viewer = server.token(Role::Viewer)?;
    let mut client = stock(&server, &viewer).await?;
    client.join().await?;
    let edit = Writer::new(77, "load").append("<forbidden>");
    client.send(&ClientFrame::Sync(SyncStep::Step2(&edit))).await?;
    client.present(r#"{"user":{"name":"Viewer"}}"#).await?;
    client.wait_for("own echo, so still open", |frame| presence(frame, "Viewer")).await?;
    client.send(&ClientFrame::Sync(SyncStep::Update(&edit))).await?;
    ensure!(close_code(&mut client).await? == 4403);
    let reader = Member::join(&server.ws(), PROMPT, &editor).await?;
    ensure!(!reader.document().text("load").contains("forbidden"));
    Ok(())
}

#[tokio::test]
async fn what_is_for_good_is_closed_with_44xx_at_the_door() -> Result<()> {
    let (server, token) = room().await?;
    let create = ConnectOptions::stock(&token);
    let plain = ConnectOptions { create: Create::Never, ..create.clone() };
    let nobody = ConnectOptions { credential: Credential::None, ..plain.clone() };
    let wrong = ConnectOptions { credential: Credential::Header("wrong".into()), ..plain.clone() };
    let future = ConnectOptions { version: Some(99), ..plain.clone() };
    ensure!(close_code_at_the_door(&server, PROMPT, &nobody).await? == 4401);
    ensure!(close_code_at_the_door(&server, PROMPT, &wrong).await? == 4401);
    ensure!(close_code_at_the_door(&server, "nowhere", &plain).await? == 4404);
    ensure!(close_code_at_the_door(&server, PROMPT, &future).await? == 4426);
    Ok(())
}

#[tokio::test]
async fn the_slug_of_a_deleted_prompt_is_never_given_to_a_second_history() -> Result<()> {
    let (server, token) = room().await?;
    let mut client = stock(&server, &token).await?;
    client.join().await?;
    let answer = server.api(Role::Owner)?.delete(&format!("/prompts/{PROMPT}")).await?;
    ensure!(answer.status() == 204, "{answer:?}");
    ensure!(close_code(&mut client).await? == 4410, "who was in it is told");
    ensure!(close_code_at_the_door(&server, PROMPT, &ConnectOptions::stock(&token)).await? == 4410);
    Ok(())
}

#[tokio::test]
async fn the_token_may_come_as_a_subprotocol() -> Result<()> {
    let (server, token) = room().await?;
    let options =
        ConnectOptions { credential: Credential::Subprotocol(token.clone()), ..ConnectOptions::stock("") };
    let mut client = Client::connect(&server.ws(), PROMPT, &options).await?;
    client.join().await?;
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_no_frame_close_one_socket_and_not_the_room() -> Result<()> {
    let (server, token) = room().await?;
    let mut witness = Member::join(&server.ws(), PROMPT, &token).await?;
    let cases: [(&[u8], u16); 4] = [
        (&[99], 4400),
        (&[0, 2, 200], 4400),
        (&[32; 40], 4400),
        // An array in the map "m": well-formed, but no part of a prompt.
        (&[0, 2, 12, 1, 1, 5, 0, 0x27, 1, 1, b'm', 1, b'k', 0, 0], 4415),
    ];
    for (bytes, expected) in cases {
        let mut client = stock(&server, &token).await?;
        client.join().await?;
        client.send_bytes(Bytes::from_static(bytes)).await?;
        let code = close_code(&mut client).await?;
        ensure!(code == expected, "{bytes:?} was closed with {code}, not {expected}");
    }
    witness.write_saved("still here").await?;
    Ok(())
}

fn visible() -> serde_json::Value {
    serde_json::json!({"visibility": "workspace"})
}

fn presence(frame: &ServerFrame<'_>, name: &str) -> Option<()> {
    let text = format!("\"{name}\"");
    match frame {
        ServerFrame::Awareness(update) => {
            update.windows(text.len()).any(|window| window == text.as_bytes()).then_some(())
        }
        _ => None,
    }
}
