//! A run's states: what ends it how, and what becomes of it when its driver is gone.

use crate::domain::prompt::{ModelRequest, PromptContent};
use promptroom_protocol::{BlockKind, Epoch, Offset, RunState, RunSummary, StopReason};
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, collections::BTreeMap};

/// All that a run was cut from, kept with it: enough to run it again and to restore the draft.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub content: PromptContent,
    pub variant: String,
    pub values: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
    pub request: ModelRequest,
}

/// The terminal state of a run whose model stopped by itself.
pub fn stopped(reason: StopReason) -> RunState {
    match reason {
        StopReason::MaxTokens | StopReason::ContextFull => RunState::Truncated,
        StopReason::End
        | StopReason::StopSequence
        | StopReason::ToolCalls
        | StopReason::Refusal
        | StopReason::Pause
        | StopReason::ContentFilter => RunState::Completed,
    }
}

/// How far a run has come: a later one is never followed by an earlier one.
///
/// The first terminal state stays; then a later driver counts more, then the state within what it drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stage {
    is_over: bool,
    epoch: Epoch,
    step: u8,
}

impl Stage {
    pub fn new(epoch: Epoch, state: RunState) -> Stage {
        let step = match state {
            RunState::Queued => 0,
            RunState::Recovering => 1,
            RunState::Admitted => 2,
            RunState::Streaming => 3,
            RunState::Completed
            | RunState::Truncated
            | RunState::Cancelled
            | RunState::Failed
            | RunState::Interrupted
            | RunState::Rejected => 4,
        };
        Stage { is_over: state.is_terminal(), epoch, step }
    }

    pub fn of(run: &RunSummary) -> Stage {
        Stage::new(run.epoch, run.state)
    }
}

/// Whether `other` tells more of the same run than `known`, from whomever both come and in whichever order.
pub fn is_newer(known: &RunSummary, other: &RunSummary) -> bool {
    let told = |run: &RunSummary| {
        let is_settled = run.cost.is_some() && run.usage.is_some_and(|usage| !usage.estimated);
        let tokens = run.usage.map_or(0, |usage| usage.output_tokens);
        (Stage::of(run), run.bytes, run.attempts, is_settled, run.cost.is_some(), tokens)
    };
    match told(other).cmp(&told(known)) {
        Ordering::Greater => true,
        Ordering::Less => false,
        // Only its driver knows its place in the queue and why it pauses: the row that lacks them is not newer.
        Ordering::Equal => {
            let differs = (&other.queue, &other.problem) != (&known.queue, &known.problem);
            differs && (other.queue.is_some() || other.problem.is_some())
        }
    }
}

/// What becomes of a run whose driver died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing was received and it was not begun again before: begin again.
    Restart,
    /// The model goes on from this text; what is stored after `trim_to` is withdrawn.
    Prefill { text: String, trim_to: Offset },
    /// What there is, is kept.
    Interrupt,
}

