//! No is no: a change of somebody's rights reaches their live sockets, whoever made it and wherever.
//!
//! What is changed on this node is applied at once, and the others are told; the poll finds the rest.

use crate::bus::{Bus, Note, Topic};
use crate::domain::{refusal::Refusal, rights::rights};
use crate::live::{clock::now_ms, hub::Hub, member::Member, poll::stand, room::Room};
use crate::store::{Principal, PromptRow, RoomHead, SecretHash, Store, StoreError};
use promptroom_protocol::{MemberId, PromptId, Rights};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Rooms whose members are asked for together, in three queries: whoever comes meanwhile has to come again.
const ROOMS_AT_ONCE: usize = 256;
const NONE: Rights = Rights { edit: false, run: false, manage: false };

pub struct Authority {
    store: Arc<Store>,
    hub: Arc<Hub>,
    bus: Bus,
}

/// Who there is, of those who are in a room.
#[derive(Default)]
struct Known {
    asked: HashSet<MemberId>,
    principals: HashMap<MemberId, Principal>,
    asked_sessions: HashSet<SecretHash>,
    sessions: HashSet<SecretHash>,
}

impl Authority {
    pub fn new(store: Arc<Store>, hub: Arc<Hub>, bus: Bus) -> Arc<Self> {
        Arc::new(Authority { store, hub, bus })
    }

    /// For whoever has changed rights on this node: resolves when they hold here, and lets the other nodes know.
    pub async fn look(&self) -> Result<(), StoreError> {
        self.bus.publish(Topic::Workspace, Note::Rights);
        let rooms = stand(&self.store, &self.hub).await?;
        self.apply(&rooms).await
    }

    /// Looks at everybody in those rooms where rights have moved since.
    pub async fn apply(&self, rooms: &[(Arc<Room>, RoomHead)]) -> Result<(), StoreError> {
        let moved = rooms.iter().filter(|(room, head)| head.rights_epoch > room.rights_epoch());
        let (empty, peopled): (Vec<_>, Vec<_>) = moved.partition(|(room, _)| room.concerned().is_empty());
        // Nobody has to be asked about, and what is written there must not wait for all the others.
        for (room, head) in empty {
            room.change_rights(head.rights_epoch, || {
                for member in room.concerned() {
                    take_away(room, &member, Refusal::RightsChanged);
                }
            });
        }
        for rooms in peopled.chunks(ROOMS_AT_ONCE) {
            let members = rooms.iter().flat_map(|(room, _)| room.concerned());
            let known = self.ask(&members.collect::<Vec<_>>()).await?;
            let ids: Vec<PromptId> = rooms.iter().map(|(room, _)| room.prompt).collect();
            let rows = self.store.prompts_of(&ids).await?;
            let rows: HashMap<PromptId, PromptRow> = rows.into_iter().map(|row| (row.id, row)).collect();
            for (room, head) in rooms {
                let Some(row) = rows.get(&room.prompt) else { continue };
                room.change_rights(head.rights_epoch, || {
                    for member in room.concerned() {
                        known.apply_to(&member, room, row);
                    }
                });
            }
        }
        Ok(())
    }

    async fn ask(&self, members: &[Arc<Member>]) -> Result<Known, StoreError> {
        let mut known = Known::default();
        known.asked.extend(members.iter().map(|member| member.id));
        let mut ids: Vec<MemberId> = known.asked.iter().copied().collect();
        ids.sort_unstable();
        let found = self.store.principals_of(&ids).await?;
        known.principals.extend(found.into_iter().map(|principal| (principal.id, principal)));
        known.asked_sessions.extend(members.iter().filter_map(|member| member.session));
        let mut sessions: Vec<SecretHash> = known.asked_sessions.iter().copied().collect();
        sessions.sort_unstable_by_key(|session| session.0);
        known.sessions.extend(self.store.sessions_that_live(&sessions, now_ms()).await?);
        Ok(known)
    }
}

impl Known {
    fn apply_to(&self, member: &Member, room: &Room, row: &PromptRow) {
        let was_asked = self.asked.contains(&member.id)
            && member.session.is_none_or(|session| self.asked_sessions.contains(&session));
        let has_session = member.session.is_none_or(|session| self.sessions.contains(&session));
        if !was_asked {
            // It came after the names were taken, with rights that may be the old ones.
            take_away(room, member, Refusal::RightsChanged);
        } else if !has_session {
            // What it has sent so far is its own; what waits for its turn counts no more.
            member.set_rights(NONE);
            member.close(Refusal::SignInNeeded);
        } else {
            apply(room, member, row, &self.principals);
        }
    }
}

fn apply(room: &Room, member: &Member, row: &PromptRow, principals: &HashMap<MemberId, Principal>) {
    let now = principals
        .get(&member.id)
        .and_then(|principal| rights(member.id, principal.role, row.owner.id, row.visibility));
    match now {
        Some(rights) if rights == member.rights() => {}
        // The socket starts again under its new rights, so that the page shows what it may do.
        Some(rights) if rights.edit => {
            member.set_rights(rights);
            member.close(Refusal::RightsChanged);
        }
        Some(_) => take_away(room, member, Refusal::RightsChanged),
        None if !principals.contains_key(&member.id) => take_away(room, member, Refusal::SignInNeeded),
        None => take_away(room, member, Refusal::AccessLost),
    }
}

/// Frames that the socket has sent and that wait for their turn count no more, nor what is not durable yet.
fn take_away(room: &Room, member: &Member, reason: Refusal) {
    let could_edit = member.rights().edit;
    member.set_rights(NONE);
    member.close(reason);
    if could_edit && room.has_unwritten() {
        room.end(Refusal::RoomRestarted);
    }
}
