//! What readers of an output see, wherever they begin and whoever drives.

use super::*;
use uuid::Uuid;

const RUN: RunId = RunId(Uuid::from_u128(9));

fn at(epoch: u32, offset: u64) -> RunCursor {
    RunCursor { epoch: Epoch(epoch), offset: Offset(offset) }
}

/// Reads as a client does and returns the text, what it was rewound to, and whether it was told the end.
fn read_all(output: &Output, mut cursor: RunCursor, text: &mut String) -> bool {
    loop {
        let (frame, next) = match output.read(cursor) {
            Read::Frame { frame, next } => (frame, next),
            Read::End { .. } => return true,
            Read::Wait => return false,
        };
        match ServerFrame::decode(&frame).expect("a frame of ours") {
            ServerFrame::Records(records) => {
                assert_eq!(records.offset, cursor.offset);
                for (_, _, bytes) in records.records {
                    text.push_str(std::str::from_utf8(&bytes).expect("whole characters"));
                }
            }
            ServerFrame::Rewind { offset, .. } => text.truncate(offset.0 as usize),
            other => panic!("{other:?}"),
        }
        cursor = next;
    }
}

#[test]
fn readers_at_any_offset_get_the_same_bytes() {
    let mut output = Output::new(RUN);
    output.append(0, BlockKind::Reasoning, "think ");
    output.append(1, BlockKind::Text, "héllo ");
    output.flush();
    output.append(1, BlockKind::Text, "😀");
    output.append(1, BlockKind::Text, " bye");
    output.end();
    let mut whole = String::new();
    assert!(read_all(&output, at(1, 0), &mut whole));
    assert_eq!(whole, "think héllo 😀 bye");
    for offset in (0..=whole.len()).filter(|offset| whole.is_char_boundary(*offset)) {
        let mut tail = String::new();
        assert!(read_all(&output, at(1, offset as u64), &mut tail));
        assert_eq!(tail, whole[offset..]);
    }
}

#[test]
fn readers_that_keep_up_share_one_encoding() {
    let mut output = Output::new(RUN);
    output.append(0, BlockKind::Text, "abc");
    output.flush();
    output.append(0, BlockKind::Text, "def");
    output.flush();
    let (Read::Frame { frame: one, .. }, Read::Frame { frame: two, .. }) =
        (output.read(at(1, 3)), output.read(at(1, 3)))
    else {
        panic!("both have something to read")
    };
    assert_eq!(one.as_ptr(), two.as_ptr());
}

#[test]
fn nothing_is_shown_before_a_flush_and_a_reader_ahead_waits() {
    let mut output = Output::new(RUN);
    output.append(0, BlockKind::Text, "abc");
    assert_eq!(output.read(at(1, 0)), Read::Wait);
    assert_eq!(output.length(), Offset(3));
    output.flush();
    assert_eq!(output.read(at(1, 100)), Read::Wait);
    assert_eq!(output.read(at(2, 0)), Read::Wait);
}

#[test]
fn an_older_epoch_is_rewound_to_the_lowest_later_start() {
    let starts = vec![(Epoch(2), Offset(4)), (Epoch(3), Offset(6))];
    let records = [(0, BlockKind::Text, Bytes::from_static(b"abcdefgh"))];
    let output = Output::stored(RUN, Epoch(3), starts, records, true);
    let rewound = |cursor| match output.read_records(cursor) {
        ReadRecords::Rewind { cursor } => cursor,
        other => panic!("{other:?}"),
    };
    assert_eq!(rewound(at(1, 8)), at(3, 4));
    assert_eq!(rewound(at(1, 2)), at(3, 2));
    assert_eq!(rewound(at(2, 8)), at(3, 6));
    let mut text = "abcdXXXX".to_owned();
    assert!(read_all(&output, at(1, 8), &mut text));
    assert_eq!(text, "abcdefgh");
}

#[test]
fn a_reader_far_behind_gets_bounded_frames() {
    let mut output = Output::new(RUN);
    for _ in 0..64 {
        output.append(0, BlockKind::Text, &"x".repeat(16 << 10));
        output.flush();
    }
    let Read::Frame { frame, next } = output.read(at(1, 0)) else { panic!("there is text") };
    assert!(frame.len() as u64 <= FRAME_BYTES_MAX + 1_024);
    assert_eq!(next, at(1, FRAME_BYTES_MAX));
}

