//! What damages the database or fills the document: nothing that was called saved is lost, and no room opens empty.

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use promptroom_loadtest::{
    client::{Client, ClientError, ConnectOptions},
    edits::Writer,
    tasks::Tasks,
};
use promptroom_protocol::{ClientFrame, Role, ServerFrame, SyncStep, put_varint};
use promptroom_tests::{
    Document, Member, Server, ServerSettings, markers_in, rounds, seeded, until, yjs_text,
};
use rand::RngExt;
use reqwest::Method;
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

const PROMPT: &str = "damage";
/// A snapshot is due after 500 rows.
const ROWS: usize = 520;

/// Kills a process some microseconds after it wrote a snapshot that is newer than all that were there.
const KILL_IN_SWAP: &str = "
import os, signal, time
pid, micros = int(sys.argv[2]), int(sys.argv[3])
newest = lambda: db.execute('SELECT COALESCE(MAX(seq), 0) FROM room_snapshots').fetchone()[0]
known = newest()
print('watching', flush=True)
while newest() == known: pass
end = time.perf_counter_ns() + micros * 1000
while time.perf_counter_ns() < end: pass
os.kill(pid, signal.SIGKILL)
";

/// How far a swap got: its row is written, or the room points at it too, or the rows it made needless are gone too.
const STAGE: &str = "
head, older = db.execute('SELECT COALESCE(snapshot_seq, 0), COALESCE(snapshot_seq_older, 0) FROM prompts').fetchone()
newest = db.execute('SELECT MAX(seq) FROM room_snapshots').fetchone()[0]
first = db.execute('SELECT MIN(seq) FROM room_updates').fetchone()[0]
print('written' if newest > head else 'pointed at' if first <= older else 'cleaned up')
";

const GENERATIONS: &str = "
print(*db.execute('SELECT COALESCE(snapshot_seq, 0), COALESCE(snapshot_seq_older, 0) FROM prompts').fetchone())
";

const FLIP: &str = "
seq, data = db.execute('SELECT seq, bytes FROM room_snapshots ORDER BY seq DESC LIMIT 1').fetchone()
half = len(data) // 2
data = data[:half] + bytes(255 - byte for byte in data[half:half + 64]) + data[half + 64:]
db.execute('UPDATE room_snapshots SET bytes = ? WHERE seq = ?', (data, seq))
print(seq)
";

/// The checksum fits what is no document.
const FORGE: &str = "
import hashlib
seq, = db.execute('SELECT MAX(seq) FROM room_snapshots').fetchone()
data = bytes(range(256))
db.execute('UPDATE room_snapshots SET bytes = ?, sha256 = ? WHERE seq = ?', (data, hashlib.sha256(data).digest(), seq))
print(seq)
";

const TAKE_ROW: &str = "
db.execute('CREATE TABLE taken AS SELECT * FROM room_updates WHERE seq = (SELECT MAX(seq) / 2 FROM room_updates)')
print(db.execute('DELETE FROM room_updates WHERE seq IN (SELECT seq FROM taken)').rowcount)
";

const GIVE_ROW_BACK: &str = "
print(db.execute('INSERT INTO room_updates SELECT * FROM taken').rowcount)
db.execute('DROP TABLE taken')
";

const ALL_ROWS: &str = "
print(db.execute('SELECT head FROM prompts').fetchone(), db.execute('SELECT COUNT(*) FROM room_updates').fetchone())
";

/// Python's own SQLite on the server's database, as a stranger's hand; `db` commits each statement.
fn stranger(database: &Path, script: &str, arguments: &[&str]) -> Result<Child> {
    let opening =
        "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)\n";
    let mut python = Command::new("python3");
    python.arg("-c").arg(format!("{opening}{script}")).arg(database).args(arguments).stdin(Stdio::null());
    python.stdout(Stdio::piped()).spawn().context("python3 cannot be started")
}

