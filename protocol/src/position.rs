//! The two cursors that leave a node: a document's `seq`, and a run's (epoch, offset).

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A committed row of a room's document, counted from 1 and given by the database; 0 is "nothing yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// Who drives a run, counted from 1; each claim by another driver raises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    pub const FIRST: Epoch = Epoch(1);

    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

/// The number of the next UTF-8 byte wanted of a run's output, counted over all of its blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

/// What a reader of a run presents to go on: nothing before `offset` is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunCursor {
    pub epoch: Epoch,
    pub offset: Offset,
}

impl RunCursor {
    pub const START: RunCursor = RunCursor { epoch: Epoch::FIRST, offset: Offset(0) };
}

/// `epoch:offset`, as in the `id:` field of a server-sent event.
impl fmt::Display for RunCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch.0, self.offset.0)
    }
}

/// The text is not `epoch:offset` with an epoch of at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run cursor is `epoch:offset`, for example `1:0`")]
pub struct BadCursor;

impl FromStr for RunCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (epoch, offset) = text.split_once(':').ok_or(BadCursor)?;
        let epoch: u32 = epoch.parse().map_err(|_| BadCursor)?;
        let offset: u64 = offset.parse().map_err(|_| BadCursor)?;
        if epoch == 0 {
            return Err(BadCursor);
        }
        Ok(RunCursor { epoch: Epoch(epoch), offset: Offset(offset) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_writes() {
        let cursor = RunCursor { epoch: Epoch(3), offset: Offset(12_345) };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn a_cursor_that_is_not_one_is_refused() {
        for text in ["", "1", "0:5", "1:-1", "1:2:3", "x:1", "4294967296:1"] {
            assert_eq!(text.parse::<RunCursor>(), Err(BadCursor), "{text}");
        }
    }
}
