//! Who sits in the room: coming in, catching up, being seen, and leaving.

use super::{Owner, Seat};
use crate::domain::{
    document::{ApplyError, Broken},
    log::Position,
    presence::{Heard, Holder, PresenceError},
    refusal::Refusal,
};
use crate::live::{
    clock::now_ms,
    member::Member,
    room::{Brings, Caught, Entered},
};
use bytes::Bytes;
use promptroom_protocol::{Person, Seq, ServerFrame, SyncStep};
use std::sync::Arc;
use tokio::time::Instant;

impl Owner {
    pub(super) fn enter(&mut self, member: Arc<Member>) -> Result<Entered, Refusal> {
        let limit = self.room.limits.members;
        if self.seats.len() >= limit {
            return Err(Refusal::RoomFull { limit });
        }
        // The log before the runs: what happens in between is told twice rather than not at all.
        let (entered_at, head) = {
            let log = self.room.log.lock();
            (log.head(), log.head_seq())
        };
        let known = self.document.wake().map(|document| document.state_vector());
        let state_vector = known.map_err(|broken| self.broken(broken))?.into();
        let rights_epoch = {
            let rights = self.room.hold_rights();
            self.room.members.lock().insert(member.socket, member.clone());
            *rights
        };
        if self.room.is_ended() {
            // Whoever ended it may have looked before this member was there.
            member.close(self.room.end_reason());
        }
        let seat =
            Seat { member: member.clone(), entered_at, client: None, synced: false, asked_again: false };
        self.seats.insert(member.socket, seat);
        Ok(Entered { head, rights_epoch, runs: self.room.runs(), state_vector })
    }

    pub(super) fn leave(&mut self, member: &Member) {
        // What they wrote and is not durable still counts as theirs.
        self.room.members.lock().remove(&member.socket);
        let Some(seat) = self.seats.remove(&member.socket) else { return };
        if let Some(client) = seat.client
            && self.room.presence.lock().leave(member.socket, client, now_ms())
        {
            self.presence_changed();
        }
        if self.seats.is_empty() {
            self.idle_since = Instant::now();
        }
    }

    /// Takes back the seats of sockets that could not say goodbye.
    pub(super) fn clear_seats(&mut self) {
        let left: Vec<Arc<Member>> = self
            .seats
            .values()
            .map(|seat| &seat.member)
            .filter(|member| member.has_left())
            .cloned()
            .collect();
        for member in left {
            self.leave(&member);
        }
    }

    /// A reader that asked for our own frames comes in, with what it has.
    pub(super) fn join(&mut self, member: &Member, brings: &Brings) -> Result<Caught, Refusal> {
        let Brings { have, rows, state_vector } = brings;
        if !member.rights().edit && self.lacks(state_vector)? {
            // It wrote when it still might: what it holds can neither be taken nor be built upon.
            return Err(Refusal::Forbidden { what: "edit this prompt" });
        }
        let Some(seat) = self.seats.get(&member.socket) else { return Err(Refusal::RoomRestarted) };
        let told = self.room.log.lock().own_frames_since(seat.entered_at);
        let told = told.map_err(|_| Refusal::ReaderTooSlow)?;
        let here = self.seats.values().filter(|seat| seat.client.is_some());
        let here = here.map(|seat| seat.member.person(seat.client));
        let elsewhere: Vec<Person> = self.room.presence.lock().elsewhere().collect();
        let people = here.chain(elsewhere).map(|person| ServerFrame::Person(Box::new(person)).encode());
        let people = people.collect();
        Ok(Caught { told, people, ..self.catch_up(member, *have, rows, state_vector)? })
    }

