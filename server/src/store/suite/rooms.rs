//! Commits, each room by itself, and reading back exactly what was committed.

use super::*;
use promptroom_protocol::Seq;

fn seqs(rows: &[(Seq, Bytes)]) -> Vec<u64> {
    rows.iter().map(|(seq, _)| seq.0).collect()
}

#[tokio::test]
async fn a_batch_numbers_the_rows_of_each_room_in_order() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let (one, two) = (add_prompt(&store, &ada, "one").await, add_prompt(&store, &ada, "two").await);
        let batch = [rows_for(&store, &two, &["a", "b", "c"]).await, rows_for(&store, &one, &["x"]).await];
        let revision = one.revision;
        assert_eq!(
            store.commit(&batch).await.unwrap(),
            [
                CommitOutcome::Committed { first: Seq(2), last: Seq(4), revision },
                CommitOutcome::Committed { first: Seq(2), last: Seq(2), revision },
            ]
        );
        let image = store.load_room(two.id, Generation::Newest).await.unwrap().unwrap();
        let texts: Vec<&[u8]> = image.rows.iter().map(|(_, row)| row.as_ref()).collect();
        assert_eq!(texts, [&b"row 1"[..], b"a", b"b", b"c"]);
        assert_eq!(seqs(&image.rows), [1, 2, 3, 4]);
        assert_eq!((image.head, image.snapshot, image.deleted), (Seq(4), None, false));
        assert_eq!(store.prompt(two.id).await.unwrap().unwrap().updated_at_ms, 3_000);
    })
    .await;
}

#[tokio::test]
async fn rows_that_rest_on_what_the_store_does_not_have_are_refused() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let (one, two) = (add_prompt(&store, &ada, "one").await, add_prompt(&store, &ada, "two").await);
        let mut batch = vec![rows_for(&store, &one, &["x"]).await, rows_for(&store, &two, &["x"]).await];
        batch[0].base = Seq(2);
        let committed = CommitOutcome::Committed { first: Seq(2), last: Seq(2), revision: two.revision };
        let put_back = CommitOutcome::PutBack { head: Seq(1) };
        assert_eq!(store.commit(&batch).await.unwrap(), [put_back, committed]);
        assert_eq!(store.commit_alone(&batch[0]).await.unwrap(), put_back);
        batch[1].base = Seq(2);
        assert!(matches!(store.commit(&batch[1..]).await.unwrap()[..], [CommitOutcome::Committed { .. }]));
    })
    .await;
}

#[tokio::test]
async fn a_refused_room_does_not_touch_the_others() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let good = add_prompt(&store, &ada, "good").await;
        let deleted = add_prompt(&store, &ada, "deleted").await;
        let other_lineage = add_prompt(&store, &ada, "other").await;
        let moved = add_prompt(&store, &ada, "moved").await;
        store.delete_prompt(deleted.id, ada.id, 5).await.unwrap();
        let mut batch = Vec::new();
        for prompt in [&moved, &deleted, &good, &other_lineage] {
            batch.push(rows_for(&store, prompt, &["x"]).await);
        }
        batch[0].rights_epoch -= 1;
        batch[3].lineage = LineageId(Uuid::new_v4());
        let mut unknown = rows_for(&store, &good, &["x"]).await;
        unknown.prompt = PromptId(Uuid::new_v4());
        batch.push(unknown);
        assert_eq!(
            store.commit(&batch).await.unwrap(),
            [
                CommitOutcome::RightsMoved { now: 1 },
                CommitOutcome::Deleted,
                CommitOutcome::Committed { first: Seq(2), last: Seq(2), revision: good.revision },
                CommitOutcome::LineageChanged,
                CommitOutcome::LineageChanged,
            ]
        );
        for (prompt, head) in [(&moved, 1), (&deleted, 1), (&good, 2), (&other_lineage, 1)] {
            let image = store.load_room(prompt.id, Generation::Newest).await.unwrap().unwrap();
            assert_eq!((image.head, image.rows.len() as u64), (Seq(head), head));
        }
    })
    .await;
}

#[tokio::test]
async fn a_demotion_refuses_the_rows_that_were_checked_before_it() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let bob = add_person(&store, "Bob", Role::Editor).await;
        let prompt = add_prompt(&store, &ada, "one").await;
        let rows = rows_for(&store, &prompt, &["x"]).await;
        store.set_role(bob.id, Role::Viewer).await.unwrap();
        assert_eq!(store.commit(&[rows]).await.unwrap(), [CommitOutcome::RightsMoved { now: 2 }]);
        let rows = rows_for(&store, &prompt, &["x"]).await;
        assert!(matches!(store.commit(&[rows]).await.unwrap()[..], [CommitOutcome::Committed { .. }]));
    })
    .await;
}

