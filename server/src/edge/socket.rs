//! A WebSocket with its bounds: small buffers, limited messages, and a limit on every wait.

#[cfg(test)]
pub(crate) mod simulated;

use crate::domain::refusal::Refusal;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use bytes::Bytes;
#[cfg(test)]
use futures_util::FutureExt as _;
use futures_util::{
    SinkExt,
    future::{BoxFuture, Either},
};
use promptroom_protocol::{RequestId, ServerFrame};
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, error::ProtocolError};

/// Kept per connection for as long as it is open, so it is small; larger messages grow it for as long as they last.
const READ_BUFFER: usize = 1 << 10;
/// Frames are gathered up to this before the system is called.
const WRITE_BUFFER: usize = 512;
const WRITE_BUFFER_MAX: usize = 64 << 20;
/// A reader that takes nothing for this long is gone.
const PROGRESS_LIMIT: Duration = Duration::from_secs(30);
/// How long the other side has to answer our close.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
const CLOSE_REASON_BYTES_MAX: usize = 120;

pub struct Socket(Wire);

#[cfg_attr(test, allow(clippy::large_enum_variant, reason = "outside of tests there is only one"))]
enum Wire {
    Web(WebSocket),
    #[cfg(test)]
    Simulated(Box<simulated::Line>),
}

/// Why nothing can be sent any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    Gone,
    /// The other side takes nothing, or too little.
    Stuck,
}

/// What came in.
pub enum Incoming {
    Frame(Bytes),
    /// A ping or a pong: a sign of life.
    Life,
    /// Text, which this protocol does not know.
    Text,
}

pub fn bounded(upgrade: WebSocketUpgrade, message_bytes: usize) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(WRITE_BUFFER_MAX)
        .max_message_size(message_bytes)
        .max_frame_size(message_bytes)
}

impl Socket {
    pub fn new(socket: WebSocket) -> Self {
        Socket(Wire::Web(socket))
    }

    #[cfg(test)]
    pub(crate) fn simulated(line: simulated::Line) -> Self {
        Socket(Wire::Simulated(Box::new(line)))
    }

    /// The next message; cancel-safe. A broken or oversized one is an end like any other, with its reason.
    pub async fn next(&mut self) -> Result<Incoming, Option<Refusal>> {
        match self.0.recv().await {
            Some(Ok(Message::Binary(bytes))) => Ok(Incoming::Frame(bytes)),
            Some(Ok(Message::Text(_))) => Ok(Incoming::Text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(Incoming::Life),
            Some(Ok(Message::Close(_))) | None => Err(None),
            Some(Err(error)) => Err(broken(error)),
        }
    }

    /// Puts a frame into the write buffer, waiting while that is full.
    pub async fn feed(&mut self, frame: Bytes) -> Result<(), Stopped> {
        within(self.0.feed(Message::Binary(frame))).await
    }

    pub async fn flush(&mut self) -> Result<(), Stopped> {
        within(self.0.flush()).await
    }

    pub async fn ping(&mut self) -> Result<(), Stopped> {
        within(self.0.send(Message::Ping(Bytes::new()))).await
    }

    /// Says why, closes, and waits a moment for the other side, so that the reason is not lost in a reset.
    pub async fn close(mut self, refusal: &Refusal, request_id: RequestId, versioned: bool) {
        let problem = refusal.problem(Some(request_id));
        let mut reason = format!("{}: {}", problem.code, problem.title);
        reason.truncate(reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX));
        let closing = async {
            if !versioned && matches!(refusal, Refusal::Forbidden { .. }) {
                // What y-websocket's own frames have for it.
                self.0.feed(Message::Binary(ServerFrame::Denied(&reason).encode())).await?;
            }
            if versioned {
                self.0.feed(Message::Binary(ServerFrame::Problem(Box::new(problem)).encode())).await?;
            }
            let frame = CloseFrame { code: refusal.close_code().number(), reason: reason.into() };
            self.0.send(Message::Close(Some(frame))).await?;
            while let Some(Ok(_)) = self.0.recv().await {}
            Ok::<(), axum::Error>(())
        };
        if timeout(CLOSE_LIMIT, closing).await.is_err() {
            tracing::debug!(code = refusal.code(), "the other side did not answer our close");
        }
    }
}

/// Without a future of their own: each socket keeps the largest of its waits for good.
impl Wire {
    fn recv(&mut self) -> impl Future<Output = Option<Result<Message, axum::Error>>> {
        match self {
            Wire::Web(socket) => on_web(socket.recv()),
            #[cfg(test)]
            Wire::Simulated(line) => Either::Right(line.recv().boxed()),
        }
    }

    fn feed(&mut self, message: Message) -> impl Future<Output = Result<(), axum::Error>> {
        match self {
            Wire::Web(socket) => on_web(socket.feed(message)),
            #[cfg(test)]
            Wire::Simulated(line) => Either::Right(line.send(message).boxed()),
        }
    }

    fn flush(&mut self) -> impl Future<Output = Result<(), axum::Error>> {
        match self {
            Wire::Web(socket) => on_web(socket.flush()),
            #[cfg(test)]
            Wire::Simulated(_) => Either::Right(std::future::ready(Ok(())).boxed()),
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), axum::Error> {
        self.feed(message).await?;
        self.flush().await
    }
}

fn on_web<'a, F: Future>(waiting: F) -> Either<F, BoxFuture<'a, F::Output>> {
    Either::Left(waiting)
}

async fn within(sending: impl Future<Output = Result<(), axum::Error>>) -> Result<(), Stopped> {
    match timeout(PROGRESS_LIMIT, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Stopped::Gone),
        Err(_) => Err(Stopped::Stuck),
    }
}

/// Whether a failed read deserves a word to the other side.
fn broken(error: axum::Error) -> Option<Refusal> {
    let error = error.into_inner().downcast::<tungstenite::Error>().ok()?;
    match *error {
        tungstenite::Error::Capacity(_) => Some(Refusal::MessageTooLarge),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_) => {
            Some(Refusal::FrameMalformed { detail: "The WebSocket message cannot be read.".to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::error::CapacityError;

    #[test]
    fn the_other_side_is_told_what_it_did_wrong_and_nothing_else() {
        let too_long = CapacityError::MessageTooLong { size: 2, max_size: 1 };
        let read = |error: tungstenite::Error| broken(axum::Error::new(error));
        assert_eq!(read(too_long.into()), Some(Refusal::MessageTooLarge));
        assert_eq!(read(ProtocolError::ResetWithoutClosingHandshake.into()), None);
        assert_eq!(read(tungstenite::Error::ConnectionClosed), None);
        let wrong = read(ProtocolError::NonZeroReservedBits.into());
        assert!(matches!(wrong, Some(Refusal::FrameMalformed { .. })), "{wrong:?}");
    }
}
