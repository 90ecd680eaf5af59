//! Outputs that take longer than anything else may.

use super::*;
use crate::store::suite::{claims::end, progress::progress};
use crate::store::{EndOutcome, ProgressResult, Record};
use bytes::Bytes;
use promptroom_protocol::{BlockKind, Offset};

#[tokio::test]
async fn what_carries_a_whole_output_has_time_and_is_cut_off_all_the_same_if_it_stops() {
    let postgres = postgres().await;
    let mut large = postgres.store.db.write_large().await.unwrap();
    assert_eq!(setting(&mut large, "SHOW statement_timeout").await, "1min");
    assert_eq!(setting(&mut large, "SHOW idle_in_transaction_session_timeout").await, "5s");
    query("SELECT pg_sleep(5)").execute(&mut large).await.unwrap();
    large.commit().await.unwrap();
    postgres.remove().await;
}

async fn end_of(store: &Store, records: Vec<Record>) -> Duration {
    let run = start_run(store, NodeId(Uuid::new_v4())).await;
    let (stored, rest) = records.split_at(records.len() / 2);
    let mut from = 0;
    for records in stored.chunks(20_000) {
        let moved = store.progress(&[progress(&run, from, records.to_vec())]).await.unwrap();
        assert_eq!(moved[0].result, ProgressResult::Moved);
        from += records.iter().map(|record| record.bytes.len() as u64).sum::<u64>();
    }
    let begun = Instant::now();
    let ended = store.end_run(&end(&run, from, rest.to_vec())).await.unwrap();
    let took = begun.elapsed();
    assert!(matches!(ended, EndOutcome::Ended(_)), "{ended:?}");
    let output = store.run_output(run.id).await.unwrap().unwrap();
    let bytes = |bytes: &mut dyn Iterator<Item = usize>| bytes.sum::<usize>();
    assert_eq!(
        bytes(&mut output.records.iter().map(|record| record.bytes.len())),
        bytes(&mut records.iter().map(|record| record.bytes.len())),
    );
    took
}

#[tokio::test]
async fn a_run_ends_however_long_its_output_is_and_however_many_blocks_it_has() {
    let postgres = postgres().await;
    let megabytes = (0..40).map(|number| Record {
        offset: Offset(number << 20),
        block: 0,
        kind: BlockKind::Text,
        // Not to be made smaller by the database.
        bytes: std::iter::repeat_with(Uuid::new_v4).take(65_536).flat_map(Uuid::into_bytes).collect(),
    });
    let long = end_of(&postgres.store, megabytes.collect()).await;
    let blocks = (0..100_000).map(|number| Record {
        offset: Offset(number * 4),
        block: (number % 2) as u32,
        kind: BlockKind::Text,
        bytes: Bytes::from_static(b"word"),
    });
    let many = end_of(&postgres.store, blocks.collect()).await;
    println!("40 MiB ended in {long:?}, 100,000 blocks in {many:?}");
    postgres.remove().await;
}

#[tokio::test]
async fn a_long_end_and_everything_else_do_not_wait_for_each_other() {
    let postgres = postgres().await;
    let store = &postgres.store;
    let run = start_run(store, NodeId(Uuid::new_v4())).await;
    let bytes = Bytes::from(vec![b'x'; 100_000]);
    let output = Record { offset: Offset(0), block: 0, kind: BlockKind::Text, bytes };
    let mut busy = Vec::new();
    for _ in 0..WRITERS {
        busy.push(store.db.write_once().await.unwrap());
    }
    let ended = store.end_run(&end(&run, 0, vec![output])).await;
    assert!(matches!(ended, Ok(EndOutcome::Ended(_))), "{ended:?}");
    drop(busy);
    postgres.remove().await;
}
