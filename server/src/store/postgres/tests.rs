//! What only Postgres can get wrong: rows that others hold, nodes that stop in their middle, a server that is silent.

mod outputs;

use super::*;
use crate::store::column::Columns as _;
use crate::store::query::query;
use crate::store::suite::{add_person, add_prompt, postgres, rows_for, start_run};
use crate::store::{CommitOutcome, LinkFor, NodeId, NodeReading, PromptRow, SecretHash, Store, database};
use promptroom_protocol::{Role, Seq};
use sqlx::{AssertSqlSafe, Executor as _};
use std::task::{Context, Waker};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use uuid::Uuid;

async fn room(store: &Store) -> PromptRow {
    let ada = add_person(store, "Ada", Role::Owner).await;
    add_prompt(store, &ada, "one").await
}

/// As another node does in the middle of a change.
async fn hold(store: &Store, prompt: &PromptRow) -> database::Transaction {
    let mut transaction = store.db.write().await.unwrap();
    transaction.hold("SELECT id FROM prompts WHERE id = $1", prompt.id.0).await.unwrap();
    transaction
}

async fn setting(transaction: &mut database::Transaction, name: &'static str) -> String {
    let Row::Postgres(row) = query(name).fetch_one(transaction).await.unwrap() else { unreachable!() };
    row.get(0)
}

#[tokio::test]
async fn every_session_writes_through_and_has_its_limits() {
    let postgres = postgres().await;
    for mut transaction in [postgres.store.db.write().await.unwrap(), postgres.store.db.read().await.unwrap()]
    {
        for (name, value) in [
            ("SHOW synchronous_commit", "on"),
            ("SHOW lock_timeout", "1s"),
            ("SHOW statement_timeout", "4s"),
            ("SHOW idle_in_transaction_session_timeout", "750ms"),
            ("SHOW application_name", "promptroom"),
        ] {
            assert_eq!(setting(&mut transaction, name).await, value, "{name}");
        }
    }
    let mut reader = postgres.store.db.read().await.unwrap();
    assert_eq!(setting(&mut reader, "SHOW transaction_isolation").await, "repeatable read");
    assert!(query("DELETE FROM sessions").execute(&mut reader).await.is_err(), "a reader wrote");
    drop(reader);
    postgres.remove().await;
}

#[tokio::test]
async fn statements_that_only_postgres_has_are_accepted() {
    let postgres = postgres().await;
    let mut transaction = postgres.store.db.read_once().await.unwrap();
    transaction.prepare(crate::store::commit::one_statement::COMMIT).await.unwrap();
    drop(transaction);
    postgres.remove().await;
}

#[tokio::test]
async fn a_room_that_somebody_holds_is_skipped_and_the_others_are_written() {
    let postgres = postgres().await;
    let store = &postgres.store;
    let (held, free) = (room(store).await, {
        let bob = add_person(store, "Bob", Role::Owner).await;
        add_prompt(store, &bob, "two").await
    });
    let batch = [rows_for(store, &held, &["x"]).await, rows_for(store, &free, &["y"]).await];
    let holder = hold(store, &held).await;
    let outcomes = store.commit(&batch).await.unwrap();
    assert_eq!(outcomes[0], CommitOutcome::Skipped);
    assert!(matches!(outcomes[1], CommitOutcome::Committed { first: Seq(2), last: Seq(2), .. }));
    let (alone, released) = tokio::join!(store.commit_alone(&batch[0]), holder.commit());
    released.unwrap();
    assert!(matches!(alone.unwrap(), CommitOutcome::Committed { first: Seq(2), last: Seq(2), .. }));
    postgres.remove().await;
}

