//! What the tests stand on: real servers that can be killed, faults between them and the world, and a second
//! engine to check documents with. The tests themselves are in `it/`.

mod wait;
mod server;
mod api;
mod http_client;
mod document;
mod member;
mod closing;
mod proxy;
mod write_lock;
mod random;
mod yjs;
mod postgres;
mod redis;
mod sql;
mod cluster;
mod ledger;
mod balancer;
mod traveller;
mod viewing;
mod crowd;

pub use api::Api;
pub use balancer::Balancer;
pub use closing::close_code;
pub use cluster::{Cluster, ClusterSettings, Node};
pub use crowd::{Crowd, Place};
pub use document::Document;
pub use http_client::{http_client, http_client_from};
pub use ledger::ensure_charged_as_counted;
pub use member::{Member, markers_in};
pub use postgres::Postgres;
pub use proxy::{FaultProxy, Way};
pub use random::{minutes, rounds, seeded};
pub use redis::{Redis, free_address};
use server::last_lines;
pub use server::{Build, Server, ServerSettings};
pub use sql::{RowLock, Sql};
pub use traveller::{Traveller, Welcome};
pub use viewing::{is_away, view_from, view_to_end};
pub use wait::{PATIENCE, until};
pub use write_lock::WriteLock;
pub use yjs::yjs_text;
