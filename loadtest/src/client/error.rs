//! Why a member cannot go on.

use crate::run_reader::BrokenStream;
use promptroom_protocol::{FrameError, Problem};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Error as WebSocketError;

/// What a browser reports when there was no closing handshake.
pub const NO_HANDSHAKE: u16 = 1006;

/// Why a member cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the server closed the socket: {code} {reason}")]
    Closed { code: u16, reason: String },
    #[error("the server answered the handshake with {status}: {body}")]
    Refused { status: u16, body: String },
    #[error("no {wanted} within {after:?}")]
    Late { wanted: &'static str, after: Duration },
    #[error("{0:?}")]
    Problem(Box<Problem>),
    #[error("a frame could not be read: {0}")]
    Frame(#[from] FrameError),
    #[error("the run's stream is broken: {0}")]
    Stream(#[from] BrokenStream),
    #[error("the connection failed: {0}")]
    Connection(#[from] Box<WebSocketError>),
}

impl From<WebSocketError> for ClientError {
    fn from(error: WebSocketError) -> Self {
        match error {
            WebSocketError::Http(response) => {
                let body =
                    response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
                ClientError::Refused { status: response.status().as_u16(), body }
            }
            WebSocketError::ConnectionClosed | WebSocketError::AlreadyClosed => {
                ClientError::Closed { code: NO_HANDSHAKE, reason: String::new() }
            }
            error => ClientError::Connection(Box::new(error)),
        }
    }
}

impl From<std::io::Error> for ClientError {
    fn from(error: std::io::Error) -> Self {
        ClientError::Connection(Box::new(WebSocketError::Io(error)))
    }
}
