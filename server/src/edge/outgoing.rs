//! What one socket has yet to be sent, read from where it is kept: the room's log, its presence, the runs' tapes
//! and the socket's own small outbox. Only cursors are kept here.

use crate::domain::{log::Position, presence::PresenceVersion, refusal::Refusal};
use crate::live::{member::Member, room::Room, tape::Reader};
use bytes::Bytes;
use promptroom_protocol::{RunId, Seq, ServerFrame};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often a socket is told of durable rows that are not its own.
const HEAD_PACE: Duration = Duration::from_secs(1);

pub struct Outgoing {
    room: Arc<Room>,
    member: Arc<Member>,
    /// Where the socket reads the log; nothing before it has caught up.
    cursor: Option<Position>,
    presence: PresenceVersion,
    head: Seq,
    head_at: Instant,
    watches: Vec<Reader>,
}

/// The frames of one turn; when `more` is set another turn has something too.
#[derive(Default)]
pub struct Turn {
    pub frames: Vec<Bytes>,
    pub more: bool,
}

impl Outgoing {
    pub fn new(room: Arc<Room>, member: Arc<Member>, head: Seq) -> Self {
        Outgoing {
            room,
            member,
            cursor: None,
            presence: PresenceVersion::default(),
            head,
            head_at: Instant::now(),
            watches: Vec::new(),
        }
    }

    pub fn caught_up(&mut self, position: Position, head: Seq) {
        self.cursor = Some(position);
        self.head = head;
        self.head_at = Instant::now();
        self.member.ring();
    }

    pub fn has_caught_up(&self) -> bool {
        self.cursor.is_some()
    }

    /// Everybody's presence is told again.
    pub fn tell_presence_again(&mut self) {
        self.presence = PresenceVersion::default();
        self.member.ring();
    }

    pub fn watch(&mut self, reader: Reader) {
        self.unwatch(reader.run());
        self.watches.push(reader);
        self.watches.shrink_to_fit();
    }

    pub fn unwatch(&mut self, run: RunId) {
        self.watches.retain(|reader| reader.run() != run);
    }

    pub fn watches(&self, run: RunId) -> bool {
        self.watches.iter().any(|reader| reader.run() == run)
    }

    pub fn watching(&self) -> usize {
        self.watches.len()
    }

    /// When the socket should look again though nobody rings.
    pub fn due_at(&self) -> Option<Instant> {
        let behind = self.member.versioned && self.cursor.is_some() && self.room.has_rows_after(self.head);
        behind.then_some(self.head_at + HEAD_PACE)
    }

    /// What is to be sent now.
    pub fn turn(&mut self) -> Result<Turn, Refusal> {
        let mut turn = Turn::default();
        while let Some(frame) = self.member.next_frame() {
            turn.frames.push(frame);
        }
        if let Some((frame, version)) = self.room.presence_since(self.presence) {
            self.presence = version;
            turn.frames.push(frame);
        }
        let Some(cursor) = self.cursor else { return Ok(turn) };
        let (frames, next) = self.room.since(cursor, &self.member).map_err(|_| Refusal::ReaderTooSlow)?;
        turn.more = next != cursor;
        turn.frames.extend(frames);
        self.cursor = Some(next);
        self.saved(&mut turn);
        self.watches.retain_mut(|reader| match reader.next_frame() {
            Some((frame, last)) => {
                turn.frames.push(frame);
                turn.more |= !last;
                !last
            }
            None => true,
        });
        Ok(turn)
    }

    /// How far this socket's own edits are durable, at once; and others' rows, now and then.
    fn saved(&mut self, turn: &mut Turn) {
        if !self.member.versioned {
            return;
        }
        let (head, durable) = self.room.durable();
        let own = self.member.saved(durable);
        let now = Instant::now();
        if own.is_none() && (head == self.head || now < self.head_at + HEAD_PACE) {
            return;
        }
        self.head = head;
        self.head_at = now;
        let frames = own.unwrap_or_else(|| self.member.saved_so_far());
        turn.frames.push(ServerFrame::Saved { frames, head }.encode());
    }
}
