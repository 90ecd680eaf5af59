//! What one socket has yet to be sent, read from where it is kept: the room's log, its presence, the runs' tapes
//! and the socket's own small outbox. Only cursors are kept here.

use crate::domain::{log::Position, presence::PresenceVersion, refusal::Refusal};
use crate::live::{
    member::Member,
    room::{Piece, Room},
    tape::{Next, Reader},
};
use bytes::Bytes;
use promptroom_protocol::{RunId, Seq, ServerFrame};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often a socket is told of durable rows that are not its own, along with other frames.
const HEAD_PACE: Duration = Duration::from_secs(1);
/// When nothing else goes out to it: a frame by itself wakes every reader.
const HEAD_ALONE: Duration = Duration::from_secs(5);

pub struct Outgoing {
    room: Arc<Room>,
    member: Arc<Member>,
    /// Where the socket reads the log; nothing before it has caught up.
    cursor: Option<Position>,
    presence: PresenceVersion,
    head: Head,
    /// There are, or soon may be, newer rows than those it was told of.
    look_at: Option<Instant>,
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
            head: Head { told: head, at: Instant::now() },
            look_at: None,
            watches: Vec::new(),
        }
    }

    /// The socket holds everything up to `position`, with which `head` was the newest durable row. One that has been
    /// reading for long goes on where it is.
    pub fn caught_up(&mut self, position: Position, head: Seq) {
        if self.cursor.is_none() {
            self.cursor = Some(position);
            self.head = Head { told: head, at: Instant::now() };
        }
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
        self.look_at
    }

    /// Everybody's presence, or what changed in it.
    pub fn presence(&mut self) -> Option<Bytes> {
        let (frame, version) = self.room.presence_since(self.presence)?;
        self.presence = version;
        frame
    }

    /// What is to be sent now.
    pub fn turn(&mut self) -> Result<Turn, Refusal> {
        let mut turn = Turn::default();
        while let Some(frame) = self.member.next_frame() {
            turn.frames.push(frame);
        }
        // Ours gets it when it joins; a stock client expects it at once.
        if self.cursor.is_some() || !self.member.versioned {
            turn.frames.extend(self.presence());
        }
        let Some(cursor) = self.cursor else { return Ok(turn) };
        let piece = self.room.since(cursor, &self.member).map_err(|_| Refusal::ReaderTooSlow)?;
        turn.more = piece.more;
        self.cursor = Some(piece.next);
        let alone = turn.frames.is_empty() && piece.frames.is_empty();
        let saved = self.saved(&piece, alone);
        turn.frames.extend(piece.frames);
        turn.frames.extend(saved);
        self.watched(&mut turn)?;
        Ok(turn)
    }

    /// The next frame of each run that is watched. Where a run is driven by nobody any more, the socket comes back.
    fn watched(&mut self, turn: &mut Turn) -> Result<(), Refusal> {
        let mut abandoned = false;
        self.watches.retain_mut(|reader| match reader.next_frame() {
            Next::Frame(frame) => {
                turn.frames.push(frame);
                turn.more = true;
                true
            }
            Next::Last(frame) => {
                turn.frames.push(frame);
                false
            }
            Next::Wait => true,
            Next::Abandoned => {
                abandoned = true;
                false
            }
        });
        if abandoned { Err(Refusal::RoomRestarted) } else { Ok(()) }
    }

    /// How far this socket's own edits are durable, at once; and others' rows, now and then. The head is told only
    /// to a socket that has been sent everything up to it, as it comes back with it.
    fn saved(&mut self, piece: &Piece, alone: bool) -> Option<Bytes> {
        if !self.member.versioned {
            return None;
        }
        let own = self.member.saved(piece.durable);
        let now = Instant::now();
        let pace = match (&own, alone) {
            (Some(_), _) => Duration::ZERO,
            (None, false) => HEAD_PACE,
            (None, true) => HEAD_ALONE,
        };
        let tells_head = self.head.moves(piece, pace, now);
        let may_move = piece.head != self.head.told || piece.has_unwritten;
        self.look_at = may_move.then_some(now + HEAD_ALONE);
        if own.is_none() && !tells_head {
            return None;
        }
        let frames = own.unwrap_or_else(|| self.member.saved_so_far());
        Some(ServerFrame::Saved { frames, head: self.head.told }.encode())
    }
}

/// The newest durable row that a socket was told of.
struct Head {
    told: Seq,
    at: Instant,
}

impl Head {
    /// Moves on if the socket has been sent all rows up to the head and was last told at least `pace` ago.
    fn moves(&mut self, piece: &Piece, pace: Duration, now: Instant) -> bool {
        let holds_all = piece.next >= piece.head_position;
        let moves = holds_all && piece.head != self.told && now >= self.at + pace;
        if moves {
            *self = Head { told: piece.head, at: now };
        }
        moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(next: u64, head_position: u64, head: u64) -> Piece {
        Piece {
            frames: Vec::new(),
            next: Position(next),
            more: false,
            durable: Position(0),
            head: Seq(head),
            head_position: Position(head_position),
            has_unwritten: false,
        }
    }

    #[test]
    fn a_socket_is_told_of_a_row_only_when_it_was_sent_all_rows_up_to_it() {
        let now = Instant::now();
        let mut head = Head { told: Seq(10), at: now };
        assert!(
            !head.moves(&piece(64, 70, 80), Duration::ZERO, now),
            "six entries were not sent yet, and any of them may be such a row"
        );
        assert_eq!(head.told, Seq(10), "so its own saved mark goes out with the old head");
        assert!(head.moves(&piece(70, 70, 80), Duration::ZERO, now));
        assert_eq!(head.told, Seq(80));
    }

    #[test]
    fn the_rows_of_others_are_told_once_a_second() {
        let now = Instant::now();
        let mut head = Head { told: Seq(10), at: now };
        assert!(!head.moves(&piece(1, 1, 11), HEAD_PACE, now));
        assert!(head.moves(&piece(2, 2, 12), HEAD_PACE, now + HEAD_PACE));
        assert!(!head.moves(&piece(2, 2, 12), Duration::ZERO, now + HEAD_PACE * 2), "there is nothing new");
    }
}