#[tokio::test]
async fn a_batch_larger_than_one_statement_is_written_whole() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let prompt = add_prompt(&store, &ada, "one").await;
        let mut rows = rows_for(&store, &prompt, &[]).await;
        rows.rows = (0..9_001).map(|number: u32| Bytes::copy_from_slice(&number.to_be_bytes())).collect();
        store.commit(&[rows]).await.unwrap();
        let image = store.load_room(prompt.id, Generation::Newest).await.unwrap().unwrap();
        assert_eq!((image.head, image.rows.len()), (Seq(9_002), 9_002));
        assert_eq!(image.rows[9_001].1.as_ref(), 9_000_u32.to_be_bytes());
    })
    .await;
}

#[tokio::test]
async fn two_writers_never_share_a_number() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let prompt = add_prompt(&store, &ada, "one").await;
        let rows = [rows_for(&store, &prompt, &["x", "y"]).await];
        let commits = futures_util::future::join_all((0..20).map(async |_| {
            match store.commit(&rows).await.unwrap()[0] {
                CommitOutcome::Skipped => store.commit_alone(&rows[0]).await.unwrap(),
                outcome => outcome,
            }
        }));
        let mut numbers: Vec<u64> = Vec::new();
        for outcome in commits.await {
            let CommitOutcome::Committed { first, last, .. } = outcome else { panic!("{outcome:?}") };
            numbers.extend(first.0..=last.0);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (2..=41).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_reader_gets_the_rows_after_its_cursor_in_portions() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let prompt = add_prompt(&store, &ada, "one").await;
        store.commit(&[rows_for(&store, &prompt, &["aaaa", "bbbb", "cccc"]).await]).await.unwrap();
        let after = async |seq, bytes_max| {
            store.rows_after(prompt.id, prompt.lineage, Seq(seq), bytes_max).await.unwrap()
        };
        let RowsAfter::Rows(rows) = after(1, 8).await else { panic!("gone") };
        assert_eq!(seqs(&rows), [2, 3]);
        let RowsAfter::Rows(rows) = after(3, 0).await else { panic!("gone") };
        assert_eq!(seqs(&rows), [4]);
        assert_eq!(after(4, 100).await, RowsAfter::Rows(Vec::new()));
        assert_eq!(after(5, 100).await, RowsAfter::Gone);
        let other = LineageId(Uuid::new_v4());
        assert_eq!(store.rows_after(prompt.id, other, Seq(1), 100).await.unwrap(), RowsAfter::Gone);
        store.delete_prompt(prompt.id, ada.id, 1).await.unwrap();
        assert_eq!(after(1, 100).await, RowsAfter::Gone);
    })
    .await;
}

#[tokio::test]
async fn the_heads_of_many_rooms_are_read_at_once() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let (one, two) = (add_prompt(&store, &ada, "one").await, add_prompt(&store, &ada, "two").await);
        store.commit(&[rows_for(&store, &one, &["x"]).await]).await.unwrap();
        store.delete_prompt(two.id, ada.id, 1).await.unwrap();
        let mut heads = store.heads(&[one.id, two.id, PromptId(Uuid::new_v4())]).await.unwrap();
        heads.sort_by_key(|head| head.head);
        assert_eq!(heads.len(), 2);
        assert_eq!((heads[0].prompt, heads[0].head, heads[0].deleted), (two.id, Seq(1), true));
        assert_eq!((heads[1].prompt, heads[1].head, heads[1].deleted), (one.id, Seq(2), false));
        assert_eq!((heads[1].lineage, heads[1].rights_epoch), (one.lineage, 1));
        assert_eq!(store.heads(&[]).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_missing_row_is_damage_and_never_an_empty_document() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        for lost in [1_i64, 2, 3] {
            let prompt = add_prompt(&store, &ada, &format!("lost-{lost}")).await;
            store.commit(&[rows_for(&store, &prompt, &["x", "y"]).await]).await.unwrap();
            let mut transaction = store.db.write().await.unwrap();
            let delete = query("DELETE FROM room_updates WHERE prompt_id = $1 AND seq = $2");
            delete.bind(prompt.id.0).bind(lost).execute(&mut transaction).await.unwrap();
            transaction.commit().await.unwrap();
            let loaded = store.load_room(prompt.id, Generation::Newest).await;
            assert!(matches!(loaded, Err(StoreError::Corrupt(_))), "{loaded:?}");
        }
        assert!(store.load_room(PromptId(Uuid::new_v4()), Generation::Newest).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_title_can_be_written_without_rows() {
    on_each_database(async |store| {
        let ada = add_person(&store, "Ada", Role::Owner).await;
        let prompt = add_prompt(&store, &ada, "one").await;
        let mut only_title = rows_for(&store, &prompt, &[]).await;
        only_title.title = Some("As the document says".to_owned());
        let committed = CommitOutcome::Committed { first: Seq(2), last: Seq(1), revision: prompt.revision };
        assert_eq!(store.commit(&[only_title]).await.unwrap(), [committed]);
        let image = store.load_room(prompt.id, Generation::Newest).await.unwrap().unwrap();
        assert_eq!((image.head, image.title.as_str()), (Seq(1), "As the document says"));
    })
    .await;
}