fn strangers_answer(database: &Path, script: &str) -> Result<String> {
    let output = stranger(database, script, &[])?.wait_with_output()?;
    ensure!(output.status.success(), "the script failed: {script}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// 6
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_while_snapshots_are_swapped_loses_nothing_that_was_acknowledged() -> Result<()> {
    let mut random = seeded();
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    Member::join(&server.ws(), PROMPT, &token).await?.write_saved("first").await?;
    let mut acknowledged = vec!["first".to_owned()];
    let mut stages = BTreeMap::<String, usize>::new();
    for round in 0..rounds(10) {
        let micros = random.random_range(0..4_000_u32).to_string();
        let pid = server.pid()?.to_string();
        let mut killer = stranger(&server.database()?, KILL_IN_SWAP, &[&pid, &micros])?;
        let mut said = BufReader::new(killer.stdout.take().context("a piped output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        ensure!(line.trim() == "watching", "the killer does not watch");
        let mut writers = Tasks::default();
        for writer in 0..2 {
            let member = Member::join(&server.ws(), PROMPT, &token).await?;
            writers.start(write_until_killed(member, format!("{round}.{writer}")));
        }
        for markers in writers.all().await? {
            acknowledged.extend(markers);
        }
        ensure!(killer.wait()?.success(), "the killer failed");
        server.kill()?;
        *stages.entry(strangers_answer(&server.database()?, STAGE)?).or_default() += 1;
        server.start().await?;
        holds_once(&server, &token, &acknowledged).await.with_context(|| format!("round {round}"))?;
    }
    eprintln!("{} edits acknowledged; swaps found at their kill: {stages:?}", acknowledged.len());
    Ok(())
}

/// Enough edits for a snapshot at once, then one after the other until the server is gone.
async fn write_until_killed(mut member: Member, name: String) -> Result<Vec<String>> {
    loop {
        let burst = if member.written() < ROWS / 2 { ROWS / 20 } else { 1 };
        match write_burst(&mut member, &name, burst).await {
            Ok(()) => {}
            Err(error) => match error.downcast_ref() {
                Some(ClientError::Closed { .. } | ClientError::Connection(_)) => {
                    return Ok(member.acknowledged());
                }
                _ => return Err(error.context(name)),
            },
        }
    }
}

async fn write_burst(member: &mut Member, name: &str, edits: usize) -> Result<()> {
    let mut last = 0;
    for _ in 0..edits {
        last = member.write(&format!("{name}.{}", member.written())).await?;
    }
    Ok(member.client().wait_saved(last).await?)
}

/// A newcomer, and a fresh Yjs, find each of these markers once, and no marker twice.
async fn holds_once(server: &Server, token: &str, markers: &[String]) -> Result<()> {
    let reader = Member::join(&server.ws(), PROMPT, token).await?;
    let text = reader.document().text("load");
    let found = markers_in(&text);
    let lost = markers.iter().find(|marker| !found.contains_key(marker.as_str()));
    ensure!(lost.is_none(), "{lost:?} was acknowledged and is lost");
    let doubled = found.iter().find(|(_, count)| **count > 1);
    ensure!(doubled.is_none(), "{doubled:?} stands twice");
    ensure!(yjs_text(&reader.document().encoded(), "load")? == text, "a replay in Yjs differs");
    Ok(())
}

/// 7
#[tokio::test]
async fn a_newest_snapshot_with_flipped_bytes_is_given_up_for_the_one_before_it() -> Result<()> {
    opens_from_the_generation_before(FLIP).await
}

/// 7
#[tokio::test]
async fn a_newest_snapshot_that_fits_its_checksum_and_is_no_document_is_given_up_too() -> Result<()> {
    opens_from_the_generation_before(FORGE).await
}

async fn opens_from_the_generation_before(damage: &str) -> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let database = server.database()?;
    for generation in ["first", "second"] {
        write_burst(&mut ann, generation, ROWS).await?;
        until("the next snapshot", async || {
            let newer = strangers_answer(&database, GENERATIONS)?;
            let is_there = newer != "0 0" && (generation == "first" || !newer.ends_with(" 0"));
            Ok(is_there.then_some(()))
        })
        .await?;
    }
    write_burst(&mut ann, "after", 20).await?;
    let acknowledged = ann.acknowledged();
    server.kill()?;
    let generations = strangers_answer(&database, GENERATIONS)?;
    let (newest, older) = generations.split_once(' ').context("two generations")?;
    ensure!(strangers_answer(&database, damage)? == newest);

    server.start().await?;
    holds_once(&server, &token, &acknowledged).await?;
    ensure!(acknowledged.len() == 2 * ROWS + 20);
    let now = strangers_answer(&database, GENERATIONS)?;
    ensure!(now == format!("{older} 0"), "the generations are {now}, and were {generations}");
    Member::join(&server.ws(), PROMPT, &token).await?.write_saved("on we go").await?;
    server.kill()?;
    server.start().await?;
    holds_once(&server, &token, &[acknowledged, vec!["on we go".to_owned()]].concat()).await
}

/// 8
#[tokio::test]
async fn a_room_that_cannot_be_read_is_refused_for_now_and_is_whole_when_it_can() -> Result<()> {
    let mut server = Server::fresh().await?;
    let api = server.api(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, api.token()).await?;
    write_burst(&mut ann, "before", 30).await?;
    server.kill()?;
    let database = server.database()?;
    ensure!(strangers_answer(&database, TAKE_ROW)? == "1");
    let rows = strangers_answer(&database, ALL_ROWS)?;
    server.start().await?;

    for options in [ConnectOptions::page(api.token()), ConnectOptions::stock(api.token())] {
        let mut client = Client::connect(&server.ws(), PROMPT, &options).await?;
        client.send(&ClientFrame::Sync(SyncStep::Update(&Writer::random().append("<lost>")))).await.ok();
        let code = loop {
            match client.next().await {
                Ok(frame) => ensure!(
                    !matches!(frame.decode()?, ServerFrame::Sync(_)),
                    "a document was served: {frame:?}"
                ),
                Err(ClientError::Closed { code, .. }) => break code,
                Err(error) => bail!(error),
            }
        };
        ensure!((4500..4600).contains(&code), "closed with {code}");
    }
    let path = format!("/prompts/{PROMPT}");
    let title = json!({"title": "anew"});
    for request in [api.request(Method::GET, &path), api.request(Method::PATCH, &path).json(&title)] {
        let status = request.send().await?.status();
        ensure!(status.is_server_error(), "answered with {status}");
    }
    let rows_now = strangers_answer(&database, ALL_ROWS)?;
    ensure!(rows_now == rows, "{rows_now} rows and not {rows}: something was written");

    ensure!(strangers_answer(&database, GIVE_ROW_BACK)? == "1");
    holds_once(&server, api.token(), &ann.acknowledged()).await
}

/// 25
#[tokio::test]
async fn one_who_lacks_nothing_but_deletions_gets_them_on_return() -> Result<()> {
    let mut server = Server::fresh().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let frame = ann.write("withdrawn 😀").await?;
    ann.client().wait_saved(frame).await?;
    let mut bob = Member::join(&server.ws(), PROMPT, &token).await?;
    let (have, copy) = (bob.client().head(), bob.document().encoded());
    bob.close().await?;
    let erased = erase(ann.client().client_id(), 0, "<withdrawn 😀>".encode_utf16().count() as u64);
    ann.client().send(&ClientFrame::Sync(SyncStep::Update(&erased))).await?;
    ann.client().wait_saved(frame + 1).await?;

    for life in ["the same life", "after a restart"] {
        for have in [Some(have), None] {
            let old = Document::of([&copy[..]])?;
            let mut bob = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
            for update in bob.rejoin(have, &old.state_vector()).await?.updates {
                old.apply(&update)?;
            }
            ensure!(old.text("load").is_empty(), "{life}, {have:?}: {}", old.text("load"));
        }
        let old = Document::of([&copy[..]])?;
        let mut stock = Client::connect(&server.ws(), PROMPT, &ConnectOptions::stock(&token)).await?;
        stock.send(&ClientFrame::Sync(SyncStep::Step1(&old.state_vector()))).await?;
        let answer = stock.wait_for("answer", |frame| match frame {
            ServerFrame::Sync(SyncStep::Step2(update)) => Some(update.to_vec()),
            _ => None,
        });
        old.apply(&answer.await?)?;
        ensure!(old.text("load").is_empty(), "{life}, stock: {}", old.text("load"));
        server.kill()?;
        server.start().await?;
    }
    Ok(())
}

/// An update that deletes and does nothing else.
fn erase(client: u64, clock: u64, length: u64) -> Bytes {
    let mut update = BytesMut::new();
    for number in [0, 1, client, 1, clock, length] {
        put_varint(&mut update, number);
    }
    update.freeze()
}

/// 28
#[tokio::test]
async fn tombstones_fill_a_document_to_its_limit_and_deletions_still_pass() -> Result<()> {
    const LIMIT: u64 = 256 << 10;
    let small = ServerSettings::default().environment("PROMPTROOM_MESSAGE_BYTES", 64 << 10);
    let mut server = small.environment("PROMPTROOM_DOCUMENT_BYTES", LIMIT).start().await?;
    let token = server.token(Role::Editor)?;
    let mut ann = Member::join(&server.ws(), PROMPT, &token).await?;
    let frame = ann.write("to be withdrawn").await?;
    ann.client().wait_saved(frame).await?;
    let before = server.memory_bytes()?;

    let mut bob = Client::connect(&server.ws(), PROMPT, &ConnectOptions::page(&token)).await?;
    bob.join().await?;
    let mut taken = 0;
    let code = loop {
        let bytes = taken * tombstones(0).len() as u64;
        ensure!(bytes < 16 * LIMIT, "{bytes} bytes of tombstones were taken");
        bob.send(&ClientFrame::Sync(SyncStep::Update(&tombstones(taken)))).await?;
        // The first document frame is the empty answer of the join.
        match bob.wait_saved(taken + 2).await {
            Ok(()) => taken += 1,
            Err(ClientError::Closed { code, .. }) => break code,
            Err(error) => bail!(error),
        }
    };
    ensure!(code == 4413 && taken > 0, "closed with {code} after {taken} frames");
    let grown = server.memory_bytes()?.saturating_sub(before);
    eprintln!("{taken} frames of {} tombstones were taken; memory grew by {grown} bytes", EACH);
    ensure!(grown < 64 << 20, "memory grew by {grown} bytes");

    let length = "<to be withdrawn>".len() as u64;
    let erased = erase(ann.client().client_id(), 0, length);
    ann.client().send(&ClientFrame::Sync(SyncStep::Update(&erased))).await?;
    ann.client().wait_saved(frame + 1).await.context("a full document takes deletions")?;
    server.kill()?;
    server.start().await?;
    let reader = Member::join(&server.ws(), PROMPT, &token).await?;
    ensure!(reader.document().text("load").is_empty(), "{}", reader.document().text("load"));
    ensure!(yjs_text(&reader.document().encoded(), "load")?.is_empty());
    Ok(())
}

const EACH: u64 = 100;
/// A string after another item, as an update says it.
const AFTER: u8 = 0x84;

/// One character each of many clients, typed one after the other and deleted at once: no two become one tombstone.
fn tombstones(frame: u64) -> Vec<u8> {
    const FIRST: u64 = 10_000_000;
    let clients = (0..EACH).map(|number| FIRST + frame * EACH + number);
    let mut update = BytesMut::new();
    put_varint(&mut update, EACH);
    for client in clients.clone() {
        if client == FIRST {
            // Without its count of clients and its empty set of deletions.
            let typed = Writer::new(client, "load").append("x");
            update.extend_from_slice(&typed[1..typed.len() - 1]);
            continue;
        }
        for number in [1, client, 0] {
            put_varint(&mut update, number);
        }
        update.extend_from_slice(&[AFTER]);
        put_varint(&mut update, client - 1);
        update.extend_from_slice(b"\0\x01x");
    }
    put_varint(&mut update, EACH);
    for client in clients {
        for number in [client, 1, 0, 1] {
            put_varint(&mut update, number);
        }
    }
    update.to_vec()
}
