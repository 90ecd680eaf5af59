//! A model for which a test answers, in the same process and by the same clock.

use super::{ModelError, ModelEvent};
use crate::domain::prompt::ModelRequest;
use std::pin::Pin;

pub(crate) type Told<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(crate) trait Upstream: Send + Sync {
    /// The request has left; resolves when the answer begins.
    fn call<'a>(&'a self, request: &'a ModelRequest) -> Told<'a, Result<Box<dyn Answer>, ModelError>>;
}

/// An answer as it arrives; dropping it is hanging up.
pub(crate) trait Answer: Send {
    /// As of a `ModelStream`: cancel-safe.
    fn next(&mut self) -> Told<'_, Option<Result<ModelEvent, ModelError>>>;
}