#[tokio::test]
async fn a_node_that_stops_in_a_transaction_is_cut_off_and_learns_of_it() {
    let postgres = postgres().await;
    let store = &postgres.store;
    let prompt = room(store).await;
    let rows = rows_for(store, &prompt, &["x"]).await;
    let mut frozen = hold(store, &prompt).await;
    let begun = Instant::now();
    let committed = store.commit_alone(&rows).await.unwrap();
    assert!(matches!(committed, CommitOutcome::Committed { .. }), "{committed:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let late = query("DELETE FROM room_updates").execute(&mut frozen).await;
    assert!(matches!(&late, Err(error) if error.is_transient()), "{late:?}");
    drop(frozen);
    assert_eq!(store.heads(&[prompt.id]).await.unwrap()[0].head, Seq(2));
    postgres.remove().await;
}

#[tokio::test]
async fn a_lock_that_is_not_got_in_time_is_busy() {
    let postgres = postgres().await;
    let store = postgres.store.clone();
    let prompt = room(&store).await;
    let mut holder = hold(&store, &prompt).await;
    let waiting = store.delete_prompt(prompt.id, prompt.owner.id, 1);
    let mut waiting = std::pin::pin!(waiting);
    let refused = loop {
        tokio::select! {
            refused = &mut waiting => break refused,
            // Not idle, so not cut off.
            kept = query("SELECT 1").execute(&mut holder) => assert_eq!(kept.unwrap(), 1),
        }
    };
    assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
    drop(holder);
    postgres.remove().await;
}

/// Until somebody waits for what `holder` holds.
async fn until_waited_for(holder: &mut database::Transaction) {
    let waiting = "SELECT COUNT(*) AS waiting FROM pg_locks
        WHERE NOT granted AND transactionid = pg_current_xact_id_if_assigned()::xid";
    let begun = Instant::now();
    while query(waiting).fetch_one(holder).await.unwrap().signed("waiting").unwrap() == 0 {
        assert!(begun.elapsed() < TURN_WAIT_MAX, "nobody waits");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_node_shows_that_it_lives_while_all_its_other_connections_are_busy() {
    let postgres = postgres().await;
    let store = &postgres.store;
    let mut busy = Vec::new();
    for _ in 0..WRITERS {
        busy.push(store.db.write_once().await.unwrap());
    }
    for _ in 0..READERS {
        busy.push(store.db.read_once().await.unwrap());
    }
    let (me, begun) = (NodeId(Uuid::new_v4()), Instant::now());
    for beat in 1..=3 {
        store.beat(me, 1).await.unwrap();
        let reading = NodeReading { node: me, beat: Some(beat), stopped: false };
        assert_eq!(store.look_at_nodes().await.unwrap().nodes, [reading]);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    drop(busy);
    postgres.remove().await;
}

#[tokio::test]
async fn runs_are_released_in_the_order_in_which_everybody_takes_them() {
    let postgres = postgres().await;
    let store = postgres.store.clone();
    let node = NodeId(Uuid::new_v4());
    // The database finds them as they were made: then the one that comes later in their order comes first.
    let later = start_run(&store, node).await.id;
    let earlier = loop {
        let run = start_run(&store, node).await.id;
        if run < later {
            break run;
        }
    };
    let mut holder = store.db.write().await.unwrap();
    holder.hold_all("runs", "id", [earlier.0]).await.unwrap();
    let taking = async {
        until_waited_for(&mut holder).await;
        holder.hold_all("runs", "id", [later.0]).await.unwrap();
        holder.commit().await.unwrap();
    };
    let (released, ()) = tokio::join!(store.release_runs(node), taking);
    assert!(released.unwrap() >= 2);
    drop(store);
    postgres.remove().await;
}

#[tokio::test]
async fn two_nodes_that_write_who_was_seen_never_wait_for_each_other() {
    let postgres = postgres().await;
    let store = postgres.store.clone();
    let ada = add_person(&store, "Ada", Role::Owner).await;
    let sessions: Vec<SecretHash> = (0..8).rev().map(|number| SecretHash([number; 32])).collect();
    for session in &sessions {
        let link = SecretHash([99; 32]);
        store.add_sign_in_link(link, LinkFor::Principal(ada.id), 10).await.unwrap();
        store.use_sign_in_link(link, *session, 1).await.unwrap().unwrap();
    }
    let now_ms = 24 * 60 * 60 * 1_000;
    for session in &sessions {
        store.principal_by_session(*session, now_ms).await.unwrap().unwrap();
    }
    let mut holder = store.db.write().await.unwrap();
    holder.hold_all("sessions", "hash", [vec![0; 32]]).await.unwrap();
    let taking = async {
        until_waited_for(&mut holder).await;
        holder.hold_all("sessions", "hash", [vec![7; 32]]).await.unwrap();
        holder.commit().await.unwrap();
    };
    let (written, ()) = tokio::join!(store.write_last_seen(), taking);
    written.unwrap();
    drop(store);
    postgres.remove().await;
}

#[tokio::test]
async fn two_nodes_that_start_at_once_make_one_workspace() {
    let postgres = postgres().await;
    let mut transaction = postgres.store.db.write().await.unwrap();
    query("DROP SCHEMA public CASCADE").execute(&mut transaction).await.unwrap();
    query("CREATE SCHEMA public").execute(&mut transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let other = Store::open(&postgres.url).await.unwrap();
    let (one, two) = tokio::join!(postgres.store.migrate(), other.migrate());
    one.unwrap();
    two.unwrap();
    assert_eq!(postgres.store.workspace().await.unwrap(), other.workspace().await.unwrap());
    let mut reader = other.db.read().await.unwrap();
    assert_eq!(query("SELECT id FROM workspaces").fetch_all(&mut reader).await.unwrap().len(), 1);
    drop(reader);
    other.close().await;
    postgres.remove().await;
}

#[tokio::test]
async fn a_schema_one_release_ahead_is_accepted() {
    let postgres = postgres().await;
    let mut writer = postgres.store.db.write().await.unwrap();
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', TRUE, ''::bytea, 0)";
    query(later).execute(&mut writer).await.unwrap();
    writer.commit().await.unwrap();
    postgres.store.migrate().await.unwrap();
    postgres.remove().await;
}

#[tokio::test]
async fn a_title_with_a_zero_in_it_is_stored_without_it() {
    let postgres = postgres().await;
    let store = &postgres.store;
    let prompt = room(store).await;
    let mut rows = rows_for(store, &prompt, &["x"]).await;
    rows.title = Some("a\0b".to_owned());
    store.commit(&[rows]).await.unwrap();
    assert_eq!(store.prompt(prompt.id).await.unwrap().unwrap().title, "a\u{FFFD}b");
    postgres.remove().await;
}

#[tokio::test]
async fn a_call_dropped_in_its_middle_leaves_no_transaction_behind() {
    let postgres = postgres().await;
    let store = &postgres.store;
    let prompt = room(store).await;
    let rows = [rows_for(store, &prompt, &["x"]).await];
    let outside = Store::open(&postgres.url).await.unwrap();
    for round in 0..60 {
        let mut begun = Box::pin(store.db.write());
        for _ in 0..round / 2 {
            if begun.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(begun);
        let committed = store.commit(&rows).await.unwrap();
        let CommitOutcome::Committed { last, .. } = committed[0] else { panic!("{committed:?}") };
        assert_eq!(outside.heads(&[prompt.id]).await.unwrap()[0].head, last, "round {round}");
    }
    outside.close().await;
    postgres.remove().await;
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://promptroom@{}/promptroom", silent.local_addr().unwrap());
    let begun = Instant::now();
    let refused = Store::open(&url).await.err();
    assert!(matches!(refused, Some(StoreError::Unavailable(_))), "{refused:?}");
    assert!(begun.elapsed() < TURN_WAIT_MAX * 2);
    assert!(matches!(Store::open("postgres://:not a port/").await, Err(StoreError::Unusable(_))));
}

/// Passes bytes on, as long as it may.
async fn relay(listener: TcpListener, target: String, open: watch::Receiver<bool>) {
    let mut links = tokio::task::JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else { return };
        let Ok(far) = TcpStream::connect(&target).await else { continue };
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        links.spawn(pass_on(near_in, far_out, open.clone()));
        links.spawn(pass_on(far_in, near_out, open.clone()));
    }
}

async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut open: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 || open.wait_for(|open| *open).await.is_err() {
            return Ok(());
        }
        to.write_all(&buffer[..read]).await?;
    }
}

#[tokio::test]
async fn a_link_that_goes_silent_fails_calls_in_time_and_heals() {
    let postgres = postgres().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (before, rest) = postgres.url.split_once('@').unwrap();
    let (target, database) = rest.split_once('/').unwrap();
    let url = format!("{before}@{}/{database}", listener.local_addr().unwrap());
    let (open, is_open) = watch::channel(true);
    let mut relays = tokio::task::JoinSet::new();
    relays.spawn(relay(listener, target.to_owned(), is_open));
    let store = Store::open(&url).await.unwrap();
    let prompt = room(&store).await;
    let rows = rows_for(&store, &prompt, &["x"]).await;
    open.send(false).unwrap();
    let begun = Instant::now();
    for _ in 0..2 {
        let calls = std::iter::repeat_with(|| store.commit(std::slice::from_ref(&rows)));
        let calls = calls.take(WRITERS as usize * 2);
        let done = join_all(calls).await;
        assert!(done.iter().all(|done| matches!(done, Err(StoreError::Unavailable(_)))), "{done:?}");
    }
    assert!(begun.elapsed() < (TURN_WAIT_MAX + TRANSACTION_MAX) * 2, "{:?}", begun.elapsed());
    open.send(true).unwrap();
    let healing = Instant::now();
    while !store.commit(std::slice::from_ref(&rows)).await.is_ok_and(|done| done[0] != CommitOutcome::Skipped)
    {
        assert!(healing.elapsed() < TRANSACTION_MAX * 2, "it does not heal");
    }
    store.close().await;
    postgres.remove().await;
}

#[test]
fn codes_say_what_may_be_repeated() {
    let of = |code| classify(code)(sqlx::Error::RowNotFound);
    assert!(matches!(of("55P03"), StoreError::Busy));
    assert!(matches!(of("40P01"), StoreError::Busy));
    assert!(matches!(of("53100"), StoreError::Full));
    assert!(matches!(of("57P01"), StoreError::Unavailable(_)));
    assert!(matches!(of("08006"), StoreError::Unavailable(_)));
    assert!(matches!(of("23505"), StoreError::Other(_)), "a broken rule is nobody's bad luck");
}

#[tokio::test]
async fn a_database_that_cannot_hold_all_texts_is_refused_with_a_reason() {
    let postgres = postgres().await;
    let mut server = PgConnection::connect(&postgres.url).await.unwrap();
    let name = format!("latin_{}", Uuid::new_v4().simple());
    let create =
        format!("CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    server.execute(AssertSqlSafe(create)).await.unwrap();
    let url = format!("{}/{name}", postgres.url.rsplit_once('/').unwrap().0);
    let refused = Store::open(&url).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("LATIN1"), "{refused}");
    server.execute(AssertSqlSafe(format!("DROP DATABASE {name}"))).await.unwrap();
    server.close().await.unwrap();
    postgres.remove().await;
}
