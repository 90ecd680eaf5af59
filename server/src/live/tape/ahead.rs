//! Output of another node that came before what stands in front of it. It waits here until that is read from the store:
//! the store is always a little behind, so a tape that took only what fits at once would hardly ever catch up.

use crate::bus::Piece;
use crate::domain::output::{Output, Taken};
use bytes::Bytes;
use promptroom_protocol::{Epoch, Offset};
use std::collections::VecDeque;

/// Seconds of a fast model. The oldest goes first, as the store has it sooner.
const BYTES_MAX: usize = 256 << 10;

#[derive(Default)]
pub struct Ahead {
    notes: VecDeque<Shown>,
    bytes: usize,
}

struct Shown {
    epoch: Epoch,
    offset: Offset,
    pieces: Vec<Piece>,
}

impl Shown {
    fn bytes(&self) -> usize {
        self.pieces.iter().map(|piece| size_of::<Piece>() + piece.bytes.len()).sum()
    }
}

impl Ahead {
    pub fn put(&mut self, epoch: Epoch, offset: Offset, pieces: Vec<Piece>) {
        // What is heard is a slice of a larger buffer.
        let own = |piece: Piece| Piece { bytes: Bytes::copy_from_slice(&piece.bytes), ..piece };
        self.keep(Shown { epoch, offset, pieces: pieces.into_iter().map(own).collect() });
    }

    fn keep(&mut self, shown: Shown) {
        self.bytes += shown.bytes();
        self.notes.push_back(shown);
        while self.bytes > BYTES_MAX
            && let Some(oldest) = self.notes.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
    }

    /// Adds to `output` what fits by now.
    pub fn give(&mut self, output: &mut Output) {
        if self.notes.is_empty() {
            return;
        }
        let Ahead { notes, .. } = std::mem::take(self);
        for Shown { epoch, offset, pieces } in notes {
            if take(output, epoch, offset, &pieces) == Taken::Gap {
                self.keep(Shown { epoch, offset, pieces });
            }
        }
    }

    pub fn clear(&mut self) {
        *self = Ahead::default();
    }
}

pub fn take(output: &mut Output, epoch: Epoch, offset: Offset, pieces: &[Piece]) -> Taken {
    output.take(epoch, offset, pieces.iter().map(|piece| (piece.block, piece.kind, piece.bytes.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptroom_protocol::{BlockKind, RunId};
    use uuid::Uuid;

    fn text(text: &str) -> Vec<Piece> {
        vec![Piece { block: 0, kind: BlockKind::Text, bytes: Bytes::copy_from_slice(text.as_bytes()) }]
    }

    fn output(shown: &str) -> Output {
        let mut output = Output::new(RunId(Uuid::nil()));
        assert_eq!(take(&mut output, Epoch(1), Offset(0), &text(shown)), Taken::Grown);
        output
    }

    fn shown(output: &Output) -> String {
        let records = output.records_from(Offset(0), u64::MAX);
        records.iter().map(|record| String::from_utf8(record.bytes.to_vec()).unwrap()).collect()
    }

    #[test]
    fn what_came_too_early_is_added_once_what_stands_before_it_is_there() {
        let (mut output, mut ahead) = (output("one "), Ahead::default());
        for (offset, part) in [(8, "three "), (14, "four ")] {
            assert_eq!(take(&mut output, Epoch(1), Offset(offset), &text(part)), Taken::Gap);
            ahead.put(Epoch(1), Offset(offset), text(part));
        }
        ahead.give(&mut output);
        assert_eq!(shown(&output), "one ", "something is still missing");
        // The store has a part of what was heard, too.
        assert_eq!(take(&mut output, Epoch(1), Offset(4), &text("two thr")), Taken::Grown);
        ahead.give(&mut output);
        assert_eq!(shown(&output), "one two three four ");
        assert!(ahead.notes.is_empty() && ahead.bytes == 0);
    }

    #[test]
    fn what_a_driver_showed_that_is_no_more_is_forgotten() {
        let (mut output, mut ahead) = (output("one "), Ahead::default());
        ahead.put(Epoch(1), Offset(8), text("three "));
        ahead.put(Epoch(2), Offset(2), text("ly "));
        output.withdraw(Epoch(2), Offset(2));
        ahead.give(&mut output);
        assert_eq!(shown(&output), "only ");
        assert!(ahead.notes.is_empty());
    }

    #[test]
    fn it_is_bounded_and_keeps_the_newest() {
        let mut ahead = Ahead::default();
        for number in 0..1_000 {
            ahead.put(Epoch(1), Offset(1_000 + number * 1_000), text(&"x".repeat(1_000)));
        }
        assert!(ahead.bytes <= BYTES_MAX, "{}", ahead.bytes);
        assert_eq!(ahead.notes.back().map(|shown| shown.offset), Some(Offset(1_000_000)));
        assert_eq!(ahead.bytes, ahead.notes.iter().map(Shown::bytes).sum::<usize>());
        assert!(ahead.notes.len() > 200);
    }
}
