//! What the log keeps, tells and lets go.

use super::*;

fn log(entries: usize) -> Log {
    Log::new(LogLimits { entries, bytes: 1 << 20, unwritten_bytes: 100 + 2 * ENTRY_BYTES }, Seq(10))
}

fn frames(log: &Log, cursor: u64) -> Result<usize, Gap> {
    log.since(Position(cursor), false, usize::MAX).map(Iterator::count)
}

#[test]
fn an_entry_leaves_only_when_it_is_durable() {
    let mut log = log(2);
    for _ in 0..5 {
        log.append_update(b"edit", None);
    }
    assert_eq!(frames(&log, 0), Ok(5));
    log.written(Position(3), Seq(11)).expect("in order");
    assert_eq!(frames(&log, 0), Err(Gap));
    assert_eq!(frames(&log, 3), Ok(2), "what is not durable is still there");
    assert_eq!(log.head_seq(), Seq(13));
}

#[test]
fn the_durable_mark_is_the_longest_durable_prefix() {
    let mut log = log(100);
    log.append_frame(Bytes::from_static(b"run"));
    assert_eq!(log.durable(), Position(1), "a frame of ours needs no writing");
    log.append_update(b"edit", None);
    log.append_frame(Bytes::from_static(b"run"));
    assert_eq!(log.durable(), Position(1), "it waits behind the edit before it");
    let (updates, last) = log.unwritten(usize::MAX).expect("one edit");
    assert_eq!((updates.len(), last), (1, Position(2)));
    log.written(last, Seq(11)).expect("in order");
    assert_eq!(log.durable(), Position(3));
    assert!(!log.has_unwritten());
}

#[test]
fn a_batch_is_bounded_but_never_empty() {
    let mut log = log(100);
    for _ in 0..3 {
        log.append_update(&[7; 40], None);
    }
    assert!(log.is_full_of_unwritten());
    let (updates, last) = log.unwritten(50).expect("at least one");
    assert_eq!((updates.len(), last), (1, Position(1)));
    log.written(last, Seq(11)).expect("in order");
    assert!(!log.is_full_of_unwritten());
}

#[test]
fn rows_after_a_seq_include_what_has_no_row_yet() {
    let mut log = log(100);
    log.append_update(b"a", None);
    log.append_frame(Bytes::from_static(b"run"));
    log.append_update(b"b", None);
    log.written(Position(3), Seq(11)).expect("in order");
    log.append_update(b"c", None);
    assert_eq!(log.rows_after(Seq(10)).map(|rows| rows.len()), Some(3));
    assert_eq!(log.rows_after(Seq(12)).map(|rows| rows.len()), Some(1));
    assert_eq!(log.rows_after(Seq(9)), None, "row 10 was never in this ring");
    let ahead = log.rows_after(Seq(13)).map(|rows| rows.len());
    assert_eq!(ahead, Some(1), "who knows more than this node lacks only what is new here");
}

#[test]
fn a_reader_of_documents_only_does_not_fall_behind_by_frames_that_it_never_gets() {
    let mut log = log(2);
    log.append_update(b"a", None);
    log.written(Position(1), Seq(11)).expect("in order");
    for _ in 0..5 {
        log.append_frame(Bytes::from_static(b"run"));
    }
    log.append_update(b"b", None);
    let of_documents = |cursor| log.since(Position(cursor), true, usize::MAX).map(Iterator::last);
    assert_eq!(frames(&log, 1), Err(Gap));
    assert_eq!(of_documents(0).map(drop), Err(Gap), "the edit at 1 has left");
    let last = of_documents(1).expect("nothing of the document has left").expect("an entry");
    assert_eq!(last.0, Position(7));
}

#[test]
fn our_own_frames_can_be_told_again_as_long_as_they_are_there() {
    let mut log = log(2);
    log.append_update(b"a", None);
    log.append_frame(Bytes::from_static(b"run"));
    assert_eq!(log.own_frames_since(Position(0)), Ok(vec![Bytes::from_static(b"run")]));
    log.written(Position(2), Seq(11)).expect("in order");
    log.append_frame(Bytes::from_static(b"run"));
    assert_eq!(log.own_frames_since(Position(0)), Err(Gap));
}

#[test]
fn a_row_of_others_is_durable_but_does_not_carry_the_mark_over_what_is_not() {
    let mut log = log(100);
    log.append_update(b"ours", None);
    assert_eq!(log.append_row(b"theirs", Seq(12)), None, "row 11 is missing");
    assert_eq!(log.append_row(b"theirs", Seq(11)), Some(Position(2)));
    assert_eq!((log.durable(), log.head_seq(), log.head_position()), (Position(0), Seq(11), Position(2)));
    log.written(Position(1), Seq(12)).expect("in order");
    assert_eq!((log.durable(), log.head_seq(), log.head_position()), (Position(2), Seq(12), Position(2)));
}

#[test]
fn a_commit_that_landed_behind_rows_of_others_moves_the_saved_mark_and_not_the_head() {
    let mut log = log(100);
    log.append_update(b"ours", None);
    log.written(Position(1), Seq(13)).expect("a gap of two rows");
    assert_eq!((log.durable(), log.head_seq()), (Position(1), Seq(10)));
    log.append_row(b"theirs", Seq(11)).expect("the next row");
    assert_eq!(log.head_seq(), Seq(11));
    log.append_row(b"theirs", Seq(12)).expect("the next row");
    assert_eq!((log.head_seq(), log.head_position()), (Seq(13), Position(3)));
    assert_eq!(log.rows_after(Seq(12)).map(|rows| rows.len()), Some(1));
}

#[test]
fn rows_of_ours_that_came_back_from_the_store_before_their_commit_was_told_change_nothing() {
    let mut log = log(100);
    log.append_update(b"ours", None);
    log.append_row(b"ours", Seq(11)).expect("the next row");
    log.written(Position(1), Seq(11)).expect("known");
    assert_eq!((log.durable(), log.head_seq(), log.head_position()), (Position(2), Seq(11), Position(2)));
}

#[test]
fn rows_of_others_that_wait_behind_ours_fill_the_room_too() {
    let limits = LogLimits { entries: 100, bytes: 100, unwritten_bytes: 200 };
    let mut log = Log::new(limits, Seq(10));
    log.append_update(b"ours", None);
    for seq in 11..30 {
        log.append_row(&[7; 40], Seq(seq)).expect("the next row");
    }
    assert!(log.is_full_of_unwritten());
    log.written(Position(1), Seq(30)).expect("in order");
    assert!(!log.is_full_of_unwritten(), "what is durable leaves");
}
