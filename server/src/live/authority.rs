//! No is no: a change of somebody's rights reaches their live sockets, whoever made it and wherever.
//!
//! What is changed on this node is applied at once; twice a second the store is asked whether anything else moved.

use crate::domain::{refusal::Refusal, rights::rights};
use crate::live::{
    hub::Hub,
    member::Member,
    room::{Access, Room},
    tasks::Tasks,
};
use crate::store::{Principal, PromptRow, RoomHead, Store, StoreError};
use promptroom_protocol::{MemberId, PromptId};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

const PACE: Duration = Duration::from_millis(500);

pub struct Authority {
    store: Arc<Store>,
    hub: Arc<Hub>,
    bell: Arc<Notify>,
}

impl Authority {
    /// `bell` is rung by whoever changed rights, or saw that they have changed.
    pub fn start(store: Arc<Store>, hub: Arc<Hub>, bell: Arc<Notify>, tasks: &Tasks) -> Arc<Self> {
        let authority = Arc::new(Authority { store, hub, bell });
        tasks.spawn(authority.clone().watch(tasks.clone()));
        authority
    }

    async fn watch(self: Arc<Self>, tasks: Tasks) {
        let mut told = false;
        loop {
            tokio::select! {
                () = self.bell.notified() => {}
                () = sleep_until(Instant::now() + PACE) => {}
                () = tasks.stopped() => return,
            }
            match self.look().await {
                Ok(()) => told = false,
                Err(error) if !told => {
                    tracing::warn!(%error, "the store does not tell who may do what; what was known holds");
                    told = true;
                }
                Err(_) => {}
            }
        }
    }

    /// One query for all open rooms; more only where something moved.
    pub async fn look(&self) -> Result<(), StoreError> {
        let rooms = self.hub.rooms();
        if rooms.is_empty() {
            return Ok(());
        }
        let ids: Vec<PromptId> = rooms.iter().map(|room| room.prompt).collect();
        let heads: HashMap<PromptId, RoomHead> =
            self.store.heads(&ids).await?.into_iter().map(|head| (head.prompt, head)).collect();
        let mut moved = Vec::new();
        for room in rooms {
            match heads.get(&room.prompt) {
                None => room.end(Refusal::PromptNotFound),
                Some(head) if head.deleted => room.end(Refusal::PromptDeleted),
                Some(head) if head.lineage != room.lineage => room.end(Refusal::LineageChanged),
                Some(head) if head.rights_epoch != room.rights_epoch() => {
                    moved.push((room, head.rights_epoch))
                }
                Some(_) => {}
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        let principals: HashMap<MemberId, Principal> =
            self.store.principals().await?.into_iter().map(|principal| (principal.id, principal)).collect();
        for (room, rights_epoch) in moved {
            let Some(row) = self.store.prompt(room.prompt).await? else { continue };
            apply(&room, &row, &principals);
            room.set_rights_epoch(rights_epoch);
        }
        Ok(())
    }
}

fn apply(room: &Room, row: &PromptRow, principals: &HashMap<MemberId, Principal>) {
    room.set_access(Access { owner: row.owner.id, visibility: row.visibility, slug: row.slug.clone() });
    for member in room.members() {
        let now = principals
            .get(&member.id)
            .and_then(|principal| rights(member.id, principal.role, row.owner.id, row.visibility));
        let lost_edit = member.rights().edit && !now.is_some_and(|rights| rights.edit);
        match now {
            Some(rights) if rights == member.rights() => {}
            Some(rights) => change(&member, rights),
            None => member.close(Refusal::AccessLost),
        }
        // What they wrote under the old rights and is not durable yet must not become so.
        if lost_edit && room.has_unwritten() {
            room.end(Refusal::RoomRestarted);
        }
    }
}

/// The socket starts again under its new rights, so that the page shows what it may do.
fn change(member: &Member, rights: promptroom_protocol::Rights) {
    member.set_rights(rights);
    member.close(Refusal::RightsChanged);
}
