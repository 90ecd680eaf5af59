//! Rows of ours above the newest one up to which all are known, until those between have come.

use super::{Position, TooFarAhead};
use promptroom_protocol::Seq;
use std::collections::BTreeMap;

/// Commits of ours that landed apart from each other while nothing of others came.
const STRETCHES_MAX: usize = 1_024;

/// Stretches of rows without a gap: the first row → the last one, and the position up to which all of them stand.
#[derive(Debug, Default)]
pub struct Ahead(BTreeMap<Seq, (Seq, Position)>);

impl Ahead {
    pub fn insert(&mut self, first: Seq, last: Seq, position: Position) -> Result<(), TooFarAhead> {
        if let Some((_, (end, at))) = self.0.range_mut(..first).next_back()
            && end.0 + 1 == first.0
        {
            *end = last;
            *at = position.max(*at);
            return Ok(());
        }
        if self.0.len() >= STRETCHES_MAX {
            return Err(TooFarAhead);
        }
        self.0.insert(first, (last, position));
        Ok(())
    }

    /// The stretch that begins after `head`: its last row, and the position up to which all of it stands.
    pub fn take_next(&mut self, head: Seq) -> Option<(Seq, Position)> {
        self.0.remove(&Seq(head.0 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_that_follow_each_other_are_one_stretch_and_stretches_are_bounded() {
        let mut ahead = Ahead::default();
        for seq in (1..=STRETCHES_MAX as u64).map(|number| 10 * number) {
            assert_eq!(ahead.insert(Seq(seq), Seq(seq), Position(seq)), Ok(()));
            assert_eq!(ahead.insert(Seq(seq + 1), Seq(seq + 1), Position(seq + 1)), Ok(()));
        }
        assert_eq!(ahead.insert(Seq(1), Seq(1), Position(1)), Err(TooFarAhead));
        assert_eq!(ahead.take_next(Seq(8)), None);
        assert_eq!(ahead.take_next(Seq(9)), Some((Seq(11), Position(11))));
    }
}
