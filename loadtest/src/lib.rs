//! Headless members, a model's double, and load: how Promptroom is measured and, in its tests, met from outside.
//!
//! For tests: [`client`] is a member of a room, [`run_reader`] and [`events`] read a run, [`http`] speaks to the
//! API, [`upstream`] is the model. For load: [`relay`] and [`raw_relay`] are what everything is compared with,
//! `shapes` the loads, [`bench`] runs them and prints one table.

pub mod clock;
pub mod tasks;
pub mod socket;
pub mod edits;
pub mod client;
pub mod run_reader;
pub mod http;
pub mod events;
pub mod upstream;
pub mod relay;
pub mod raw_relay;
pub mod process;
pub mod latency;
pub mod disk;
pub mod services;
pub mod target;
pub mod subject;
pub mod cluster;
pub mod report;
pub mod shapes;
pub mod bench;