    /// What a reader lacks: the rows after the last one it knows, which it gets after those of the store; or the
    /// difference to its state vector.
    pub(super) fn catch_up(
        &mut self,
        member: &Member,
        have: Option<Seq>,
        stored: &[Bytes],
        state_vector: &[u8],
    ) -> Result<Caught, Refusal> {
        // A row that nobody knows of may be one of a database that was put back: what else is true then?
        let newest = self.room.newest_known();
        let have = have.filter(|seq| *seq <= newest);
        let (rows, position, head) = {
            let log = self.room.log.lock();
            (have.and_then(|seq| log.rows_after(seq)), log.head(), log.head_seq())
        };
        let rows = match rows {
            Some(rows) if self.completes(state_vector, stored, &rows)? => Some(rows),
            _ => None,
        };
        let are_rows = rows.is_some();
        let frames = match rows {
            Some(rows) => rows,
            None if is_empty_vector(state_vector) => {
                vec![self.whole(position).map_err(|broken| self.broken(broken))?]
            }
            None => {
                let awake = self.document.wake().map_err(ApplyError::from);
                let diff = awake.and_then(|document| document.diff(state_vector));
                let diff = diff.map_err(|error| self.refused(error))?;
                vec![ServerFrame::Sync(SyncStep::Step2(&diff)).encode()]
            }
        };
        tracing::trace!(socket = member.socket.0, frames = frames.len(), "caught up");
        let known = self.document.wake().map(|document| document.state_vector());
        let state_vector = known.map_err(|broken| self.broken(broken))?.into();
        Ok(Caught { frames, position, head, are_rows, state_vector, told: Vec::new(), people: Vec::new() })
    }

    /// Whether the rows are all that the reader lacks: its row may be one of a history that was put back since.
    fn completes(&mut self, state_vector: &[u8], stored: &[Bytes], rows: &[Bytes]) -> Result<bool, Refusal> {
        let document = match self.document.wake() {
            Ok(document) => document,
            Err(broken) => return Err(self.broken(broken)),
        };
        let updates = stored.iter().chain(rows).filter_map(|frame| match ServerFrame::decode(frame) {
            Ok(ServerFrame::Sync(SyncStep::Update(update))) => Some(update),
            _ => None,
        });
        document.is_completed_by(state_vector, updates).map_err(|refusal| self.refusal(refusal))
    }

    fn lacks(&mut self, state_vector: &[u8]) -> Result<bool, Refusal> {
        let lacks = self.document.wake().map(|document| document.lacks(state_vector));
        let lacks = lacks.map_err(|broken| self.broken(broken))?;
        lacks.map_err(|refusal| self.refusal(refusal))
    }

    /// The whole document as one frame, encoded once for all who come at this position.
    fn whole(&mut self, position: Position) -> Result<Bytes, Broken> {
        if let Some((at, frame)) = &self.whole
            && *at == position
        {
            return Ok(frame.clone());
        }
        let frame = ServerFrame::Sync(SyncStep::Step2(&self.document.wake()?.encode_all()?)).encode();
        self.whole = Some((position, frame.clone()));
        Ok(frame)
    }

    pub(super) fn awareness(&mut self, member: &Arc<Member>, update: &[u8]) {
        let Some(seat) = self.seats.get(&member.socket) else { return };
        let seats = &self.seats;
        let same_person = |holder: &Holder| match holder {
            Holder::Here(socket) => seats.get(socket).is_none_or(|other| other.member.id == member.id),
            Holder::Elsewhere(person) => person.id == member.id,
            Holder::Nobody => true,
        };
        let limit_bytes = self.room.limits.awareness_bytes;
        let heard = self.room.presence.lock().hear(
            member.socket,
            seat.client,
            update,
            limit_bytes,
            now_ms(),
            same_person,
        );
        match heard {
            Ok(Heard { changed, named }) => {
                if changed {
                    self.presence_changed();
                }
                if let Some(client) = named {
                    self.named(member, client);
                }
            }
            Err(PresenceError::Malformed) => {
                member.close(Refusal::FrameMalformed { detail: PresenceError::Malformed.to_string() });
            }
            Err(PresenceError::TooLarge { limit_bytes }) => {
                member.close(Refusal::FrameTooLarge { limit_bytes })
            }
        }
    }

    fn named(&mut self, member: &Member, client: u64) {
        for seat in self.seats.values_mut() {
            if seat.member.socket == member.socket {
                seat.client = Some(client);
            } else if seat.client == Some(client) {
                seat.client = None;
            }
        }
        self.room.tell(ServerFrame::Person(Box::new(member.person(Some(client)))).encode());
    }
}

fn is_empty_vector(state_vector: &[u8]) -> bool {
    state_vector.is_empty() || state_vector == [0]
}
