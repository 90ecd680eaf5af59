//! Saved means saved: whatever kills the server, and whatever holds its database.

use anyhow::{Context, Result, bail, ensure};
use promptroom_loadtest::{client::ClientError, tasks::Tasks};
use promptroom_protocol::{Role, ServerFrame, SyncStep};
use promptroom_tests::{Member, Server, WriteLock, markers_in, rounds, seeded, until, yjs_text};
use rand::{RngExt, rngs::StdRng};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

const WRITERS: usize = 3;
const PROMPT: &str = "durable";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_stands_exactly_once_after_every_kill() -> Result<()> {
    let mut random = seeded();
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut acknowledged = Vec::new();
    for round in 0..rounds(30) {
        acknowledged.extend(write_until_killed(&mut server, &token, round, &mut random).await?);
        server.start().await?;
        let reader = Member::join(&server.ws(), PROMPT, &token).await?;
        let text = reader.document().text("load");
        let found = markers_in(&text);
        for marker in &acknowledged {
            ensure!(
                found.get(marker.as_str()) == Some(&1),
                "round {round}: {marker} was acknowledged and is lost"
            );
        }
        let doubled = found.iter().find(|(_, count)| **count > 1);
        ensure!(doubled.is_none(), "round {round}: {doubled:?} stands twice");
    }
    ensure!(acknowledged.len() >= WRITERS * 30, "only {} edits were acknowledged", acknowledged.len());
    let reader = Member::join(&server.ws(), PROMPT, &token).await?;
    let replay = yjs_text(&reader.document().encoded(), "load")?;
    ensure!(replay == reader.document().text("load"), "a replay in Yjs differs");
    Ok(())
}

/// One round: several writers at once, a kill after a random number of acknowledged edits.
async fn write_until_killed(
    server: &mut Server,
    token: &str,
    round: u64,
    random: &mut StdRng,
) -> Result<Vec<String>> {
    let progress = Arc::new(AtomicUsize::new(0));
    let mut writers = Tasks::default();
    for writer in 0..WRITERS {
        let member = Member::join(&server.ws(), PROMPT, token).await?;
        let burst = random.random_range(1..12);
        writers.start(write_until_cut(member, format!("{round}.{writer}"), burst, Arc::clone(&progress)));
    }
    let enough = random.random_range(3..120);
    until("acknowledged edits", async || Ok((progress.load(Ordering::Relaxed) >= enough).then_some(())))
        .await?;
    // Not waiting for anything: the kill should find the commit at a different point each time.
    tokio::time::sleep(Duration::from_micros(random.random_range(0..8_000))).await;
    server.kill()?;
    Ok(writers.all().await?.into_iter().flatten().collect())
}

/// Types bursts of markers and waits for their saved mark, until the server is gone.
async fn write_until_cut(
    mut member: Member,
    name: String,
    burst: usize,
    progress: Arc<AtomicUsize>,
) -> Result<Vec<String>> {
    loop {
        let result = write_burst(&mut member, &name, burst).await;
        match result {
            Ok(()) => {}
            Err(error) if is_cut(&error) => return Ok(member.acknowledged()),
            Err(error) => return Err(error.context(format!("writer {name}"))),
        }
        progress.fetch_add(burst, Ordering::Relaxed);
    }
}

async fn write_burst(member: &mut Member, name: &str, burst: usize) -> Result<()> {
    let mut last = 0;
    for _ in 0..burst {
        let number = member.written();
        last = member.write(&format!("{name}.{number} 😀")).await?;
    }
    Ok(member.client().wait_saved(last).await?)
}

fn is_cut(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Closed { .. } | ClientError::Connection(_)))
}

#[tokio::test]
async fn while_the_write_lock_is_held_outside_nothing_is_called_saved_and_all_arrives_afterwards()
-> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let mut bob = Member::join(&server.ws(), PROMPT, &token).await?;
    ann.write_saved("before").await?;

    let lock = WriteLock::hold(&server.database()?)?;
    let saved_before = ann.client().saved();
    let mut last = 0;
    for number in 0..20 {
        last = ann.write(&format!("locked.{number}")).await?;
    }
    see(&mut bob, "<locked.19>").await.context("others on the same server go on seeing edits")?;
    let silence = timeout(Duration::from_secs(3), ann.client().wait_saved(saved_before + 1)).await;
    ensure!(silence.is_err(), "a saved mark arrived although nothing could be written: {silence:?}");

    lock.release();
    ann.client().wait_saved(last).await?;
    server.kill()?;
    server.start().await?;
    let reader = Member::join(&server.ws(), PROMPT, &token).await?;
    let text = reader.document().text("load");
    let found = markers_in(&text);
    for number in 0..20 {
        let marker = format!("locked.{number}");
        ensure!(found.get(marker.as_str()) == Some(&1), "{marker}: {:?}", found.get(marker.as_str()));
    }
    Ok(())
}

#[tokio::test]
async fn a_stopping_server_writes_what_was_not_yet_written() -> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let mut bob = Member::join(&server.ws(), PROMPT, &token).await?;
    for number in 0..50 {
        ann.write(&format!("last.{number}")).await?;
    }
    see(&mut bob, "<last.49>").await?;
    server.ask_to_stop()?;
    let status = server.ended().await?;
    ensure!(status.success(), "the server ended with {status}");

    server.start().await?;
    let reader = Member::join(&server.ws(), PROMPT, &token).await?;
    let text = reader.document().text("load");
    let expected: BTreeMap<String, usize> = (0..50).map(|number| (format!("last.{number}"), 1)).collect();
    let found: BTreeMap<String, usize> =
        markers_in(&text).into_iter().map(|(marker, count)| (marker.to_owned(), count)).collect();
    ensure!(found == expected, "{found:?}");
    Ok(())
}

#[tokio::test]
async fn a_stopping_server_tells_its_clients_first_and_closes_them_as_transient() -> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    server.ask_to_stop()?;
    let is_drain = |frame: &ServerFrame<'_>| matches!(frame, ServerFrame::Drain { .. }).then_some(());
    ann.client().wait_for("drain hint", is_drain).await?;
    let code = loop {
        match ann.client().next().await {
            Ok(_) => {}
            Err(ClientError::Closed { code, .. }) => break code,
            Err(error) => bail!(error),
        }
    };
    ensure!(code == 4503, "closed with {code}");
    ensure!(server.ended().await?.success());
    Ok(())
}

#[tokio::test]
async fn a_tab_closed_right_after_typing_leaves_what_it_typed() -> Result<()> {
    let server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    ann.write("goodbye").await?;
    ann.close().await?;
    until("the edit of the closed tab", async || {
        let reader = Member::join(&server.ws(), PROMPT, &token).await?;
        Ok(reader.document().text("load").contains("<goodbye>").then_some(()))
    })
    .await
}

#[tokio::test]
async fn the_database_is_in_write_ahead_mode() -> Result<()> {
    let server = Server::fresh().await?;
    let header = std::fs::read(server.database()?)?;
    ensure!(header[18..20] == [2, 2], "the file's header says {:?}, 2 is write-ahead", &header[18..20]);
    Ok(())
}

/// Reads until `text` arrives in somebody's edit.
async fn see(member: &mut Member, text: &str) -> Result<()> {
    let contains = |update: &[u8]| update.windows(text.len()).any(|window| window == text.as_bytes());
    let found = |frame: &ServerFrame<'_>| match frame {
        ServerFrame::Sync(SyncStep::Update(update) | SyncStep::Step2(update)) if contains(update) => Some(()),
        _ => None,
    };
    Ok(member.client().wait_for("somebody's edit", found).await?)
}
