//! Promptroom: a prompt is a room, and what more than one person sees is an entry in the room's log.
//!
//! Reading order: `domain` decides, `live` runs the tasks of this node, `store`, `bus` and `model` are the outside,
//! `edge` speaks HTTP and WebSocket, and `app` puts them together.

pub mod config;
pub mod app;
pub mod doctor;
pub mod copying;
pub mod telemetry;
pub mod domain;
pub mod live;
pub mod store;
pub mod bus;
pub mod model;
pub mod edge;
#[cfg(test)]
mod simulation;
