//! One streamed answer: the next token when it is due, and the truth about how it ended.

use super::{
    Witness,
    script::{Ending, Script, usage},
};
use crate::clock::Stamp;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::time::{Sleep, sleep_until};

/// What is known of a stream once it has ended.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    /// The request as it came.
    pub request: Value,
    pub tokens: u64,
    pub end: StreamEnd,
    pub started_at: Stamp,
    /// For a stream closed by its client: when that was noticed here.
    pub ended_at: Stamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    Finished,
    ClosedByClient,
    Cut,
}

/// A response body that is dropped early exactly when its reader went away.
#[derive(Debug)]
pub(super) struct TokenStream {
    script: Script,
    request: Value,
    finish_reason: &'static str,
    witness: Arc<Witness>,
    started_at: Stamp,
    /// What stands before and after the text of a token's event.
    around: (String, String),
    /// The number of the next token.
    next: u64,
    timer: Pin<Box<Sleep>>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Tokens,
    Closing(VecDeque<Bytes>),
    Ended(StreamEnd),
}

impl TokenStream {
    pub(super) fn new(script: Script, request: Value, witness: Arc<Witness>) -> Self {
        let (script, finish_reason) = script.continued(&request).limited(&request);
        witness.opened();
        let started_at = Stamp::now();
        TokenStream {
            around: around_text(&request["model"]),
            script,
            request,
            finish_reason,
            witness,
            started_at,
            next: script.from.token,
            timer: Box::pin(sleep_until(started_at.after(script.first_after).instant())),
            phase: Phase::Tokens,
        }
    }

    fn due(&self) -> Stamp {
        let nanos = self.script.interval.as_nanos() as u64 * self.sent();
        self.started_at.after(self.script.first_after).after(std::time::Duration::from_nanos(nanos))
    }

    fn sent(&self) -> u64 {
        self.next - self.script.from.token
    }

    fn token(&mut self) -> Bytes {
        let text = self.script.text.token(self.next, self.due());
        let begun = if self.sent() == 0 { self.script.from.bytes } else { 0 };
        let text = &text[begun..];
        self.next += 1;
        self.witness.sent(text.len());
        // Tokens need no escaping, so nothing is encoded again for each of them.
        let (before, after) = &self.around;
        Bytes::from([before, text, after].concat())
    }

    fn closing(&self) -> VecDeque<Bytes> {
        let mut events = VecDeque::from([event(&self.chunk(&json!({}), Some(self.finish_reason)))]);
        if self.request["stream_options"]["include_usage"] == Value::Bool(true) {
            let mut chunk = self.chunk(&json!({}), None);
            chunk["choices"] = json!([]);
            chunk["usage"] = usage(&self.request, self.sent());
            events.push_back(event(&chunk));
        }
        events.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        events
    }

    fn chunk(&self, delta: &Value, finish_reason: Option<&str>) -> Value {
        chunk(&self.request["model"], delta, finish_reason)
    }
}

impl Body for TokenStream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let stream = self.get_mut();
        loop {
            match &mut stream.phase {
                Phase::Tokens if stream.next < stream.script.tokens => {
                    if !stream.script.interval.is_zero() || stream.sent() == 0 {
                        ready!(stream.timer.as_mut().poll(context));
                    }
                    let token = stream.token();
                    if !stream.script.interval.is_zero() {
                        let due = stream.due().instant();
                        stream.timer.as_mut().reset(due);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(token))));
                }
                Phase::Tokens => {
                    stream.phase = match stream.script.ending {
                        Ending::Finish => Phase::Closing(stream.closing()),
                        Ending::Unfinished => Phase::Ended(StreamEnd::Cut),
                        Ending::Cut => {
                            stream.phase = Phase::Ended(StreamEnd::Cut);
                            return Poll::Ready(Some(Err(io::Error::other("cut by the script"))));
                        }
                    };
                }
                Phase::Closing(events) => match events.pop_front() {
                    Some(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    None => stream.phase = Phase::Ended(StreamEnd::Finished),
                },
                Phase::Ended(_) => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for TokenStream {
    fn drop(&mut self) {
        let end = match &self.phase {
            Phase::Ended(end) => *end,
            // `[DONE]` is written: a reader that leaves then has had everything.
            Phase::Closing(events) if events.is_empty() => StreamEnd::Finished,
            Phase::Tokens | Phase::Closing(_) => StreamEnd::ClosedByClient,
        };
        self.witness.ended(StreamRecord {
            request: std::mem::take(&mut self.request),
            tokens: self.sent(),
            end,
            started_at: self.started_at,
            ended_at: Stamp::now(),
        });
    }
}

fn chunk(model: &Value, delta: &Value, finish_reason: Option<&str>) -> Value {
    json!({
        "id": "double", "object": "chat.completion.chunk", "created": 0, "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    })
}

fn around_text(model: &Value) -> (String, String) {
    const EMPTY: &str = r#""content":""#;
    let event = format!("data: {}\n\n", chunk(model, &json!({"content": ""}), None));
    let middle = event.find(EMPTY).map_or(event.len(), |at| at + EMPTY.len());
    let (before, after) = event.split_at(middle);
    (before.to_owned(), after.to_owned())
}

fn event(chunk: &Value) -> Bytes {
    Bytes::from(format!("data: {chunk}\n\n"))
}
