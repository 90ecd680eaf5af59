//! A run's states: what ends it how, and what becomes of it when its driver is gone.

use crate::domain::prompt::{ModelRequest, PromptContent};
use promptroom_protocol::{BlockKind, Offset, RunState, StopReason};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
}
