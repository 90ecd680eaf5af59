//! What a model says while it answers, in words that all providers share.

use crate::domain::ledger::UsageReport;
use promptroom_protocol::{BlockKind, StopReason};

/// One thing that arrived from a model.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelEvent {
    /// Text of a block, never empty, in whole characters; blocks are numbered from 0 in order of arrival.
    /// The first delta of a tool call is one line, `{"id":…,"name":…}\n`.
    Delta { block: u32, kind: BlockKind, text: String },
    /// Cumulative; the latest one wins.
    Usage(UsageReport),
    /// The model has ended by itself; the last event of a stream.
    Stop { reason: StopReason, sequence: Option<String> },
}
