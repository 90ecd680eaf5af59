//! Server-sent events: of a run over the API, and of a model over the OpenAI wire.

use crate::http::{Answer, Api};
use anyhow::{Context, Result, ensure};
use hyper::Method;
use promptroom_protocol::RunId;
use std::{collections::VecDeque, time::Duration};
use tokio::time::timeout;

const EVENT_BYTES_MAX: usize = 32 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// One event as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Of this event, or of the last one that had one.
    pub id: String,
    /// `message` if the stream does not say.
    pub name: String,
    pub data: String,
}

/// An open event stream.
#[derive(Debug)]
pub struct Events {
    answer: Answer,
    parser: Parser,
}

impl Events {
    /// A run's events, from its start or after `last_event_id`. `None` is 204: nothing will ever come.
    pub async fn of_run(api: &Api, run: RunId, last_event_id: Option<&str>) -> Result<Option<Events>> {
        let path = format!("/api/v1/runs/{run}/events");
        let accept = ("accept", "text/event-stream");
        let headers: Vec<(&str, &str)> =
            std::iter::once(accept).chain(last_event_id.map(|id| ("last-event-id", id))).collect();
        let answer = api.request(Method::GET, &path, &headers, None).await?;
        if answer.status() == 204 {
            return Ok(None);
        }
        Ok(Some(Events::read(answer)?))
    }

    pub fn read(answer: Answer) -> Result<Events> {
        ensure!(answer.status() == 200, "an event stream was answered with {}", answer.status());
        Ok(Events { answer, parser: Parser::default() })
    }

    /// The next event; `None` when the server ended the stream.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.parser.ready.pop_front() {
                return Ok(Some(event));
            }
            let chunk = timeout(PATIENCE, self.answer.chunk()).await.context("no event in time")??;
            let Some(chunk) = chunk else { return Ok(None) };
            self.parser.take(&chunk)?;
        }
    }
}

/// Lines into events; a line or an event may be split over pieces anywhere.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    ready: VecDeque<Event>,
}

impl Parser {
    fn take(&mut self, chunk: &[u8]) -> Result<()> {
        for byte in chunk {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                self.take_line(std::str::from_utf8(&line)?.trim_end_matches('\r'));
            } else {
                self.line.push(*byte);
            }
        }
        ensure!(self.line.len() + self.event.data.len() <= EVENT_BYTES_MAX, "an event is too long");
        Ok(())
    }

    fn take_line(&mut self, line: &str) {
        if line.is_empty() {
            return self.finish_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = value.to_owned(),
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            _ => {}
        }
    }

    fn finish_event(&mut self) {
        let next = Event { id: self.event.id.clone(), ..Event::default() };
        let mut event = std::mem::replace(&mut self.event, next);
        if !std::mem::take(&mut self.has_data) {
            return;
        }
        if event.name.is_empty() {
            "message".clone_into(&mut event.name);
        }
        self.ready.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_split_anywhere_read_the_same() {
        let text =
            ": hi\n\nid: 1:5\nevent: records\ndata: {\"a\":\ndata: 1}\n\nid: 1:5:end\ndata: {}\r\n\r\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            for piece in text.as_bytes().chunks(size) {
                parser.take(piece).unwrap();
            }
            let event = |id: &str, name: &str, data: &str| Event {
                id: id.into(),
                name: name.into(),
                data: data.into(),
            };
            let expected = [event("1:5", "records", "{\"a\":\n1}"), event("1:5:end", "message", "{}")];
            assert_eq!(parser.ready, expected);
        }
    }
}
