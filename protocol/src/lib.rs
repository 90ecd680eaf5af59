//! The contract between a room and whoever talks to it: frames, positions and ids, and nothing else.
//!
//! `PROTOCOL.md` says in words what this crate says in types; the golden frames in `vectors/` are read by
//! the Rust tests here and by the page's own tests.

mod ids;
mod position;
mod varint;
mod shapes;
mod close;
mod frame;

pub use close::CloseCode;
pub use frame::{ClientFrame, FrameError, RecordsFrame, ServerFrame, SyncStep};
pub use ids::{CommandId, LineageId, MemberId, PromptId, RequestId, RunId};
pub use position::{Epoch, Offset, RunCursor, Seq};
pub use shapes::{
    Action, BlockKind, Command, Hello, Limits, Nanodollars, Overrides, Person, Problem, QueuePlace, Reply,
    ReplyBody, Rights, Role, RunOrigin, RunState, RunSummary, Seam, StopReason, Usage,
};
pub use varint::{Reader, put_bytes, put_varint};

/// The version of our own frames; sent in `hello`, asked for with `?v=1`.
pub const VERSION: u32 = 1;
