//! Who is in the room on other nodes, and telling them who is here.

use super::Owner;
use crate::bus::{Note, Present, Topic};
use crate::domain::{log::SocketId, presence::Change};
use crate::live::clock::now_ms;
use promptroom_protocol::{Person, ServerFrame};

impl Owner {
    /// Somebody's presence changed here.
    pub(super) fn presence_changed(&mut self) {
        self.presence_waits = true;
        if self.around.bus.has_others() {
            self.share_waits = true;
        } else {
            self.room.presence.lock().forget_to_share();
        }
    }

    pub(super) fn elsewhere(&mut self, present: Vec<Present>) {
        for Present { client, clock, state, person } in present {
            let seats = &self.seats;
            let is_of = |socket: SocketId, person: &Person| {
                seats.get(&socket).is_none_or(|seat| seat.member.id == person.id)
            };
            let heard = self.room.presence.lock().hear_elsewhere(
                client,
                clock,
                state,
                person.clone(),
                now_ms(),
                is_of,
            );
            self.presence_waits |= heard.changed;
            self.share_waits |= heard.answers;
            if let (true, Some(person)) = (heard.named, person) {
                let person = Person { client: Some(client), ..person };
                self.room.tell(ServerFrame::Person(Box::new(person)).encode());
            }
        }
    }

    pub(super) fn tell_who_is_here(&mut self) {
        let mut presence = self.room.presence.lock();
        presence.share_all();
        self.share_waits |= presence.has_to_share();
    }

    /// Tells other nodes what changed among the sockets here.
    pub(super) fn share(&mut self) {
        self.share_waits = false;
        let changes = self.room.presence.lock().take_to_share(now_ms());
        if changes.is_empty() {
            return;
        }
        let present = changes.into_iter().map(|change| self.present(change)).collect();
        self.around.bus.publish(Topic::Room(self.room.prompt), Note::Presence { present });
    }

    fn present(&self, change: Change) -> Present {
        let Change { client, clock, state, socket } = change;
        let seat = socket.and_then(|socket| self.seats.get(&socket));
        let person = seat.map(|seat| seat.member.person(Some(client)));
        Present { client, clock, state, person }
    }
}
