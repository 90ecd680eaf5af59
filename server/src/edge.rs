//! Everything that speaks HTTP or WebSocket: the only module that knows axum.

pub mod routes;
pub mod serve;
pub mod state;
pub mod address;
pub mod auth;
pub mod problem;
pub mod admission;
pub mod session;
pub mod seat;
pub mod outgoing;
pub mod socket;
pub mod signin;
pub mod members;
pub mod prompts;
pub mod runs;
pub mod events;
pub mod models;
pub mod health;
pub mod page;
