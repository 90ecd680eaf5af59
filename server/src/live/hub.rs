//! Prompt id → the room's life on this node: opened once, however many ask, and gone when nobody needs it.

use crate::domain::{
    document::Document,
    log::Position,
    prompt::{ContentPatch, Cut, PromptContent},
    refusal::Refusal,
};
use crate::live::{
    keeper::Keeper,
    member::Member,
    room::{
        Access, CutAsk, Entered, Room, RoomLimits, ToRoom,
        owner::{Owner, RoomStart},
    },
    runs::{Runs, unavailable},
    tasks::Tasks,
};
use crate::store::{Generation, RoomImage, Store, StoreError};
use dashmap::DashMap;
use promptroom_protocol::{PromptId, ServerFrame};
use std::{sync::Arc, time::Duration};
use tokio::{sync::OnceCell, time::timeout};

/// Times that a room which ends just now is opened again for one who comes.
const TRIES: u32 = 5;
const GONE_WAIT: Duration = Duration::from_secs(5);
/// What is edited over HTTP is answered when durable, or with "not yet" after this.
const DURABLE_WAIT: Duration = Duration::from_secs(10);
/// Newest runs that a room knows of.
const RUNS_LOADED: u32 = 50;

pub struct Hub {
    store: Arc<Store>,
    keeper: Arc<Keeper>,
    runs: Arc<Runs>,
    tasks: Tasks,
    limits: RoomLimits,
    rooms_max: usize,
    slots: DashMap<PromptId, Arc<Slot>>,
}

#[derive(Default)]
struct Slot {
    room: OnceCell<Arc<Room>>,
}

impl Hub {
    pub fn new(
        store: Arc<Store>,
        keeper: Arc<Keeper>,
        runs: Arc<Runs>,
        tasks: Tasks,
        limits: RoomLimits,
        rooms_max: usize,
    ) -> Arc<Self> {
        Arc::new(Hub { store, keeper, runs, tasks, limits, rooms_max, slots: DashMap::new() })
    }

    /// The open room of a prompt, if it is open here.
    pub fn peek(&self, prompt: PromptId) -> Option<Arc<Room>> {
        let slot = self.slots.get(&prompt)?.clone();
        slot.room.get().filter(|room| !room.is_ended()).cloned()
    }

    pub fn rooms(&self) -> Vec<Arc<Room>> {
        let slots: Vec<Arc<Slot>> = self.slots.iter().map(|entry| entry.value().clone()).collect();
        slots.iter().filter_map(|slot| slot.room.get().filter(|room| !room.is_ended()).cloned()).collect()
    }

