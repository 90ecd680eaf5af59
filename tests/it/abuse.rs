//! Ways to hurt it, as far as they concern one server and SQLite.

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use promptroom_loadtest::{
    client::{Client, ClientError, ConnectOptions},
    edits::Writer,
    socket::source,
    tasks::Tasks,
};
use promptroom_protocol::{ClientFrame, LineageId, Role, ServerFrame, SyncStep, put_varint};
use promptroom_tests::{
    Member, PATIENCE, Server, ServerSettings, close_code, http_client, markers_in, until, yjs_text,
};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use uuid::Uuid;

const PROMPT: &str = "abuse";

/// 21
#[tokio::test]
async fn an_old_copy_of_another_history_is_turned_away_before_it_can_merge() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut client = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
    let lineage = LineageId(Uuid::from_u128(1));
    client.send(&ClientFrame::Join { lineage, have: None, state_vector: &[0] }).await?;
    ensure!(close_code(&mut client).await? == 4409);
    Ok(())
}

/// 22
#[tokio::test]
async fn two_clients_with_one_id_do_not_spoil_the_room() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut witness = Member::join(&server.ws(), PROMPT, &token).await?;
    for text in ["<from one>", "<from another, at the same clock>"] {
        let mut client = Client::connect(&server.ws(), PROMPT, &ConnectOptions::stock(&token)).await?;
        client.join().await?;
        let edit = Writer::new(1_000_001, "load").append(text);
        client.send(&ClientFrame::Sync(SyncStep::Update(&edit))).await?;
    }
    witness.write_saved("after").await?;
    loads_everywhere(&server, &token, "after").await
}

/// 23
#[tokio::test]
async fn of_two_contents_under_one_id_and_clock_the_first_stands_and_all_others_agree() -> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let mut bob = Member::join(&server.ws(), PROMPT, &token).await?;
    for text in ["<first>", "<other>"] {
        let edit = Writer::new(1_000_001, "load").append(text);
        ann.client().send(&ClientFrame::Sync(SyncStep::Update(&edit))).await?;
    }
    ann.write_saved("after").await?;
    // He was there all the time and applies what he is sent.
    while !bob.document().text("load").contains("<after>") {
        let frame = bob.client().next().await?;
        if let ServerFrame::Sync(SyncStep::Update(update) | SyncStep::Step2(update)) = frame.decode()? {
            bob.document().apply(update)?;
        }
    }
    let seen = bob.document().text("load");
    ensure!(seen.contains("<first>") && !seen.contains("other"), "{seen}");
    for _ in 0..2 {
        let reader = Member::join(&server.ws(), PROMPT, &token).await?;
        let text = reader.document().text("load");
        ensure!(text == seen, "a newcomer has {text}, who was there has {seen}");
        ensure!(reader.document().clocks() == bob.document().clocks());
        ensure!(yjs_text(&reader.document().encoded(), "load")? == text, "Yjs reads something else");
        server.kill()?;
        server.start().await?;
    }
    Ok(())
}

/// 27
#[tokio::test]
async fn hostile_updates_close_their_socket_and_the_room_stays_loadable() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut witness = Member::join(&server.ws(), PROMPT, &token).await?;
    let before = server.memory_bytes()?;
    for (name, update) in hostile_updates()? {
        let mut client = Client::connect(&server.ws(), PROMPT, &ConnectOptions::stock(&token)).await?;
        client.join().await?;
        client.send(&ClientFrame::Sync(SyncStep::Update(&update))).await?;
        client.send(&ClientFrame::Sync(SyncStep::Update(&update))).await.ok();
        let code = close_code(&mut client).await.with_context(|| name)?;
        ensure!((4400..4600).contains(&code), "{name}: closed with {code}");
        witness.write_saved(name).await.with_context(|| name)?;
    }
    let grown = server.memory_bytes()?.saturating_sub(before);
    ensure!(grown < 64 << 20, "memory grew by {grown} bytes");
    loads_everywhere(&server, &token, "claims of 2^28 entries").await
}

