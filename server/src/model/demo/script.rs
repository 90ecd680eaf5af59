//! An answer as it is written: token by token, with the limits that the request sets.

use super::{
    Demo,
    passages::{Passage, Passages},
    words::token_bytes,
};
use crate::domain::prompt::ModelRequest;
use promptroom_protocol::{BlockKind, StopReason};

const CANNOT_CONTINUE: &str =
    "\n\n*The demo cannot go on from a text that it did not write; here is its whole answer.*\n\n";

/// About what a token of English takes, white space included.
const TOKEN_BYTES: usize = 6;

pub(super) enum Written {
    Text { block: u32, kind: BlockKind, text: String },
    End { reason: StopReason, sequence: Option<String> },
}

/// What is left to write, and what was written so far.
pub(super) struct Script {
    passages: Passages,
    current: Passage,
    /// Bytes of `current` that are written.
    at: usize,
    block: u32,
    begun: bool,
    /// Text that may be the beginning of a stop sequence.
    held: String,
    stop: Vec<String>,
    tokens_left: u64,
    tokens: [u64; 3],
    end: Option<(StopReason, Option<String>)>,
}

impl Script {
    pub(super) fn new(demo: Demo, request: &ModelRequest) -> Script {
        let mut passages = Passages::new(demo, request);
        let parameters = &request.parameters;
        let current = match request.prefill.as_deref().filter(|prefill| !prefill.is_empty()) {
            Some(prefill) => rest_after(prefill, &mut passages).unwrap_or_else(|| {
                passages = Passages::new(demo, request);
                Passage::text(CANNOT_CONTINUE)
            }),
            None => passages.next().unwrap_or_else(|| Passage::text("")),
        };
        Script {
            passages,
            current,
            at: 0,
            block: 0,
            begun: false,
            held: String::new(),
            stop: parameters.stop.iter().filter(|stop| !stop.is_empty()).cloned().collect(),
            tokens_left: parameters.max_tokens.map_or(u64::MAX, u64::from),
            tokens: [0; 3],
            end: None,
        }
    }

    pub(super) fn tokens_written(&self) -> u64 {
        self.tokens.iter().sum()
    }

    pub(super) fn tokens_of(&self, kind: BlockKind) -> u64 {
        self.tokens[kind as usize]
    }

    /// The next text of one block, of at most so many tokens, or the end.
    pub(super) fn write(&mut self, tokens: usize) -> Written {
        let mut text = String::new();
        loop {
            let kind = self.current.kind;
            let full = self.is_enough(&text, tokens);
            if (full || self.end.is_some()) && !text.is_empty() {
                self.begun = true;
                return Written::Text { block: self.block, kind, text };
            }
            if let Some((reason, sequence)) = self.end.take() {
                return Written::End { reason, sequence };
            }
            self.step(&mut text);
        }
    }

    fn is_enough(&mut self, text: &str, tokens: usize) -> bool {
        if self.current.kind == BlockKind::ToolCall || tokens == 1 {
            return !text.is_empty();
        }
        text.len() >= tokens * TOKEN_BYTES || self.changes_block()
    }

    /// Whether the next token belongs to another block than the last one.
    fn changes_block(&mut self) -> bool {
        self.at == self.current.text.len() && self.passages.next_opens_block()
    }

    /// Writes one token into `text`, or learns that there is none.
    fn step(&mut self, text: &mut String) {
        if self.at == self.current.text.len() {
            self.turn_page(text);
            return;
        }
        if self.tokens_left == 0 {
            text.push_str(&std::mem::take(&mut self.held));
            self.end = Some((StopReason::MaxTokens, None));
            return;
        }
        let rest = &self.current.text[self.at..];
        let bytes = if self.current.whole { rest.len() } else { token_bytes(rest) };
        let token = &rest[..bytes];
        self.at += bytes;
        self.tokens_left -= 1;
        self.tokens[self.current.kind as usize] += 1;
        if self.current.kind != BlockKind::Text || self.stop.is_empty() {
            text.push_str(token);
            return;
        }
        self.held.push_str(token);
        match release(&mut self.held, &self.stop) {
            Released::Text(free) => text.push_str(&free),
            Released::Stopped { before, sequence } => {
                text.push_str(&before);
                self.end = Some((StopReason::StopSequence, Some(sequence)));
            }
        }
    }

    fn turn_page(&mut self, text: &mut String) {
        let Some(next) = self.passages.peek() else {
            text.push_str(&std::mem::take(&mut self.held));
            self.end = Some((StopReason::End, None));
            return;
        };
        if next.opens_block && !self.held.is_empty() {
            // A stop sequence does not reach over the end of a block.
            text.push_str(&std::mem::take(&mut self.held));
            return;
        }
        if let Some(next) = self.passages.next() {
            self.block += u32::from(next.opens_block && self.begun);
            self.current = next;
            self.at = 0;
        }
    }
}

/// What comes after `prefill`, if the answer begins with it.
fn rest_after(prefill: &str, passages: &mut Passages) -> Option<Passage> {
    let mut wanted = prefill;
    while let Some(passage) = passages.next() {
        if passage.kind != BlockKind::Text {
            return None;
        }
        if let Some(rest) = wanted.strip_prefix(passage.text.as_str()) {
            wanted = rest;
            continue;
        }
        let rest = passage.text.strip_prefix(wanted)?;
        return Some(Passage::text(rest));
    }
    wanted.is_empty().then(|| Passage::text(""))
}

enum Released {
    Text(String),
    Stopped { before: String, sequence: String },
}

/// Gives up all of `held` that cannot be the beginning of a stop sequence.
fn release(held: &mut String, stop: &[String]) -> Released {
    let first =
        stop.iter().filter_map(|sequence| held.find(sequence.as_str()).map(|at| (at, sequence))).min();
    if let Some((at, sequence)) = first {
        let before = held[..at].to_owned();
        held.clear();
        return Released::Stopped { before, sequence: sequence.clone() };
    }
    let begins_stop = |at: usize| stop.iter().any(|sequence| sequence.starts_with(&held[at..]));
    let keep_from = held.char_indices().map(|(at, _)| at).find(|at| begins_stop(*at)).unwrap_or(held.len());
    let kept = held.split_off(keep_from);
    Released::Text(std::mem::replace(held, kept))
}
