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
        CutAsk, Entered, Room, RoomLimits, ToRoom,
        owner::{Owner, RoomStart},
    },
    runs::{Runs, unavailable},
    slots::Slots,
    tasks::Tasks,
};
use crate::store::{Generation, RoomImage, SecretHash, Store, StoreError};
use promptroom_protocol::{PromptId, ServerFrame};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout, timeout_at},
};

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
    slots: Slots<Room>,
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
        Arc::new(Hub { store, keeper, runs, tasks, limits, rooms_max, slots: Slots::default() })
    }

    /// The open room of a prompt, if it is open here.
    pub fn peek(&self, prompt: PromptId) -> Option<Arc<Room>> {
        self.slots.get(prompt).filter(|room| !room.is_ended())
    }

    pub fn rooms(&self) -> Vec<Arc<Room>> {
        self.slots.lives().into_iter().filter(|room| !room.is_ended()).collect()
    }

    /// Takes a socket into its prompt's room, opening it if need be.
    pub async fn enter(
        self: &Arc<Self>,
        prompt: PromptId,
        member: &Arc<Member>,
    ) -> Result<(Arc<Room>, Entered), Refusal> {
        self.ask(prompt, |reply| ToRoom::Enter { member: member.clone(), reply }).await
    }

    /// What the prompt holds now.
    pub async fn read(self: &Arc<Self>, prompt: PromptId) -> Result<PromptContent, Refusal> {
        self.ask(prompt, |reply| ToRoom::Read { reply }).await.map(|(_, content)| content)
    }

    pub async fn cut(self: &Arc<Self>, prompt: PromptId, ask: CutAsk) -> Result<Cut, Refusal> {
        self.ask(prompt, |reply| ToRoom::Cut { ask: Box::new(ask.clone()), reply }).await.map(|(_, cut)| cut)
    }

    /// Changes the content through the room, like any other edit; resolves when that is durable.
    pub async fn edit(self: &Arc<Self>, prompt: PromptId, patch: ContentPatch) -> Result<(), Refusal> {
        let asked = self.ask(prompt, |reply| ToRoom::Edit { patch: Box::new(patch.clone()), reply });
        let (room, position): (Arc<Room>, Position) = asked.await?;
        match timeout(DURABLE_WAIT, room.until_durable(position)).await {
            Ok(durable) => durable,
            Err(_) => Err(Refusal::NotDurableYet),
        }
    }

    /// Closes what a session has opened, as it is no more.
    pub fn close_session(&self, session: SecretHash) {
        for room in self.rooms() {
            for member in room.members().iter().filter(|member| member.session == Some(session)) {
                member.close(Refusal::SignInNeeded);
            }
        }
    }

    /// Asks a prompt's room; a room that ends before it has taken the question leaves it to its next life.
    async fn ask<T>(
        self: &Arc<Self>,
        prompt: PromptId,
        message: impl Fn(oneshot::Sender<Result<T, Refusal>>) -> ToRoom,
    ) -> Result<(Arc<Room>, T), Refusal> {
        for _ in 0..TRIES {
            let room = self.open(prompt).await?;
            match room.ask(&message).await {
                Ok(answer) => return answer.map(|answer| (room, answer)),
                Err(Refusal::RoomRestarted) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::RoomRestarted)
    }

    /// The room of a prompt, loaded from the store if it is not open; one load at a time.
    pub async fn open(self: &Arc<Self>, prompt: PromptId) -> Result<Arc<Room>, Refusal> {
        for _ in 0..TRIES {
            if self.tasks.is_draining() {
                return Err(Refusal::Draining);
            }
            if self.slots.count() >= self.rooms_max && !self.slots.contains(prompt) {
                return Err(Refusal::NodeFull);
            }
            let room = self.slots.open(prompt, || self.begin(prompt)).await?;
            if !room.is_ended() {
                return Ok(room);
            }
            // Its rows may be under way; the next life begins when they have arrived.
            if timeout(GONE_WAIT, room.until_gone()).await.is_err() {
                return Err(Refusal::StoreUnavailable);
            }
            self.slots.forget(prompt, &room);
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
        let start = Instant::now();
        let count = (members.len() as u32).max(1);
        for (number, member) in (1..).zip(members) {
            // Towards fixed moments: thousands of short sleeps would each be rounded up.
            sleep_until(start + within.mul_f64(f64::from(number) / f64::from(count))).await;
            member.close(Refusal::Draining);
        }
    }

    /// Ends all rooms once everything in them is durable, or after `limit`.
    pub async fn end(&self, limit: Duration) {
        let until = Instant::now() + limit;
        for room in self.rooms() {
            let head = room.head();
            if timeout_at(until, room.until_durable(head)).await.is_err() {
                tracing::error!(prompt.id = %room.prompt, "edits could not be written before the stop; their authors still hold them");
            }
            room.end(Refusal::Draining);
        }
    }

    async fn begin(self: &Arc<Self>, prompt: PromptId) -> Result<Arc<Room>, Refusal> {
        let row = self.store.prompt(prompt).await.map_err(unavailable)?.ok_or(Refusal::PromptNotFound)?;
        if row.deleted_at_ms.is_some() {
            return Err(Refusal::PromptDeleted);
        }
        let (image, document) = self.load(prompt).await?;
        let start = RoomStart {
            prompt,
            lineage: image.lineage,
            head: image.head,
            rights_epoch: image.rights_epoch,
            document,
            title: image.title,
            limits: self.limits,
        };
        let (room, owner) = Owner::new(start, self.keeper.clone(), self.runs.clone());
        // Attached first: what happens to a run while the others are read is then told, and wins.
        self.runs.attach(&room);
        room.know_runs(self.store.runs(prompt, None, RUNS_LOADED).await.map_err(unavailable)?);
        let hub = self.clone();
        let life = room.clone();
        self.tasks.spawn(async move {
            owner.serve().await;
            hub.runs.detach(prompt);
            hub.slots.forget(prompt, &life);
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
