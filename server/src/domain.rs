//! What the product decides, without doing anything: pure and synchronous, time and ids are passed in.

pub mod document;
pub mod log;
pub mod output;
pub mod presence;
pub mod prompt;
pub mod rights;
pub mod run;
pub mod watch;
pub mod gate;
pub mod ledger;
pub mod refusal;
