//! Snapshots: written, read back, pointed at; a damaged one costs nothing.

use super::*;
use crate::store::column::Columns;
use promptroom_protocol::Seq;
use sha2::{Digest, Sha256};

async fn room_of(store: &Store, rows: u64) -> PromptRow {
    let ada = add_person(store, "Ada", Role::Owner).await;
    let prompt = add_prompt(store, &ada, &Uuid::new_v4().to_string()).await;
    grow(store, &prompt, rows - 1).await;
    prompt
}

async fn grow(store: &Store, prompt: &PromptRow, rows: u64) {
    let mut batch = rows_for(store, prompt, &[]).await;
    batch.rows = (0..rows).map(|_| bytes("0123456789")).collect();
    store.commit(&[batch]).await.unwrap();
}

async fn put(store: &Store, prompt: &PromptRow, seq: u64, previous: Option<u64>) -> bool {
    let state = bytes(&format!("state at {seq}"));
    let sha256 = Sha256::digest(&state).into();
    let previous = previous.map(Seq);
    store.put_snapshot(prompt.id, prompt.lineage, Seq(seq), state, sha256, previous).await.unwrap()
}

async fn load(store: &Store, prompt: &PromptRow, generation: Generation) -> RoomImage {
    store.load_room(prompt.id, generation).await.unwrap().unwrap()
}

fn shape(image: &RoomImage) -> (Option<u64>, Option<u64>, usize) {
    let snapshot = image.snapshot.as_ref().map(|(seq, _)| seq.0);
    (snapshot, image.rows.first().map(|(seq, _)| seq.0), image.rows.len())
}

#[tokio::test]
async fn two_generations_are_kept_and_only_rows_that_the_older_one_holds_go() {
    on_each_database(async |store| {
        let prompt = room_of(&store, 10).await;
        assert!(put(&store, &prompt, 4, None).await);
        assert_eq!(shape(&load(&store, &prompt, Generation::Newest).await), (Some(4), Some(5), 6));
        assert_eq!(shape(&load(&store, &prompt, Generation::Older).await), (None, Some(1), 10));
        assert!(put(&store, &prompt, 8, Some(4)).await);
        assert_eq!(shape(&load(&store, &prompt, Generation::Newest).await), (Some(8), Some(9), 2));
        assert_eq!(shape(&load(&store, &prompt, Generation::Older).await), (Some(4), Some(5), 6));
        let after = async |seq| store.rows_after(prompt.id, prompt.lineage, Seq(seq), 1_000).await.unwrap();
        assert_eq!(after(3).await, RowsAfter::Gone);
        assert!(matches!(after(4).await, RowsAfter::Rows(rows) if rows.len() == 6));
        assert!(put(&store, &prompt, 10, Some(8)).await);
        assert_eq!(shape(&load(&store, &prompt, Generation::Newest).await), (Some(10), None, 0));
        assert_eq!(shape(&load(&store, &prompt, Generation::Older).await), (Some(8), Some(9), 2));
        assert_eq!(after(10).await, RowsAfter::Rows(Vec::new()));
        assert_eq!(after(7).await, RowsAfter::Gone);
    })
    .await;
}

