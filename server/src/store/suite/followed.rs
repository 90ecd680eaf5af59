//! Runs read from elsewhere: from a cursor, through claims, to the end.

use super::claims::{claim, end, estimate};
use super::progress::{progress, records, text};
use super::*;
use crate::store::column::Columns as _;
use crate::store::followed::live_rows;
use promptroom_protocol::{BlockKind, Epoch, Offset, RunState};

fn from(run: &RunSummary, epoch: u32, offset: u64) -> Following {
    Following { run: run.id, epoch: Epoch(epoch), offset: Offset(offset) }
}

async fn follow(store: &Store, following: Following, bytes_max: u64) -> FollowedRun {
    store.follow_runs(&[following], bytes_max).await.unwrap().pop().unwrap()
}

fn read(run: &FollowedRun) -> (u64, String) {
    let text = run.records.iter().map(|record| String::from_utf8_lossy(&record.bytes)).collect();
    (run.records.first().map_or(0, |record| record.offset.0), text)
}

#[tokio::test]
async fn a_follower_reads_on_from_its_offset_even_within_a_row() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        store.progress(&[progress(&run, 0, text(0, "hello "))]).await.unwrap();
        store.progress(&[progress(&run, 6, text(6, "world"))]).await.unwrap();
        let seen = follow(&store, from(&run, 1, 3), 100).await;
        assert_eq!((seen.epoch, seen.stored, seen.state), (Epoch(1), Offset(11), RunState::Streaming));
        assert_eq!((read(&seen), seen.claims.len()), ((3, "lo world".to_owned()), 0));
        assert_eq!(
            read(&follow(&store, from(&run, 1, 0), 1).await),
            (0, "hello ".to_owned()),
            "one at least"
        );
        assert_eq!(follow(&store, from(&run, 1, 11), 100).await.records, []);
        assert_eq!(follow(&store, from(&run, 1, 50), 100).await.records, [], "ahead of what is stored");
        let many = [from(&run, 1, 0), Following { run: RunId(Uuid::new_v4()), ..from(&run, 1, 0) }];
        assert_eq!(store.follow_runs(&many, 100).await.unwrap().len(), 1, "unknown ones are left out");
    })
    .await;
}

#[tokio::test]
async fn a_follower_of_an_older_epoch_is_taken_back_to_where_the_next_one_began() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        store.progress(&[progress(&run, 0, text(0, "hello wor"))]).await.unwrap();
        let taken = Claim { trim_to: Some(Offset(6)), ..claim(&run, node()) };
        store.claim_run(&taken, estimate).await.unwrap();
        let second = store.run(run.id).await.unwrap().unwrap();
        store.progress(&[progress(&second, 6, text(6, "there"))]).await.unwrap();
        let seen = follow(&store, from(&run, 1, 9), 100).await;
        assert_eq!(seen.claims, [RunClaim { epoch: Epoch(2), start: Offset(6) }]);
        assert_eq!((read(&seen), seen.stored), ((6, "there".to_owned()), Offset(11)));
        let seen = follow(&store, from(&run, 2, 9), 100).await;
        assert_eq!((read(&seen), seen.claims.len()), ((9, "re".to_owned()), 0));
    })
    .await;
}

#[tokio::test]
async fn what_has_ended_is_read_like_what_goes_on() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        let parts = records(0, &[(0, BlockKind::Reasoning, "hm"), (1, BlockKind::Text, "yes")]);
        store.progress(&[progress(&run, 0, parts)]).await.unwrap();
        let rest = records(5, &[(1, BlockKind::Text, "!")]);
        store.end_run(&end(&run, 5, rest)).await.unwrap();
        let seen = follow(&store, from(&run, 1, 1), 100).await;
        assert_eq!(
            (seen.state, seen.stored, read(&seen)),
            (RunState::Completed, Offset(6), (1, "myes!".to_owned()))
        );
    })
    .await;
}

#[tokio::test]
async fn many_small_rows_are_all_read_and_a_missing_one_is_damage() {
    on_each_database(async |store| {
        let run = start_run(&store, node()).await;
        for at in 0..150 {
            store.progress(&[progress(&run, at, text(at, "x"))]).await.unwrap();
        }
        assert_eq!(read(&follow(&store, from(&run, 1, 10), 1_000).await).1.len(), 140);
        assert_eq!(read(&follow(&store, from(&run, 1, 10), 100).await).1.len(), 100);
        let mut transaction = store.db.write().await.unwrap();
        let delete = query("DELETE FROM run_chunks WHERE run_id = $1 AND start = 100");
        delete.bind(run.id.0).execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let damaged = store.follow_runs(&[from(&run, 1, 10)], 1_000).await;
        assert!(matches!(damaged, Err(StoreError::Corrupt(_))), "{damaged:?}");
    })
    .await;
}

#[tokio::test]
async fn many_live_runs_are_read_at_once_each_from_its_own_cursor() {
    on_each_database(async |store| {
        let me = node();
        let (near, far, ended) =
            (start_run(&store, me).await, start_run(&store, me).await, start_run(&store, me).await);
        for at in 0..100 {
            let batch = [&near, &far, &ended].map(|run| progress(run, at * 2, text(at * 2, "ab")));
            store.progress(&batch).await.unwrap();
        }
        store.end_run(&end(&ended, 200, Vec::new())).await.unwrap();
        let asked = [from(&near, 1, 199), from(&far, 1, 3), from(&ended, 1, 7)];
        for (bytes_max, of_far, of_ended) in [(1_000, 197, 193), (150, 149, 193), (1, 1, 193), (0, 1, 193)] {
            let found = store.follow_runs(&asked, bytes_max).await.unwrap();
            let of = |run: &RunSummary| read(found.iter().find(|found| found.run == run.id).unwrap());
            assert_eq!(of(&near), (199, "b".to_owned()));
            assert_eq!((of(&far).0, of(&far).1.len()), (3, of_far), "{bytes_max}");
            assert_eq!((of(&ended).0, of(&ended).1.len()), (7, of_ended), "one row, as it has ended");
        }
        let mut transaction = store.db.write().await.unwrap();
        let delete = query("DELETE FROM run_chunks WHERE run_id = $1 AND start = 100");
        delete.bind(far.id.0).execute(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let damaged = store.follow_runs(&asked, 1_000).await;
        assert!(matches!(damaged, Err(StoreError::Corrupt(_))), "{damaged:?}");
    })
    .await;
}

#[tokio::test]
async fn what_lies_before_a_cursor_is_not_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let store = open_in(&directory).await;
    let mut reader = store.db.read().await.unwrap();
    let run = RunId(Uuid::new_v4());
    let one = query(crate::store::followed::STATEMENTS[0]).bind(run.0).bind(5_i64).bind(64_i64);
    for mut rows in [one, live_rows(reader.dialect(), &[(run, Offset(5)), (run, Offset(7))], 100)] {
        rows.sql = format!("EXPLAIN QUERY PLAN {}", rows.sql).into();
        let plan = rows.fetch_all(&mut reader).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|step| step.text("detail").unwrap()).collect();
        let searches = steps.iter().filter(|step| step.contains("run_id=? AND start>?"));
        let scans = steps.iter().filter(|step| step.starts_with("SCAN") && step.contains("run_"));
        assert!(searches.count() > 0 && scans.count() == 0, "{steps:#?}");
    }
    drop(reader);
    store.close().await;
}