/// Decides by what is stored. Only one plain text block can be continued, only where the model is known to accept
/// it, and from before trailing white space, which some refuse.
pub fn recover(blocks: &[(u32, BlockKind, &[u8])], attempts: u32, prefill_accepted: bool) -> Recovery {
    if blocks.is_empty() {
        return if attempts <= 1 { Recovery::Restart } else { Recovery::Interrupt };
    }
    let first = blocks[0].0;
    let plain = blocks.iter().all(|(block, kind, _)| *block == first && *kind == BlockKind::Text);
    if !plain || !prefill_accepted {
        return Recovery::Interrupt;
    }
    let bytes: Vec<u8> = blocks.iter().flat_map(|(_, _, bytes)| bytes.iter().copied()).collect();
    let Ok(text) = String::from_utf8(bytes) else { return Recovery::Interrupt };
    let kept = text.trim_end();
    if kept.is_empty() {
        return Recovery::Interrupt;
    }
    Recovery::Prefill { text: kept.to_owned(), trim_to: Offset(kept.len() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promptroom_protocol::{Nanodollars, QueuePlace, Usage};

    const TEXT: BlockKind = BlockKind::Text;

    #[test]
    fn plain_text_is_continued_from_before_its_trailing_white_space() {
        let blocks: [(u32, BlockKind, &[u8]); 2] = [(0, TEXT, "Grüße ".as_bytes()), (0, TEXT, b"all \n")];
        let expected = Recovery::Prefill { text: "Grüße all".to_owned(), trim_to: Offset(11) };
        assert_eq!(recover(&blocks, 1, true), expected);
        assert_eq!(recover(&blocks, 1, false), Recovery::Interrupt);
    }

    #[test]
    fn anything_but_one_plain_block_is_interrupted() {
        let reasoned: [(u32, BlockKind, &[u8]); 2] = [(0, BlockKind::Reasoning, b"hm"), (1, TEXT, b"so")];
        assert_eq!(recover(&reasoned, 1, true), Recovery::Interrupt);
        let white: [(u32, BlockKind, &[u8]); 1] = [(0, TEXT, b" \n")];
        assert_eq!(recover(&white, 1, true), Recovery::Interrupt);
    }

    #[test]
    fn a_run_begins_again_only_when_nothing_came_and_only_once() {
        assert_eq!(recover(&[], 1, false), Recovery::Restart);
        assert_eq!(recover(&[], 2, true), Recovery::Interrupt);
    }

    fn summary(state: RunState, epoch: u32, bytes: u64) -> RunSummary {
        let json = serde_json::json!({
            "id": uuid::Uuid::nil(), "prompt": uuid::Uuid::nil(), "number": 1, "origin": "run",
            "by": { "id": uuid::Uuid::nil(), "name": "Ann", "role": "editor" }, "variant": "main",
            "model": "demo/markdown", "state": state, "epoch": epoch, "bytes": bytes, "hash": "",
            "parameters": {}, "created_at_ms": 1, "attempts": 1
        });
        serde_json::from_value(json).expect("a summary")
    }

    #[test]
    fn a_later_driver_counts_more_than_a_later_state_and_an_end_most() {
        let rising = [
            summary(RunState::Queued, 1, 0),
            summary(RunState::Admitted, 1, 0),
            summary(RunState::Streaming, 1, 5),
            summary(RunState::Streaming, 1, 9),
            summary(RunState::Recovering, 2, 7),
            summary(RunState::Streaming, 2, 8),
            summary(RunState::Completed, 2, 8),
        ];
        for (place, earlier) in rising.iter().enumerate() {
            assert!(!is_newer(earlier, earlier), "the same says nothing new");
            for later in &rising[place + 1..] {
                assert!(is_newer(earlier, later) && !is_newer(later, earlier), "{later:?}");
            }
        }
        let stale = summary(RunState::Streaming, 3, 100);
        assert!(!is_newer(&summary(RunState::Interrupted, 2, 8), &stale), "the first end stays");
    }

    #[test]
    fn what_a_run_came_to_is_newer_than_its_estimate_and_never_the_other_way_round() {
        let usage = |estimated| Usage {
            input_tokens: 1,
            cached_input_tokens: 0,
            output_tokens: 5,
            reasoning_tokens: 0,
            estimated,
        };
        let over = |estimated, cost| RunSummary {
            usage: Some(usage(estimated)),
            cost,
            ..summary(RunState::Cancelled, 1, 5)
        };
        let open = over(true, None);
        let settled = over(false, Some(Nanodollars(3)));
        assert!(is_newer(&open, &settled) && !is_newer(&settled, &open));
    }

    #[test]
    fn only_its_driver_tells_where_a_run_waits() {
        let row = summary(RunState::Queued, 1, 0);
        let queue = QueuePlace { position: 2, waiting: 3, reason: "full".to_owned() };
        let waiting = RunSummary { queue: Some(queue), ..row.clone() };
        assert!(is_newer(&row, &waiting) && !is_newer(&waiting, &row));
    }
}
