//! The tasks of this node. Decisions are the domain's; here is only who waits for what, and within which bounds.

pub mod clock;
pub mod slots;
pub mod tasks;
pub mod member;
pub mod room;
pub mod hub;
pub mod keeper;
pub mod runs;
mod commands;
mod place;
mod recovery;
mod billing;
mod endings;
pub mod runner;
pub mod checkpoint;
pub mod tape;
pub mod reaper;
pub mod authority;
pub mod heads;
#[cfg(test)]
mod runs_tests;
