//! The tasks of this node. Decisions are the domain's; here is only who waits for what, and within which bounds.

pub mod clock;
pub mod tasks;
pub mod member;
pub mod room;
pub mod hub;
pub mod keeper;
pub mod runs;
pub mod runner;
pub mod checkpoint;
pub mod tape;
pub mod reaper;
pub mod authority;