    /// Takes a socket into its prompt's room, opening it if need be.
    pub async fn enter(
        self: &Arc<Self>,
        prompt: PromptId,
        member: &Arc<Member>,
    ) -> Result<(Arc<Room>, Entered), Refusal> {
        for _ in 0..TRIES {
            let room = self.open(prompt).await?;
            let asked = room.ask(|reply| ToRoom::Enter { member: member.clone(), reply }).await;
            match asked {
                Ok(entered) => return entered.map(|entered| (room, entered)),
                Err(Refusal::RoomRestarted) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::RoomRestarted)
    }

    /// What the prompt holds now.
    pub async fn read(self: &Arc<Self>, prompt: PromptId) -> Result<PromptContent, Refusal> {
        let room = self.open(prompt).await?;
        room.ask(|reply| ToRoom::Read { reply }).await?
    }

    pub async fn cut(self: &Arc<Self>, prompt: PromptId, ask: CutAsk) -> Result<Cut, Refusal> {
        let room = self.open(prompt).await?;
        room.ask(|reply| ToRoom::Cut { ask, reply }).await?
    }

    /// Changes the content through the room, like any other edit; resolves when that is durable.
    pub async fn edit(self: &Arc<Self>, prompt: PromptId, patch: ContentPatch) -> Result<(), Refusal> {
        let room = self.open(prompt).await?;
        let position: Position = room.ask(|reply| ToRoom::Edit { patch, reply }).await??;
        match timeout(DURABLE_WAIT, room.until_durable(position)).await {
            Ok(durable) => durable,
            Err(_) => Err(Refusal::NotDurableYet),
        }
    }

    /// The room of a prompt, loaded from the store if it is not open; one load at a time.
    pub async fn open(self: &Arc<Self>, prompt: PromptId) -> Result<Arc<Room>, Refusal> {
        for _ in 0..TRIES {
            if self.tasks.is_draining() {
                return Err(Refusal::Draining);
            }
            if self.slots.len() >= self.rooms_max && !self.slots.contains_key(&prompt) {
                return Err(Refusal::NodeFull);
            }
            let slot = self.slots.entry(prompt).or_default().clone();
            let opened = slot.room.get_or_try_init(|| self.begin(prompt)).await;
            match opened {
                Ok(room) if !room.is_ended() => return Ok(room.clone()),
                Ok(room) => {
                    // Its rows may be under way; the next life begins when they have arrived.
                    if timeout(GONE_WAIT, room.until_gone()).await.is_err() {
                        return Err(Refusal::StoreUnavailable);
                    }
                    self.forget(prompt, &slot);
                }
                Err(refusal) => {
                    self.forget(prompt, &slot);
                    return Err(refusal);
                }
            }
        }
        Err(Refusal::RoomRestarted)
    }

    /// Sends all sockets away, spread over `within`; the page comes back at a moment of its own choice.
    pub async fn send_away(&self, within: Duration) {
        let members: Vec<Arc<Member>> = self.rooms().iter().flat_map(|room| room.members()).collect();
        let hint = ServerFrame::Drain { within_ms: within.as_millis() as u64 }.encode();
        for member in members.iter().filter(|member| member.versioned) {
            member.send(hint.clone());
        }
        let pause = within / (members.len() as u32).max(1);
        for member in members {
            tokio::time::sleep(pause).await;
            member.close(Refusal::Draining);
        }
    }

    /// Ends all rooms once everything in them is durable, or after `limit`.
    pub async fn end(&self, limit: Duration) {
        let until = tokio::time::Instant::now() + limit;
        for room in self.rooms() {
            let head = room.head();
            if tokio::time::timeout_at(until, room.until_durable(head)).await.is_err() {
                tracing::error!(prompt.id = %room.prompt, "edits could not be written before the stop; their authors still hold them");
            }
            room.end(Refusal::Draining);
        }
    }

    fn forget(&self, prompt: PromptId, slot: &Arc<Slot>) {
        self.slots.remove_if(&prompt, |_, known| Arc::ptr_eq(known, slot));
    }

    async fn begin(self: &Arc<Self>, prompt: PromptId) -> Result<Arc<Room>, Refusal> {
        let row = self.store.prompt(prompt).await.map_err(unavailable)?.ok_or(Refusal::PromptNotFound)?;
        if row.deleted_at_ms.is_some() {
            return Err(Refusal::PromptDeleted);
        }
        let (image, document) = self.load(prompt).await?;
        let runs = self.store.runs(prompt, None, RUNS_LOADED).await.map_err(unavailable)?;
        let start = RoomStart {
            prompt,
            lineage: image.lineage,
            head: image.head,
            rights_epoch: image.rights_epoch,
            access: Access { owner: row.owner.id, visibility: row.visibility, slug: row.slug },
            document,
            title: image.title,
            runs,
            limits: self.limits,
        };
        let (room, owner) = Owner::new(start, self.keeper.clone(), self.runs.clone());
        self.runs.attach(&room);
        let hub = self.clone();
        let life = room.clone();
        self.tasks.spawn(async move {
            owner.serve().await;
            hub.runs.detach(prompt);
            hub.slots
                .remove_if(&prompt, |_, slot| slot.room.get().is_some_and(|room| Arc::ptr_eq(room, &life)));
        });
        Ok(room)
    }

    /// The newest generation that is whole; a room that cannot be read is refused, never opened empty.
    async fn load(&self, prompt: PromptId) -> Result<(RoomImage, Document), Refusal> {
        let mut damaged = false;
        for generation in [Generation::Newest, Generation::Older] {
            let image = match self.store.load_room(prompt, generation).await {
                Ok(Some(image)) => image,
                Ok(None) => return Err(Refusal::PromptNotFound),
                Err(StoreError::Corrupt(detail)) => {
                    tracing::error!(prompt.id = %prompt, ?generation, detail, "a snapshot is damaged");
                    damaged = true;
                    continue;
                }
                Err(error) => return Err(unavailable(error)),
            };
            let limit_bytes = self.limits.document_bytes;
            let loading = self.tasks.block(move || {
                let document = load(&image, limit_bytes);
                (image, document)
            });
            let (image, document) = loading.await.map_err(|_| Refusal::Internal)?;
            match document {
                Some(document) => {
                    if damaged {
                        self.give_up_newest(prompt).await?;
                    }
                    return Ok((image, document));
                }
                None => {
                    damaged = true;
                    tracing::error!(prompt.id = %prompt, ?generation, "a document is damaged in the store");
                }
            }
        }
        Err(Refusal::Internal)
    }

    /// The older generation proved good, so nothing is lost with the damaged one.
    async fn give_up_newest(&self, prompt: PromptId) -> Result<(), Refusal> {
        if let Some(seq) = self.store.newest_snapshot(prompt).await.map_err(unavailable)? {
            self.store.drop_snapshot(prompt, seq).await.map_err(unavailable)?;
        }
        Ok(())
    }
}

fn load(image: &RoomImage, limit_bytes: usize) -> Option<Document> {
    let client_id = u64::from(rand::random::<u32>()) | 1 << 52;
    let snapshot = image.snapshot.as_ref().map(|(_, bytes)| &bytes[..]);
    let mut document =
        Document::load(client_id, snapshot, image.rows.iter().map(|(_, row)| &row[..])).ok()?;
    document.limit_bytes(limit_bytes);
    Some(document)
}