#[tokio::test]
async fn more_rows_than_one_transaction_deletes_are_all_deleted() {
    on_each_database(async |store| {
        let prompt = room_of(&store, 1_300).await;
        assert!(put(&store, &prompt, 1_200, None).await);
        assert!(put(&store, &prompt, 1_250, Some(1_200)).await);
        let mut connection = store.db.read().await.unwrap();
        let count = query("SELECT COUNT(*) AS rows_left FROM room_updates WHERE prompt_id = $1");
        let left = count.bind(prompt.id.0).fetch_one(&mut connection).await.unwrap();
        assert_eq!(left.signed("rows_left").unwrap(), 100);
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_built_on_an_outdated_one_changes_nothing() {
    on_each_database(async |store| {
        let prompt = room_of(&store, 10).await;
        assert!(put(&store, &prompt, 4, None).await);
        assert!(!put(&store, &prompt, 6, None).await);
        assert!(!put(&store, &prompt, 4, Some(4)).await, "not newer");
        assert!(!put(&store, &prompt, 11, Some(4)).await, "ahead of the head");
        let mut other = prompt.clone();
        other.lineage = LineageId(Uuid::new_v4());
        assert!(!put(&store, &other, 6, Some(4)).await, "another history");
        assert_eq!(shape(&load(&store, &prompt, Generation::Newest).await), (Some(4), Some(5), 6));
        assert_eq!(shape(&load(&store, &prompt, Generation::Older).await), (None, Some(1), 10));
    })
    .await;
}

#[tokio::test]
async fn of_two_snapshots_at_once_one_wins() {
    on_each_database(async |store| {
        let prompt = room_of(&store, 10).await;
        let (one, two) = tokio::join!(put(&store, &prompt, 5, None), put(&store, &prompt, 7, None));
        assert!(one != two, "{one} {two}");
        let newest = if one { 5 } else { 7 };
        assert_eq!(shape(&load(&store, &prompt, Generation::Newest).await).0, Some(newest));
    })
    .await;
}

#[tokio::test]
async fn a_checksum_that_does_not_fit_is_never_pointed_at() {
    on_each_database(async |store| {
        let prompt = room_of(&store, 10).await;
        let wrong = store.put_snapshot(prompt.id, prompt.lineage, Seq(4), bytes("x"), [0; 32], None).await;
        assert!(matches!(wrong, Err(StoreError::Corrupt(_))));
        assert_eq!(shape(&load(&store, &prompt, Generation::Newest).await), (None, Some(1), 10));
        assert!(put(&store, &prompt, 4, None).await);
    })
    .await;
}

#[tokio::test]
async fn a_damaged_newest_snapshot_costs_nothing() {
    on_each_database(async |store| {
        let prompt = room_of(&store, 10).await;
        assert!(put(&store, &prompt, 4, None).await);
        assert!(put(&store, &prompt, 8, Some(4)).await);
        let mut transaction = store.db.write().await.unwrap();
        let damage = query("UPDATE room_snapshots SET bytes = $2 WHERE prompt_id = $1 AND seq = 8");
        damage.bind(prompt.id.0).bind(&b"damaged"[..]).execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let loaded = store.load_room(prompt.id, Generation::Newest).await;
        assert!(matches!(loaded, Err(StoreError::Corrupt(_))));
        assert_eq!(shape(&load(&store, &prompt, Generation::Older).await), (Some(4), Some(5), 6));
        assert!(store.drop_snapshot(prompt.id, Seq(8), Some(Seq(4))).await.unwrap());
        assert!(!store.drop_snapshot(prompt.id, Seq(8), Some(Seq(4))).await.unwrap());
        // Another node found the same, and asks for the newest one only now: that is the good one.
        assert!(!store.drop_snapshot(prompt.id, Seq(4), Some(Seq(4))).await.unwrap());
        assert_eq!(shape(&load(&store, &prompt, Generation::Newest).await), (Some(4), Some(5), 6));
        assert!(put(&store, &prompt, 9, Some(4)).await);
        assert_eq!(shape(&load(&store, &prompt, Generation::Older).await), (Some(4), Some(5), 6));
    })
    .await;
}

#[tokio::test]
async fn a_room_is_due_by_its_rows_or_by_their_bytes_after_the_newest_snapshot() {
    on_each_database(async |store| {
        let prompt = room_of(&store, 10).await;
        let due = async |rows, bytes| {
            let due = store.snapshots_due(rows, bytes, 10).await.unwrap();
            due.into_iter().map(|(prompt, _)| prompt).collect::<Vec<_>>()
        };
        assert_eq!(due(10, 1_000).await, [prompt.id]);
        assert_eq!(due(11, 95).await, [prompt.id]);
        assert_eq!(due(11, 96).await, []);
        assert!(put(&store, &prompt, 8, None).await);
        assert_eq!(due(3, 21).await, []);
        assert_eq!(due(3, 20).await, [prompt.id]);
        grow(&store, &prompt, 1).await;
        assert_eq!(due(3, 1_000).await, [prompt.id]);
        assert_eq!(due(100, 30).await, [prompt.id]);
        store.drop_snapshot(prompt.id, Seq(8), None).await.unwrap();
        assert_eq!(due(11, 1_000).await, [prompt.id]);
        assert_eq!(due(100, 105).await, [prompt.id]);
    })
    .await;
}

#[tokio::test]
async fn a_room_that_is_due_is_noted_by_whoever_asks_where_it_stands() {
    on_each_database(async |store| {
        let prompt = room_of(&store, 9).await;
        let noted = async || {
            store.heads(&[prompt.id]).await.unwrap();
            store.take_due().into_iter().collect::<Vec<_>>()
        };
        assert_eq!(noted().await, [], "nobody wants to know");
        store.note_due(10, 1_000);
        assert_eq!(noted().await, []);
        grow(&store, &prompt, 1).await;
        assert_eq!(noted().await, [(prompt.id, Seq(10))]);
        assert_eq!(noted().await, [(prompt.id, Seq(10))], "as long as it is so");
        assert!(put(&store, &prompt, 10, None).await);
        assert_eq!(noted().await, []);
        let mut rows = rows_for(&store, &prompt, &[]).await;
        rows.rows = vec![Bytes::from(vec![b'x'; 1_000])];
        store.commit(&[rows]).await.unwrap();
        assert_eq!(noted().await, [(prompt.id, Seq(11))], "one long row is enough");
        assert_eq!(store.take_due().len(), 0);
    })
    .await;
}
