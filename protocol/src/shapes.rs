//! The JSON inside our own frames, and in the HTTP API where it shows the same things.

use crate::{CommandId, Epoch, LineageId, MemberId, Offset, PromptId, RequestId, RunId, Seq};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// First frame of a `?v=1` socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
    pub prompt: PromptId,
    pub slug: String,
    pub lineage: LineageId,
    /// The newest row of the document that is durable.
    pub head: Seq,
    pub me: Person,
    pub rights: Rights,
    /// The socket's own id, as in the logs; show it with a problem.
    pub request_id: RequestId,
    pub limits: Limits,
    /// The newest runs of the room, newest first, at most 50.
    pub runs: Vec<RunSummary>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub id: MemberId,
    pub name: String,
    pub role: Role,
    /// The client id of the person's Yjs document in this room, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<u64>,
}

/// Workspace roles, from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Runner,
    Editor,
    Admin,
    Owner,
}

impl Role {
    pub fn rights(self) -> Rights {
        Rights { edit: self >= Role::Editor, run: self >= Role::Runner, manage: self >= Role::Admin }
    }

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Runner => "runner",
            Role::Editor => "editor",
            Role::Admin => "admin",
            Role::Owner => "owner",
        }
    }

    pub fn parse(text: &str) -> Option<Role> {
        [Role::Viewer, Role::Runner, Role::Editor, Role::Admin, Role::Owner]
            .into_iter()
            .find(|role| role.name() == text)
    }
}

/// What a member may do in one prompt; seeing it is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    pub edit: bool,
    pub run: bool,
    pub manage: bool,
}

/// Bounds that a client can keep to, so that it is never cut off for crossing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub message_bytes: u64,
    pub document_bytes: u64,
    pub awareness_bytes: u64,
    pub watched_runs: u32,
}

/// A run as everybody in the room sees it; the output itself is read by watching.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    pub id: RunId,
    pub prompt: PromptId,
    /// Counted per prompt, from 1.
    pub number: u32,
    pub origin: RunOrigin,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    pub by: Person,
    pub variant: String,
    /// `lane/model`
    pub model: String,
    pub state: RunState,
    pub epoch: Epoch,
    /// Bytes of output so far as far as this summary knows; final once the state is terminal.
    pub bytes: Offset,
    /// Hash of the exact request: what ran.
    pub hash: String,
    pub parameters: serde_json::Value,
    pub created_at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueuePlace>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// The stop sequence that was met, where the provider says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<Person>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Nanodollars>,
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seams: Vec<Seam>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Where a run came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOrigin {
    Run,
    Regenerate,
    Continue,
}

/// The first terminal state wins and stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Queued,
    Admitted,
    Streaming,
    Recovering,
    Completed,
    Truncated,
    Cancelled,
    Failed,
    Interrupted,
    Rejected,
}

impl RunState {
    pub const ALL: [RunState; 10] = [
        RunState::Queued,
        RunState::Admitted,
        RunState::Streaming,
        RunState::Recovering,
        RunState::Completed,
        RunState::Truncated,
        RunState::Cancelled,
        RunState::Failed,
        RunState::Interrupted,
        RunState::Rejected,
    ];

    pub fn is_terminal(self) -> bool {
        !matches!(self, RunState::Queued | RunState::Admitted | RunState::Streaming | RunState::Recovering)
    }

    pub fn name(self) -> &'static str {
        match self {
            RunState::Queued => "queued",
            RunState::Admitted => "admitted",
            RunState::Streaming => "streaming",
            RunState::Recovering => "recovering",
            RunState::Completed => "completed",
            RunState::Truncated => "truncated",
            RunState::Cancelled => "cancelled",
            RunState::Failed => "failed",
            RunState::Interrupted => "interrupted",
            RunState::Rejected => "rejected",
        }
    }

    pub fn parse(text: &str) -> Option<RunState> {
        RunState::ALL.into_iter().find(|state| state.name() == text)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePlace {
    /// 1 is next.
    pub position: u32,
    pub waiting: u32,
    /// What is full: a sentence for people.
    pub reason: String,
}

/// Why the model stopped, in words that all providers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    End,
    StopSequence,
    MaxTokens,
    ToolCalls,
    Refusal,
    Pause,
    ContextFull,
    ContentFilter,
}

/// Tokens of a run over all its attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub input_tokens: u64,
    pub cached_input_tokens: u64,
    pub output_tokens: u64,
    /// Part of `output_tokens`, where the provider says.
    pub reasoning_tokens: u64,
    /// Whether any part is our estimate, because the provider did not say.
    pub estimated: bool,
}

/// Integer billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nanodollars(pub i64);

/// A place in the output where the stream was broken and taken up again by a new attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seam {
    pub epoch: Epoch,
    pub offset: Offset,
    pub at_ms: u64,
    /// How long nothing arrived.
    pub gap_ms: u64,
}

/// What a block of output is; the byte in a `records` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum BlockKind {
    Text = 0,
    Reasoning = 1,
    /// One line of JSON, `{"id":…,"name":…}`, then the arguments as the model wrote them.
    ToolCall = 2,
}

impl BlockKind {
    pub fn from_byte(byte: u8) -> Option<BlockKind> {
        [BlockKind::Text, BlockKind::Reasoning, BlockKind::ToolCall]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }

    pub fn name(self) -> &'static str {
        match self {
            BlockKind::Text => "text",
            BlockKind::Reasoning => "reasoning",
            BlockKind::ToolCall => "tool_call",
        }
    }
}

/// Something done on purpose, once, however often it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    pub id: CommandId,
    #[serde(flatten)]
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    Run {
        /// A variant's id; the first one if absent.
        #[serde(default)]
        variant: Option<String>,
        /// The input set whose values fill the variables.
        #[serde(default)]
        inputs: Option<String>,
        #[serde(default)]
        overrides: Overrides,
    },
    Cancel {
        run: RunId,
    },
    Regenerate {
        run: RunId,
    },
    Continue {
        run: RunId,
    },
}

/// Values for one run only; the draft stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Parameters by name, laid over the variant's.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Variables by name, laid over the input set's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    pub id: CommandId,
    #[serde(flatten)]
    pub body: ReplyBody,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyBody {
    Ok { run: Box<RunSummary> },
    Error(Box<Problem>),
}

/// RFC 9457, with what is kept and what to do next; the same over HTTP, in frames and in a failed run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Always `about:blank`; `code` is what to switch on.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// Stable, dotted: `run.queue_full`.
    pub code: String,
    /// What happened.
    pub detail: String,
    /// What is kept, and what it cost.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kept: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
