//! No is no: a change of somebody's rights reaches their live sockets, whoever made it and wherever.
//!
//! What is changed on this node is applied at once; twice a second the store is asked whether anything else moved.

use crate::domain::{refusal::Refusal, rights::rights};
use crate::live::{hub::Hub, member::Member, room::Room, tasks::Tasks};
use crate::store::{Principal, PromptRow, RoomHead, Store, StoreError};
use promptroom_protocol::{MemberId, PromptId, Rights};
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
        tasks.spawn_vital("watch over rights", authority.clone().watch(tasks.clone()));
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
                Some(head) if head.rights_epoch > room.rights_epoch() => {
                    moved.push((room, head.rights_epoch))
                }
                Some(_) => {}
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        for (room, rights_epoch) in moved {
            self.apply_in(&room, rights_epoch).await?;
        }
        Ok(())
    }

    async fn apply_in(&self, room: &Arc<Room>, rights_epoch: u64) -> Result<(), StoreError> {
        let Some(row) = self.store.prompt(room.prompt).await? else { return Ok(()) };
        let mut ids: Vec<MemberId> = room.members().iter().map(|member| member.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let found = self.store.principals_of(&ids).await?;
        let principals: HashMap<MemberId, Principal> =
            found.into_iter().map(|principal| (principal.id, principal)).collect();
        room.change_rights(rights_epoch, || {
            for member in room.members() {
                if ids.binary_search(&member.id).is_ok() {
                    apply(room, &member, &row, &principals);
                } else {
                    // It came after the names were taken, with rights that may be the old ones.
                    take_away(room, &member, Refusal::RightsChanged);
                }
            }
        });
        Ok(())
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
    member.set_rights(Rights { edit: false, run: false, manage: false });
    member.close(reason);
    if could_edit && room.has_unwritten() {
        room.end(Refusal::RoomRestarted);
    }
}
