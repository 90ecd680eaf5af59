//! What only SQLite can get wrong: settings, locks held from outside, full disks, old files.

use super::*;
use crate::store::query::query;
use crate::store::suite::{add_person, add_prompt, open_in, rows_for, url_in};
use crate::store::{CommitOutcome, Generation, Store, database};
use promptroom_protocol::{Role, Seq};
use std::task::{Context, Waker};

async fn setting(transaction: &mut database::Transaction, pragma: &'static str) -> String {
    let Row::Sqlite(row) = query(pragma).fetch_one(transaction).await.unwrap() else { unreachable!() };
    row.try_get::<String, _>(0).unwrap_or_else(|_| row.get::<i64, _>(0).to_string())
}

#[tokio::test]
async fn every_connection_writes_through_to_the_disk_and_keeps_foreign_keys() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_in(&directory).await;
    let mut connections = vec![store.db.write().await.unwrap()];
    for _ in 0..READERS {
        connections.push(store.db.read().await.unwrap());
    }
    for connection in &mut connections {
        assert_eq!(setting(connection, "PRAGMA journal_mode").await, "wal");
        assert_eq!(setting(connection, "PRAGMA synchronous").await, "2", "FULL");
        assert_eq!(setting(connection, "PRAGMA foreign_keys").await, "1");
        assert_eq!(setting(connection, "PRAGMA busy_timeout").await, "2000");
    }
    let refused = query("DELETE FROM workspaces").execute(&mut connections[1]).await;
    assert!(refused.is_err(), "a reader wrote");
}

#[tokio::test]
async fn connections_without_the_settings_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weak.db");
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_millis(LOCK_WAIT_MS_MAX));
    assert!(pool(1).connect_with(options).await.is_err());
}

#[tokio::test]
async fn nothing_is_committed_while_another_process_holds_the_write_lock() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_in(&directory).await;
    let ada = add_person(&store, "Ada", Role::Owner).await;
    let prompt = add_prompt(&store, &ada, "one").await;
    let rows = [rows_for(&store, &prompt, &["x"]).await];
    let outside = Sqlite::open(&url_in(&directory)).await.unwrap();
    let lock = outside.write().await.unwrap();
    let refused = store.commit(&rows).await;
    assert!(matches!(&refused, Err(error) if error.is_transient()), "{refused:?}");
    assert!(matches!(refused, Err(StoreError::Busy)));
    let image = store.load_room(prompt.id, Generation::Newest).await.unwrap().unwrap();
    assert_eq!(image.head, Seq(1), "readers go on, and see nothing of it");
    drop(lock);
    let committed = store.commit(&rows).await.unwrap();
    assert!(matches!(committed[..], [CommitOutcome::Committed { first: Seq(2), last: Seq(2), .. }]));
}

#[tokio::test]
async fn a_full_disk_is_transient_and_the_writer_lives_on() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_in(&directory).await;
    let ada = add_person(&store, "Ada", Role::Owner).await;
    let prompt = add_prompt(&store, &ada, "one").await;
    let small = [rows_for(&store, &prompt, &["x"]).await];
    let large = [rows_for(&store, &prompt, &["y".repeat(4_000_000).as_str()]).await];
    let mut writer = store.db.write().await.unwrap();
    let pages: i64 = setting(&mut writer, "PRAGMA page_count").await.parse().unwrap();
    let mut limit = query("PRAGMA max_page_count = ");
    limit.sql.to_mut().push_str(&(pages + 20).to_string());
    limit.execute(&mut writer).await.unwrap();
    drop(writer);
    let refused = store.commit(&large).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    assert!(refused.is_err_and(|error| error.is_transient()));
    for last in [2, 3] {
        let committed = store.commit(&small).await.unwrap();
        assert!(matches!(committed[..], [CommitOutcome::Committed { last: Seq(seq), .. }] if seq == last));
    }
}

#[tokio::test]
async fn a_call_dropped_in_its_middle_leaves_no_transaction_behind() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_in(&directory).await;
    let ada = add_person(&store, "Ada", Role::Owner).await;
    let prompt = add_prompt(&store, &ada, "one").await;
    let rows = [rows_for(&store, &prompt, &["x"]).await];
    for polls in 1..40 {
        let mut commit = Box::pin(store.commit(&rows));
        for _ in 0..polls {
            if commit.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(commit);
        let whole = store.load_room(prompt.id, Generation::Newest).await.unwrap().unwrap();
        assert_eq!(whole.rows.len() as u64, whole.head.0);
    }
    assert!(matches!(store.commit(&rows).await.unwrap()[..], [CommitOutcome::Committed { .. }]));
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_in(&directory).await;
    let ada = add_person(&store, "Ada", Role::Owner).await;
    let prompt = add_prompt(&store, &ada, "one").await;
    let workspace = store.workspace().await.unwrap();
    store.close().await;
    let store = open_in(&directory).await;
    assert_eq!(store.workspace().await.unwrap(), workspace);
    assert_eq!(store.prompt_by_slug("one").await.unwrap(), Some(prompt));
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_schema_one_release_ahead_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_in(&directory).await;
    let mut writer = store.db.write().await.unwrap();
    query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'later', TRUE, x'00', 0)",
    )
    .execute(&mut writer)
    .await
    .unwrap();
    writer.commit().await.unwrap();
    store.migrate().await.unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_named_in_one_line() {
    for (url, word) in [
        ("mysql://db", "sqlite://"),
        ("sqlite://", "file"),
        ("sqlite::memory:", "file"),
        ("sqlite://a.db?mode=ro", "options"),
    ] {
        let Err(StoreError::Unusable(line)) = Store::open(url).await else { panic!("{url} was opened") };
        assert!(line.contains(word) && !line.contains('\n'), "{line}");
    }
    let directory = tempfile::tempdir().unwrap();
    let missing = format!("sqlite://{}/no/such/place.db", directory.path().display());
    assert!(matches!(Store::open(&missing).await, Err(StoreError::Unavailable(_))));
    let other = directory.path().join("other.db");
    std::fs::write(&other, "this is no database at all, and longer than its header ".repeat(40)).unwrap();
    let opened = Store::open(&format!("sqlite:{}", other.display())).await;
    assert!(matches!(opened, Err(StoreError::Corrupt(_))));
}
