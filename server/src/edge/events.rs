//! A run's output as server-sent events, resumed by the id of the last one.
//!
//! An event's id is the cursor after it. Nothing is queued: one event is read from the run's tape whenever the
//! client has taken the last one, so a reader that is slow only falls behind.

use crate::domain::{
    output::{ReadRecords, Record},
    refusal::Refusal,
    rights::rights,
};
use crate::edge::{
    auth::{self, Caller},
    problem::bad,
    runs::visible_run,
    state::App,
};
use crate::live::{heads::Followed, runs::unavailable, tape::Reader};
use crate::store::SecretHash;
use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream;
use promptroom_protocol::{BlockKind, Epoch, MemberId, Offset, RunCursor, RunId, RunSummary};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Rights are looked at this often while events are sent: with the age of a head that is less than the second in which
/// a "no" must hold.
const RIGHTS_PACE: Duration = Duration::from_millis(400);
const RECONNECT_AFTER: Duration = Duration::from_secs(1);
/// After the cursor in the id of the last event.
const END: &str = ":end";

#[derive(Deserialize, utoipa::IntoParams)]
pub struct Asked {
    /// The same as the header `Last-Event-ID`, which wins.
    after: Option<String>,
}

/// Where a reader goes on.
#[derive(Debug, PartialEq, Eq)]
enum After {
    Cursor(RunCursor),
    /// It was told the end: there is nothing more, ever.
    End,
}

#[derive(Serialize)]
struct Records<'a> {
    run: RunId,
    epoch: Epoch,
    offset: Offset,
    records: Vec<OneRecord<'a>>,
}

#[derive(Serialize)]
struct OneRecord<'a> {
    block: u32,
    kind: BlockKind,
    text: Cow<'a, str>,
}

/// A run's events from a cursor on: `state`, `records`, `rewind`, and `end` with the final summary.
///
/// Every id is `epoch:offset`, the cursor after the event; that of `end` is `epoch:offset:end`, and whoever comes
/// back with it gets 204, so that an EventSource stops. `rewind` withdraws what came after its offset.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", operation_id = "read_run_events", tag = "runs",
    params(("id" = uuid::Uuid, Path), Asked, ("Last-Event-ID" = Option<String>, Header)),
    responses((status = 200, content_type = "text/event-stream", body = String),
        (status = 204, description = "The reader has all of it.")))]
pub async fn read(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (run, _rights) = visible_run(&app, &caller, &id).await?;
    let Query(asked) = asked.map_err(|rejection| bad(rejection.body_text()))?;
    let After::Cursor(cursor) = after(&headers, asked.after.as_deref())? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let follower = Follower::new(app, &caller, run, cursor).await?;
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))).into_response())
}

/// One client, following one run.
struct Follower {
    app: App,
    client: MemberId,
    session: Option<SecretHash>,
    /// As it was last told.
    run: RunSummary,
    /// None while its output cannot be read.
    reader: Option<Reader>,
    cursor: RunCursor,
    bell: Arc<Notify>,
    head: Arc<Followed>,
    /// Under which the client may see the run; none before it was looked at here.
    seen_under: Option<u64>,
    look_at: Instant,
    step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Begin,
    Follow,
    Over,
}

impl Follower {
    async fn new(app: App, caller: &Caller, run: RunSummary, cursor: RunCursor) -> Result<Self, Refusal> {
        let head = app.heads.follow(run.prompt);
        let mut follower = Follower {
            app,
            client: caller.principal.id,
            session: caller.session(),
            run,
            reader: None,
            cursor,
            bell: Arc::new(Notify::new()),
            head,
            seen_under: None,
            look_at: Instant::now() + RIGHTS_PACE,
            step: Step::Begin,
        };
        follower.find_tape().await?;
        Ok(follower)
    }

    /// `None` when the run is over, the node drains, or the client may no longer see it. Cancel-safe.
    async fn next(&mut self) -> Option<Event> {
        match self.step {
            Step::Begin => {
                self.step = Step::Follow;
                return Some(state(&self.run).retry(RECONNECT_AFTER));
            }
            Step::Follow => {}
            Step::Over => return None,
        }
        loop {
            if Instant::now() >= self.look_at {
                self.look().await?;
            }
            if let Some(event) = self.changed_state() {
                return Some(event);
            }
            match self.read_on() {
                ReadRecords::Records { records, next } => return Some(self.records(&records, next)),
                ReadRecords::Rewind { cursor } => {
                    self.cursor = cursor;
                    return Some(json("rewind", &cursor).id(cursor.to_string()));
                }
                ReadRecords::End { cursor } => return self.end(cursor),
                ReadRecords::Wait => {}
            }
            let tasks = self.app.tasks.clone();
            tokio::select! {
                () = self.bell.notified() => {}
                () = sleep_until(self.look_at) => {}
                // Whoever reads on, reads on at another node.
                () = tasks.drained() => return None,
            }
        }
    }

