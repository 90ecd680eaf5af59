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

pub use api::Api;
pub use closing::close_code;
pub use document::Document;
pub use http_client::http_client;
pub use member::{Member, markers_in};
pub use proxy::FaultProxy;
pub use random::{rounds, seeded};
pub use server::{Server, ServerSettings};
pub use wait::{PATIENCE, until};
pub use write_lock::WriteLock;
pub use yjs::yjs_text;