fn hostile_updates() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let deep = format!("010101002803646f63017801{}7e00", "7501".repeat(7_000));
    Ok(vec![
        ("past a clock gap", unhex("01010102280103646f63017a017d0300")?),
        ("nested 7000 deep", unhex(&deep)?),
        ("for ever pending", unhex("01016007524407000768c3a96c6c6f2000")?),
        ("an unknown type", unhex("010101000701057469746c650900")?),
        ("its own parent", unhex("01020200270103646f6301610104000201015800")?),
        ("claims of 2^28 entries", unhex("8080808001")?),
        ("not an update", b"hello".to_vec()),
    ])
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?));
    pairs.collect()
}

/// 27
#[tokio::test]
async fn a_frame_of_very_many_clients_does_not_end_the_server() -> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut witness = Member::join(&server.ws(), PROMPT, &token).await?;
    let mut client = Client::connect(&server.ws(), PROMPT, &ConnectOptions::stock(&token)).await?;
    client.join().await?;
    let frame = one_after_each_of(30_000);
    ensure!(frame.len() < 1 << 20, "{} bytes", frame.len());
    client.send(&ClientFrame::Sync(SyncStep::Update(&frame))).await?;
    // Taken or refused, but over by the time this is answered or the socket closed.
    client.send(&ClientFrame::Sync(SyncStep::Step1(&[0]))).await.ok();
    let answer =
        |frame: &ServerFrame<'_>| matches!(frame, ServerFrame::Sync(SyncStep::Step2(_))).then_some(());
    client.wait_for("answer", answer).await.ok();
    witness.write_saved("after").await?;
    server.kill()?;
    server.start().await?;
    // Without an engine on this side, which might not survive what was taken.
    Client::connect(&server.ws(), PROMPT, &ConnectOptions::stock(&token)).await?.join().await?;
    Ok(())
}

/// Many clients of one character each, each in a root of its own, and one client with a character after each of them.
fn one_after_each_of(clients: u64) -> Vec<u8> {
    const LAST: u64 = 3_000_000;
    let mut update = BytesMut::new();
    put_varint(&mut update, clients + 1);
    put_varint(&mut update, clients);
    put_varint(&mut update, LAST);
    put_varint(&mut update, 0);
    for client in 1..=clients {
        // A string after another item.
        update.extend_from_slice(&[0x84]);
        put_varint(&mut update, client);
        update.extend_from_slice(b"\0\x01y");
    }
    for client in 1..=clients {
        let root = format!("{client:x}");
        let typed = Writer::new(client, &root).append("x");
        update.extend_from_slice(&typed[1..typed.len() - 1]);
    }
    put_varint(&mut update, 0);
    update.to_vec()
}

/// 35
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_that_never_read_cost_a_bounded_amount_and_hold_nobody_up() -> Result<()> {
    const DEAF: usize = 600;
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut writer = Member::join(&server.ws(), PROMPT, &token).await?;
    let mut deaf = Vec::with_capacity(DEAF);
    for number in 0..DEAF {
        let options = ConnectOptions { receive_buffer_bytes: Some(4_096), ..ConnectOptions::page(&token) };
        let mut client = Client::connect(&server.ws(), PROMPT, &options.from(source(number))).await?;
        client.join().await?;
        deaf.push(client);
    }
    let before = server.memory_bytes()?;
    let filler = "x".repeat(2_000);
    for number in 0..300 {
        writer.write_saved(&format!("{number} {filler}")).await?;
    }
    let grown = server.memory_bytes()?.saturating_sub(before);
    ensure!(grown < 200 << 20, "600 KB of edits to {DEAF} deaf clients cost {grown} bytes");
    loads_everywhere(&server, &token, &format!("299 {filler}")).await
}