#[test]
fn one_huge_record_is_cut_between_characters() {
    let text = "日本語😀".repeat(60_000);
    let mut output = Output::new(RUN);
    output.append(0, BlockKind::Text, &text);
    output.flush();
    let Read::Frame { frame, next } = output.read(at(1, 0)) else { panic!("there is text") };
    assert!(frame.len() as u64 <= FRAME_BYTES_MAX + 1_024);
    assert!(next.offset.0 > FRAME_BYTES_MAX - CHARACTER_BYTES_MAX);
    let mut whole = String::new();
    output.end();
    assert!(read_all(&output, at(1, 0), &mut whole));
    assert_eq!(whole, text);
    for bytes_max in 0..20 {
        let records = output.records_from(Offset(0), bytes_max);
        let taken = &records[0].bytes;
        assert!(taken.len() as u64 <= bytes_max.max(CHARACTER_BYTES_MAX) && !taken.is_empty());
        assert!(std::str::from_utf8(taken).is_ok());
    }
}

#[test]
fn an_output_takes_whole_characters_up_to_its_limit() {
    assert_eq!(fitting("héllo", Offset(0)), "héllo");
    assert_eq!(fitting("héllo", Offset(OUTPUT_BYTES_MAX - 2)), "h");
    assert_eq!(fitting("héllo", Offset(OUTPUT_BYTES_MAX - 3)), "hé");
    assert_eq!(fitting("héllo", Offset(OUTPUT_BYTES_MAX + 9)), "");
}

fn pieces(texts: &[&str]) -> Vec<(u32, BlockKind, Bytes)> {
    texts.iter().map(|text| (0, BlockKind::Text, Bytes::copy_from_slice(text.as_bytes()))).collect()
}

#[test]
fn what_was_shown_elsewhere_is_taken_once_however_often_it_is_told() {
    let mut output = Output::new(RUN);
    assert_eq!(output.take(Epoch(1), Offset(0), pieces(&["abc", "def"])), Taken::Grown);
    assert_eq!(output.take(Epoch(1), Offset(3), pieces(&["def"])), Taken::Known);
    assert_eq!(output.take(Epoch(1), Offset(4), pieces(&["ef", "gh"])), Taken::Grown);
    assert_eq!(output.take(Epoch(1), Offset(9), pieces(&["x"])), Taken::Gap);
    assert_eq!(output.take(Epoch(2), Offset(8), pieces(&["x"])), Taken::Gap, "its start is not known");
    output.withdraw(Epoch(2), Offset(8));
    assert_eq!(output.take(Epoch(1), Offset(8), pieces(&["stale"])), Taken::Known);
    let mut text = String::new();
    assert!(!read_all(&output, at(2, 0), &mut text));
    assert_eq!(text, "abcdefgh");
}

#[test]
fn readers_of_what_is_shown_elsewhere_share_one_encoding() {
    let mut output = Output::new(RUN);
    output.take(Epoch(1), Offset(0), pieces(&["abc"]));
    output.take(Epoch(1), Offset(2), pieces(&["c", "def"]));
    let (Read::Frame { frame: one, next }, Read::Frame { frame: two, .. }) =
        (output.read(at(1, 3)), output.read(at(1, 3)))
    else {
        panic!("both have something to read")
    };
    assert_eq!((one.as_ptr(), next), (two.as_ptr(), at(1, 6)));
}

#[test]
fn what_a_later_driver_did_not_find_is_withdrawn_from_every_reader() {
    let mut output = Output::new(RUN);
    output.take(Epoch(1), Offset(0), pieces(&["abcd", "efgh", "ijkl"]));
    output.withdraw(Epoch(2), Offset(6));
    assert_eq!(output.length(), Offset(6));
    output.take(Epoch(2), Offset(6), pieces(&["XY"]));
    for seen in 0..=12 {
        let mut text = "abcdefghijkl"[..seen].to_owned();
        assert!(!read_all(&output, at(1, seen as u64), &mut text));
        assert_eq!(text, "abcdefXY", "a reader that had {seen} bytes");
    }
    // A claim that begins ahead of what is known here withdraws nothing; a lower one that follows does.
    output.withdraw(Epoch(3), Offset(100));
    output.withdraw(Epoch(4), Offset(0));
    assert_eq!((output.length(), output.epoch()), (Offset(0), Epoch(4)));
    output.withdraw(Epoch(4), Offset(0));
    assert_eq!(output.read(at(1, 12)), output.read(at(3, 8)), "both go back to the beginning");
}

#[test]
fn what_a_driver_had_not_shown_goes_with_it() {
    let mut output = Output::new(RUN);
    output.append(0, BlockKind::Text, "shown");
    output.flush();
    output.append(0, BlockKind::Text, " and not");
    output.forget_pending();
    assert_eq!(output.take(Epoch(1), Offset(5), pieces(&[" and then"])), Taken::Grown);
    let mut text = String::new();
    read_all(&output, at(1, 0), &mut text);
    assert_eq!(text, "shown and then");
}
