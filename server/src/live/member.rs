//! One socket in a room, as the room and the runs see it: a bell to ring and a small, bounded outbox.
//!
//! There is no queue per client. What everybody sees is read from the room's log and the runs' tapes; only what
//! concerns this socket alone (how far it is saved, replies to its commands, why it is closed) is kept here, and
//! each of these is bounded by what the socket itself has under way.

use crate::domain::{
    log::{Position, SocketId},
    refusal::Refusal,
};
use crate::store::SecretHash;
use bytes::Bytes;
use parking_lot::Mutex;
use promptroom_protocol::{MemberId, Person, RequestId, Rights, Role};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering},
    },
};
use tokio::sync::Notify;

/// Commands of one socket that may wait for their replies.
pub const COMMANDS_MAX: u32 = 8;

const EDIT: u8 = 1;
const RUN: u8 = 2;
const MANAGE: u8 = 4;

#[derive(Debug)]
pub struct Member {
    pub socket: SocketId,
    pub id: MemberId,
    pub name: String,
    pub role: Role,
    /// Whether the socket asked for our own frames.
    pub versioned: bool,
    /// The session that opened it; a token has none.
    pub session: Option<SecretHash>,
    /// By which operators find it in the log.
    pub request_id: RequestId,
    /// The socket is gone; whoever still holds a seat for it gives it back.
    left: AtomicBool,
    rights: AtomicU8,
    commands: AtomicU32,
    bell: Arc<Notify>,
    outbox: Mutex<Outbox>,
}

#[derive(Debug, Default)]
struct Outbox {
    /// Document frames taken so far, and where in the log the ones not yet durable stand.
    frames: u64,
    marks: VecDeque<(u64, Position)>,
    saved: u64,
    told: u64,
    frames_out: VecDeque<Bytes>,
    close: Option<Refusal>,
}

impl Member {
    pub fn new(
        socket: SocketId,
        person: &Person,
        rights: Rights,
        versioned: bool,
        session: Option<SecretHash>,
        request_id: RequestId,
    ) -> Self {
        Member {
            socket,
            id: person.id,
            name: person.name.clone(),
            role: person.role,
            versioned,
            session,
            request_id,
            left: AtomicBool::new(false),
            rights: AtomicU8::new(bits(rights)),
            commands: AtomicU32::new(0),
            bell: Arc::new(Notify::new()),
            outbox: Mutex::default(),
        }
    }

    pub fn person(&self, client: Option<u64>) -> Person {
        Person { id: self.id, name: self.name.clone(), role: self.role, client }
    }

    pub fn rights(&self) -> Rights {
        let bits = self.rights.load(Ordering::Relaxed);
        Rights { edit: bits & EDIT != 0, run: bits & RUN != 0, manage: bits & MANAGE != 0 }
    }

    pub fn set_rights(&self, rights: Rights) {
        self.rights.store(bits(rights), Ordering::Relaxed);
    }

    pub fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    pub fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }

    /// Something may be there for this socket.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    pub fn bell(&self) -> &Arc<Notify> {
        &self.bell
    }

    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// A document frame of this socket was taken: it is saved once everything up to `position` is.
    pub fn mark(&self, position: Position) {
        let mut outbox = self.outbox.lock();
        outbox.frames += 1;
        let frames = outbox.frames;
        match outbox.marks.back_mut() {
            Some((last, at)) if *at == position => *last = frames,
            _ => outbox.marks.push_back((frames, position)),
        }
    }

    /// How many of this socket's document frames are durable, if that has not been told yet.
    pub fn saved(&self, durable: Position) -> Option<u64> {
        let mut outbox = self.outbox.lock();
        while let Some((frames, position)) = outbox.marks.front().copied()
            && position <= durable
        {
            outbox.marks.pop_front();
            outbox.saved = frames;
        }
        if outbox.saved == outbox.told {
            return None;
        }
        outbox.told = outbox.saved;
        Some(outbox.saved)
    }

    /// Rings if frames of this socket are durable that it was not told of; whether others are not durable yet.
    pub fn ring_if_saved(&self, durable: Position) -> bool {
        let (oldest, newest) = {
            let marks = &self.outbox.lock().marks;
            (marks.front().map(|mark| mark.1), marks.back().map(|mark| mark.1))
        };
        if oldest.is_some_and(|position| position <= durable) {
            self.ring();
        }
        newest.is_some_and(|position| position > durable)
    }

    pub fn saved_so_far(&self) -> u64 {
        self.outbox.lock().told
    }

    /// Whether a command may be taken; each that was ends with `reply`.
    pub fn take_command(&self) -> bool {
        let taken = self.commands.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |under_way| {
            (under_way < COMMANDS_MAX).then_some(under_way + 1)
        });
        taken.is_ok()
    }

    pub fn reply(&self, frame: Bytes) {
        self.commands.fetch_sub(1, Ordering::Relaxed);
        self.send(frame);
    }

    /// A frame for this socket alone. Bounded by the caller: an answer to something the socket asked.
    pub fn send(&self, frame: Bytes) {
        self.outbox.lock().frames_out.push_back(frame);
        self.ring();
    }

    pub fn next_frame(&self) -> Option<Bytes> {
        self.outbox.lock().frames_out.pop_front()
    }

    /// The socket is to be closed for this; the first reason stays.
    pub fn close(&self, refusal: Refusal) {
        self.outbox.lock().close.get_or_insert(refusal);
        self.ring();
    }

    pub fn closed(&self) -> Option<Refusal> {
        self.outbox.lock().close.clone()
    }
}

fn bits(rights: Rights) -> u8 {
    let mut bits = 0;
    for (has, bit) in [(rights.edit, EDIT), (rights.run, RUN), (rights.manage, MANAGE)] {
        if has {
            bits |= bit;
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn member() -> Member {
        let person =
            Person { id: MemberId(Uuid::nil()), name: "Ana".to_owned(), role: Role::Editor, client: None };
        Member::new(SocketId(1), &person, Role::Editor.rights(), true, None, RequestId(Uuid::nil()))
    }

    #[test]
    fn the_saved_mark_counts_frames_in_the_durable_prefix_and_is_told_once() {
        let member = member();
        member.mark(Position(4));
        member.mark(Position(4));
        member.mark(Position(9));
        assert_eq!(member.saved(Position(3)), None);
        assert_eq!(member.saved(Position(4)), Some(2));
        assert_eq!(member.saved(Position(8)), None);
        assert_eq!(member.saved(Position(20)), Some(3));
        assert_eq!(member.saved(Position(20)), None);
    }

    #[test]
    fn whoever_has_frames_that_are_not_durable_waits_on() {
        let member = member();
        assert!(!member.ring_if_saved(Position(9)));
        member.mark(Position(4));
        member.mark(Position(9));
        assert!(member.ring_if_saved(Position(4)));
        assert!(!member.ring_if_saved(Position(9)));
    }

    #[test]
    fn commands_under_way_are_bounded() {
        let member = member();
        for _ in 0..COMMANDS_MAX {
            assert!(member.take_command());
        }
        assert!(!member.take_command());
        member.reply(Bytes::new());
        assert!(member.take_command());
    }

    #[test]
    fn the_first_reason_to_close_stays() {
        let member = member();
        member.close(Refusal::AccessLost);
        member.close(Refusal::Draining);
        assert_eq!(member.closed(), Some(Refusal::AccessLost));
    }
}
