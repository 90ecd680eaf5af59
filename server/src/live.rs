//! The tasks of this node. Decisions are the domain's; here is only who waits for what, and within which bounds.

pub mod clock;
pub mod slots;
pub mod tasks;
pub mod member;
pub mod room;
pub mod hub;
pub mod keeper;
pub mod runs;
mod start;
mod adrift;
mod commands;
mod hearing;
mod followed;
mod going;
mod handover;
mod heartbeat;
pub mod upkeep;
mod place;
mod recovery;
mod billing;
mod endings;
pub mod runner;
pub mod checkpoint;
pub mod tape;
pub mod reaper;
pub mod authority;
pub mod poll;
pub mod ears;
pub mod heads;
#[cfg(test)]
mod nodes_tests;
#[cfg(test)]
mod test_faults;
#[cfg(test)]
mod test_node;
#[cfg(test)]
mod runs_tests;
#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod takeover_tests;