    fn records(&mut self, records: &[Record], next: RunCursor) -> Event {
        let offset = self.cursor.offset;
        self.cursor = next;
        let records = records.iter().map(|record| OneRecord {
            block: record.block,
            kind: record.kind,
            text: String::from_utf8_lossy(&record.bytes),
        });
        let data = Records { run: self.run.id, epoch: next.epoch, offset, records: records.collect() };
        json("records", &data).id(next.to_string())
    }

    fn read_on(&mut self) -> ReadRecords {
        let Some(reader) = &mut self.reader else { return ReadRecords::Wait };
        if reader.is_abandoned() {
            self.reader = None;
            return ReadRecords::Wait;
        }
        reader.next_records()
    }

    fn end(&mut self, cursor: RunCursor) -> Option<Event> {
        self.step = Step::Over;
        // A run's row ends before its tape does, so this is the final summary.
        let run = self.reader.as_ref()?.summary();
        Some(json("end", &run).id(format!("{cursor}{END}")))
    }

    /// `None` if the client may no longer see the run. Also finds the run's output again, if it had none.
    async fn look(&mut self) -> Option<()> {
        self.look_at = Instant::now() + RIGHTS_PACE;
        // With the store away what was known holds, as it does for sockets.
        if !self.is_visible().await.unwrap_or(true) {
            return None;
        }
        if self.reader.is_none() {
            self.find_tape().await.ok()?;
        }
        Some(())
    }

    /// With the store away it is waited for.
    async fn find_tape(&mut self) -> Result<(), Refusal> {
        match self.app.runs.tape(self.run.prompt, self.run.id).await {
            Ok(tape) => {
                self.reader = Some(tape.read_from(self.cursor, &self.bell));
                Ok(())
            }
            Err(Refusal::StoreUnavailable) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// One query for all who follow the prompt, and more only where somebody's rights changed.
    async fn is_visible(&mut self) -> Result<bool, Refusal> {
        let head = self.app.heads.head(&self.head).await?;
        let Some(head) = head.filter(|head| !head.deleted) else { return Ok(false) };
        if self.seen_under == Some(head.rights_epoch) {
            return Ok(true);
        }
        if !auth::session_lives(&self.app, self.session).await? {
            return Ok(false);
        }
        let client = self.app.store.principal(self.client).await.map_err(unavailable)?;
        let row = self.app.store.prompt(self.run.prompt).await.map_err(unavailable)?;
        let (Some(client), Some(row)) = (client, row) else { return Ok(false) };
        self.seen_under = Some(head.rights_epoch);
        Ok(rights(client.id, client.role, row.owner.id, row.visibility).is_some())
    }

    /// The summary, if its state is not the one that was told; that of the end comes with the end.
    fn changed_state(&mut self) -> Option<Event> {
        let now = self.reader.as_ref()?.summary();
        if now.state == self.run.state || now.state.is_terminal() {
            return None;
        }
        self.run = now;
        Some(state(&self.run))
    }
}

fn state(run: &RunSummary) -> Event {
    json("state", run)
}

fn json(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name);
    // Only what cannot be JSON fails here, and all of these are shapes of ours.
    event.json_data(data).unwrap_or_default()
}

/// The header wins, because an EventSource sends it with the address that it was first given.
fn after(headers: &HeaderMap, asked: Option<&str>) -> Result<After, Refusal> {
    let header =
        headers.get("last-event-id").map(|id| id.to_str().unwrap_or("?")).filter(|id| !id.is_empty());
    let Some(text) = header.or(asked) else { return Ok(After::Cursor(RunCursor::START)) };
    let (text, ended) = match text.strip_suffix(END) {
        Some(cursor) => (cursor, true),
        None => (text, false),
    };
    let cursor = text.parse().map_err(|_| Refusal::CursorInvalid)?;
    Ok(if ended { After::End } else { After::Cursor(cursor) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(header: Option<&str>, asked: Option<&str>) -> Result<After, Refusal> {
        let name = HeaderName::from_static("last-event-id");
        after(&header.map(|id| (name, id.parse().expect("a value"))).into_iter().collect(), asked)
    }

    fn at(epoch: u32, offset: u64) -> Result<After, Refusal> {
        Ok(After::Cursor(RunCursor { epoch: Epoch(epoch), offset: Offset(offset) }))
    }

    #[test]
    fn the_header_and_the_query_mean_the_same_and_the_header_wins() {
        assert_eq!(with(None, None), at(1, 0));
        assert_eq!(with(Some("2:70"), None), at(2, 70));
        assert_eq!(with(None, Some("2:70")), at(2, 70));
        assert_eq!(with(Some("3:1"), Some("2:70")), at(3, 1));
        assert_eq!(with(Some(""), Some("2:70")), at(2, 70));
    }

    #[test]
    fn only_the_id_of_the_end_means_that_there_is_nothing_more() {
        assert_eq!(with(Some("1:12:end"), None), Ok(After::End));
        for bad in ["end", ":end", "1:end", "0:5", "1:x", "1:2:3", "1:2:END", "\u{e9}"] {
            assert_eq!(with(Some(bad), None), Err(Refusal::CursorInvalid), "{bad}");
        }
    }
}
