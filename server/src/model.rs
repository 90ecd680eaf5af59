//! The models: lanes to providers, and what a model says while it answers.
//!
//! A lane is one endpoint with one key. Adapters turn a request into the provider's JSON and the provider's
//! events into ours; they never retry, never follow a redirect and never queue: that is for their callers.

mod models;
mod event;
mod error;
mod lane;
mod lane_config;
mod lanes_file;
mod secret;
mod catalog;
mod listing;
mod demo;
mod anthropic;
mod openai;
mod decoder;
mod stream;
mod http;
mod trouble;
mod sse;
mod watch;
#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod provider_double;
#[cfg(test)]
mod recorded_tests;
#[cfg(test)]
mod wire_tests;
#[cfg(test)]
mod listing_tests;
#[cfg(test)]
mod demo_tests;

pub use error::{ModelError, ModelErrorKind};
pub use event::ModelEvent;
pub use lane_config::{
    CancelBehaviour, ConfigProblem, LaneConfig, LaneInfo, LaneModel, ModelsConfig, PrefillStyle,
    ProviderConfig,
};
pub use lanes_file::parse_lanes;
pub use models::{Model, ModelInfo, ModelStream, Models};
pub use secret::Secret;
