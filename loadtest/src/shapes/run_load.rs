//! Reading stamped runs: how late each token is, and how uneven the stream has become.

use crate::{
    clock::Stamp,
    events::Events,
    http::{Api, Connection},
    latency::Latency,
};
use anyhow::Result;
use hyper::Method;
use promptroom_protocol::{RecordsFrame, RunId};
use serde::Deserialize;
use serde_json::json;
use std::{
    borrow::Cow,
    collections::HashMap,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What the readers of all runs write to, counting only tokens due within the window.
#[derive(Debug)]
pub struct TokenTally {
    from: Stamp,
    until: Stamp,
    pub tokens: AtomicU64,
    pub errors: AtomicU64,
    /// From when a token was due to when it was read.
    pub delay: Latency,
    /// How much longer than at the source the pause before a token was.
    pub gap: Latency,
}

impl TokenTally {
    pub fn new(from: Stamp, window: Duration) -> Self {
        TokenTally {
            from,
            until: from.after(window),
            tokens: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            delay: Latency::default(),
            gap: Latency::default(),
        }
    }

    pub fn from(&self) -> Stamp {
        self.from
    }

    pub fn until(&self) -> Stamp {
        self.until
    }
}

/// One run's stamps, read from pieces of any size.
#[derive(Debug, Default)]
pub struct TokenReader {
    rest: Vec<u8>,
    last: Option<(Stamp, Stamp)>,
}

impl TokenReader {
    pub fn take(&mut self, bytes: &[u8], tally: &TokenTally) {
        let now = Stamp::now();
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() - self.rest.len() % Stamp::TEXT_BYTES;
        for due in self.rest[..whole].chunks(Stamp::TEXT_BYTES).filter_map(Stamp::parse) {
            if (tally.from..tally.until).contains(&due) {
                tally.tokens.fetch_add(1, Relaxed);
                tally.delay.record(now.since(due));
                if let Some((last_due, last_read)) = self.last {
                    tally.gap.record(now.since(last_read).saturating_sub(due.since(last_due)));
                }
            }
            self.last = Some((due, now));
        }
        self.rest.drain(..whole);
    }
}

/// The stamps of all runs that one socket watches.
#[derive(Debug, Default)]
pub struct WatchedRuns(HashMap<RunId, TokenReader>);

impl WatchedRuns {
    pub fn take(&mut self, records: &RecordsFrame, tally: &TokenTally) {
        let reader = self.0.entry(records.run).or_default();
        for (_, _, bytes) in &records.records {
            reader.take(bytes, tally);
        }
    }
}

/// Asks the upstream double itself, as a server would: on a connection that is kept.
pub async fn ask_upstream(connection: &mut Connection, model: &str) -> Result<Events> {
    let body =
        json!({"model": model, "stream": true, "messages": [{"role": "user", "content": "Say when."}]});
    Events::read(connection.request(Method::POST, "/v1/chat/completions", &[], Some(&body)).await?)
}

pub async fn connect_upstream(address: SocketAddr) -> Result<Connection> {
    Api { address, token: None }.connect().await
}

/// The text in an event of the OpenAI wire.
pub fn token_of(data: &str) -> Option<Cow<'_, str>> {
    let chunk: Chunk<'_> = serde_json::from_str(data).ok()?;
    chunk.choices.into_iter().next()?.delta.content
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Delta<'a>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_split_anywhere_are_counted_once() {
        let start = Stamp::now();
        let text: String = (0..10).map(|number| start.after(Duration::from_micros(number)).text()).collect();
        for size in 1..text.len() {
            let tally = TokenTally::new(start, Duration::from_secs(1));
            let mut reader = TokenReader::default();
            for piece in text.as_bytes().chunks(size) {
                reader.take(piece, &tally);
            }
            assert_eq!((tally.tokens.load(Relaxed), tally.gap.count()), (10, 9), "{size}");
        }
    }
}