/// 36
#[tokio::test]
async fn slow_handshakes_end_by_themselves_and_hold_nobody_up() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.address()).await?;
        stream.write_all(b"GET /ws/x HTTP/1.1\r\nHost: x\r\nX-Slow: ").await?;
        slow.push(stream);
    }
    Member::join(&server.ws(), PROMPT, &token).await?.write_saved("in time").await?;
    for mut stream in slow {
        let mut rest = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        ensure!(read.is_ok(), "a half-sent request is still open after {PATIENCE:?}");
    }
    Ok(())
}

/// 37
#[tokio::test]
async fn a_foreign_page_cannot_use_somebodys_cookie() -> Result<()> {
    let server = Server::fresh().await?;
    let cookie = server.sign_in().await?;
    for (origin, expected) in [("https://evil.example", 403), (&*server.http(), 101)] {
        let status = handshake(&server, origin, &cookie).await?;
        ensure!(status == expected, "{origin}: {status}");
    }
    Ok(())
}

/// The status with which a WebSocket upgrade with a cookie is answered.
async fn handshake(server: &Server, origin: &str, cookie: &str) -> Result<u16> {
    let mut stream = TcpStream::connect(server.address()).await?;
    let request = format!(
        "GET /ws/{PROMPT}?create=1 HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Origin: {origin}\r\nCookie: {cookie}\r\n\r\n",
        server.address()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut line)).await??;
    Ok(std::str::from_utf8(&line[9..])?.parse()?)
}

#[tokio::test]
async fn whoever_guesses_links_behind_a_trusted_balancer_locks_nobody_else_out() -> Result<()> {
    const GUESSES: usize = 12;
    for (trusted, others_may) in [("127.0.0.0/8, fd00::7", true), ("", false)] {
        let settings = ServerSettings::default().environment("PROMPTROOM_TRUSTED_PROXIES", trusted);
        let server = settings.start().await?;
        let mut last = 0;
        for _ in 0..GUESSES {
            last = guess(&server, "198.51.100.1").await?;
        }
        ensure!(last == 429, "trusted {trusted:?}: {last} after {GUESSES} guesses");
        let other = guess(&server, "198.51.100.2").await?;
        ensure!((other != 429) == others_may, "trusted {trusted:?}: somebody else got {other}");
    }
    Ok(())
}

/// The status of a sign-in with a link that nobody has, from whom the balancer says.
async fn guess(server: &Server, address: &str) -> Result<u16> {
    let request = http_client().post(format!("{}/api/v1/session", server.http()));
    let request = request.header("origin", server.http()).header("x-forwarded-for", address);
    let answer = request.json(&json!({ "link": "no-such-link" })).timeout(PATIENCE).send().await?;
    Ok(answer.status().as_u16())
}

/// 38
#[tokio::test]
async fn a_lowered_role_reaches_the_live_socket_within_a_second() -> Result<()> {
    let server = Server::fresh().await?;
    let owner = server.api(Role::Owner)?;
    let prompt = owner.create_prompt("rights").await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), &prompt, &token).await?;
    ann.write_saved("allowed").await?;
    let members = owner.get("/members").await?;
    let name = format!("test {}", Role::Editor.name());
    let member = members["members"].as_array().into_iter().flatten().find(|member| member["name"] == *name);
    let id = member.and_then(|member| member["id"].as_str()).context("the editor is listed")?.to_owned();

    let lowered_at = Instant::now();
    owner.patch(&format!("/members/{id}"), &json!({"role": "viewer"})).await?;
    let refused = timeout(Duration::from_secs(1), async {
        loop {
            let written = ann.write_saved("forbidden").await;
            if written.is_err() {
                return;
            }
        }
    });
    ensure!(refused.await.is_ok(), "still writing {:?} after the change", lowered_at.elapsed());
    let reader = Member::join(&server.ws(), &prompt, owner.token()).await?;
    ensure!(reader.document().text("load").contains("<allowed>"));

    let mut again = Member::join(&server.ws(), &prompt, &token).await?;
    ensure!(again.write_saved("forbidden again").await.is_err());
    Ok(())
}

/// 46
#[tokio::test]
async fn after_a_refused_edit_a_new_client_goes_on() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut client = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
    client.join().await?;
    let too_large = vec![0; 2 << 20];
    client.send_bytes(Bytes::from(too_large)).await.ok();
    let code = close_code(&mut client).await?;
    ensure!(code == 4413 || code == 1009, "closed with {code}");
    Member::join(&server.ws(), PROMPT, &token).await?.write_saved("after the refusal").await?;
    loads_everywhere(&server, &token, "after the refusal").await
}

/// 28
#[tokio::test]
async fn a_document_grows_to_its_limit_and_no_further() -> Result<()> {
    let server = ServerSettings::default().environment("PROMPTROOM_DOCUMENT_BYTES", 1 << 20).start().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let piece = "y".repeat(100_000);
    let mut saved = 0;
    let code = loop {
        ensure!(saved < 12, "more than 1 MiB was taken");
        match ann.write_saved(&format!("{saved}{piece}")).await {
            Ok(()) => saved += 1,
            Err(error) => match error.downcast_ref() {
                Some(ClientError::Closed { code, .. }) => break *code,
                _ => bail!(error),
            },
        }
    };
    ensure!(code == 4413 && saved >= 8, "closed with {code} after {saved} pieces");
    let reader = Member::join(&server.ws(), PROMPT, &token).await?;
    ensure!(reader.document().text("load").len() >= saved * piece.len());
    Ok(())
}

/// 10
#[tokio::test]
async fn a_room_that_is_left_and_entered_again_and_again_keeps_all_that_was_typed() -> Result<()> {
    let server = ServerSettings::default().environment("PROMPTROOM_ROOM_IDLE_MS", 1).start().await?;
    let token = server.token(Role::Editor)?;
    for round in 0..100 {
        let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
        let text = ann.document().text("load");
        ensure!(markers_in(&text).len() == round, "round {round}: {} markers", markers_in(&text).len());
        ann.write_saved(&round.to_string()).await?;
        ann.close().await?;
    }
    Ok(())
}

/// 9
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_open_a_cold_room_at_once_are_in_one_history() -> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    Member::join(&server.ws(), PROMPT, &token).await?.write_saved("first").await?;
    server.kill()?;
    server.start().await?;
    let mut visitors = Tasks::default();
    for number in 0..50 {
        let (base, token) = (server.ws(), token.clone());
        visitors.start(async move {
            let mut member = Member::join(&base, PROMPT, &token).await?;
            ensure!(member.document().text("load").contains("<first>"), "an empty room was served");
            member.write_saved(&format!("visitor {number}")).await
        });
    }
    visitors.all().await?;
    let reader = Member::join(&server.ws(), PROMPT, &token).await?;
    let text = reader.document().text("load");
    let found = markers_in(&text);
    ensure!(found.len() == 51 && found.values().all(|count| *count == 1), "{} markers", found.len());
    Ok(())
}

#[tokio::test]
async fn a_full_room_turns_away_as_transient() -> Result<()> {
    let server = ServerSettings::default().environment("PROMPTROOM_ROOM_MEMBERS", 2).start().await?;
    let token = server.token(Role::Editor)?;
    let _ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let _bob = Member::join(&server.ws(), PROMPT, &token).await?;
    let mut carol = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
    ensure!(close_code(&mut carol).await? == 4502);
    Ok(())
}

/// A fresh member, and a fresh Yjs, load the room and find `marker`.
async fn loads_everywhere(server: &Server, token: &str, marker: &str) -> Result<()> {
    let wanted = format!("<{marker}>");
    until("the marker", async || {
        let reader = Member::join(&server.ws(), PROMPT, token).await?;
        let text = reader.document().text("load");
        ensure!(yjs_text(&reader.document().encoded(), "load")? == text, "Yjs reads something else");
        Ok(text.contains(&wanted).then_some(()))
    })
    .await
}
