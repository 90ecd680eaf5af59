//! Prompt id → the room's life on this node: opened once, however many ask, and gone when nobody needs it.

use crate::bus::{Bus, Note, Subscription, Topic};
use crate::domain::{
    document::Document,
    log::Position,
    prompt::{Cut, PromptContent},
    refusal::Refusal,
};
use crate::live::{
    clock::random,
    keeper::Keeper,
    member::Member,
    room::{
        CutAsk, Edit, Entered, Room, RoomLimits, ToRoom,
        owner::{Around, Owner, RoomStart},
    },
    runs::{Runs, unavailable},
    slots::Slots,
    tasks::Tasks,
};
use crate::store::{Generation, RoomHead, RoomImage, SecretHash, Store, StoreError};
use promptroom_protocol::{PromptId, Seq, ServerFrame};
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
pub const RUNS_LOADED: u32 = 50;
/// Asking where a prompt stands takes no longer, or is given up.
const HEAD_LIMIT: Duration = Duration::from_secs(5);

pub struct Hub {
    parts: HubParts,
    slots: Slots<Room>,
}

/// What the hub works with.
pub struct HubParts {
    pub store: Arc<Store>,
    pub keeper: Arc<Keeper>,
    pub runs: Arc<Runs>,
    pub bus: Bus,
    pub tasks: Tasks,
    pub limits: RoomLimits,
    pub rooms_max: usize,
    /// Whether others may write to the database.
    pub shared: bool,
}

/// Which state of a prompt a question is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// What the people here see.
    Here,
    /// At least all that anybody was told is saved.
    Saved,
}

impl Hub {
    pub fn new(parts: HubParts) -> Arc<Self> {
        Arc::new(Hub { parts, slots: Slots::default() })
    }

    /// The open room of a prompt, if it is open here.
    pub fn peek(&self, prompt: PromptId) -> Option<Arc<Room>> {
        self.slots.get(prompt).filter(|room| !room.is_ended())
    }

    /// All rooms that are open here, in the order of their prompts' ids.
    pub fn rooms(&self) -> Vec<Arc<Room>> {
        let mut rooms = self.slots.lives();
        rooms.retain(|room| !room.is_ended());
        rooms.sort_unstable_by_key(|room| room.prompt);
        rooms
    }

    /// Whether other nodes may write to the rooms that are open here.
    pub fn has_others(&self) -> bool {
        self.parts.shared || self.parts.bus.has_others()
    }

    /// Takes a socket into its prompt's room, opening it if need be.
    pub async fn enter(
        self: &Arc<Self>,
        prompt: PromptId,
        member: &Arc<Member>,
    ) -> Result<(Arc<Room>, Entered), Refusal> {
        self.ask(prompt, View::Here, |reply| ToRoom::Enter { member: member.clone(), reply }).await
    }

    /// What the prompt holds now.
    pub async fn read(self: &Arc<Self>, prompt: PromptId) -> Result<PromptContent, Refusal> {
        self.ask(prompt, View::Saved, |reply| ToRoom::Read { reply }).await.map(|(_, content)| content)
    }

    pub async fn cut(self: &Arc<Self>, prompt: PromptId, ask: CutAsk) -> Result<Cut, Refusal> {
        let cut = |reply| ToRoom::Cut { ask: Box::new(ask.clone()), reply };
        self.ask(prompt, View::Saved, cut).await.map(|(_, cut)| cut)
    }

    /// Changes the content through the room, like any other edit; resolves when that is durable.
    pub async fn edit(self: &Arc<Self>, prompt: PromptId, edit: Edit) -> Result<(), Refusal> {
        let edit = |reply| ToRoom::Edit { edit: Box::new(edit.clone()), reply };
        let (room, position): (Arc<Room>, Position) = self.ask(prompt, View::Saved, edit).await?;
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
        view: View,
        message: impl Fn(oneshot::Sender<Result<T, Refusal>>) -> ToRoom,
    ) -> Result<(Arc<Room>, T), Refusal> {
        for _ in 0..TRIES {
            let room = self.open(prompt).await?;
            let asked = async {
                if view == View::Saved {
                    self.catch_up(&room).await?;
                }
                room.ask(&message).await
            };
            match asked.await {
                Ok(answer) => return answer.map(|answer| (room, answer)),
                Err(Refusal::RoomRestarted) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::RoomRestarted)
    }

    /// Opens a prompt's room, if need be, and brings it to where the database is now. Returns its rights epoch: whoever
    /// reads somebody's rights after that finds none that are older.
    pub async fn reach_head(self: &Arc<Self>, prompt: PromptId) -> Result<u64, Refusal> {
        let room = self.open(prompt).await?;
        self.catch_up(&room).await?;
        Ok(room.rights_epoch())
    }

    /// Brings a room to where the database is now.
    async fn catch_up(&self, room: &Arc<Room>) -> Result<(), Refusal> {
        if !self.has_others() {
            return Ok(());
        }
        let asked = timeout(HEAD_LIMIT, self.parts.store.heads(&[room.prompt])).await;
        let heads = asked.map_err(|_| Refusal::StoreUnavailable)?.map_err(unavailable)?;
        match heads.first() {
            None => Err(Refusal::PromptNotFound),
            Some(RoomHead { deleted: true, .. }) => Err(Refusal::PromptDeleted),
            Some(head) if head.lineage != room.lineage => {
                room.end(Refusal::LineageChanged);
                Err(Refusal::RoomRestarted)
            }
            Some(head) => room.until_head(head.head).await,
        }
    }

    /// The room of a prompt, loaded from the store if it is not open; one load at a time.
    pub async fn open(self: &Arc<Self>, prompt: PromptId) -> Result<Arc<Room>, Refusal> {
        for _ in 0..TRIES {
            if self.parts.tasks.is_draining() {
                return Err(Refusal::Draining);
            }
            if self.slots.count() >= self.parts.rooms_max && !self.slots.contains(prompt) {
                return Err(Refusal::NodeFull);
            }
            let room = self.slots.open(prompt, || self.begin(prompt)).await?;
            if !room.is_ended() {
                self.found(&room);
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

    /// Notes of others reach the room from now on: what they told of while it was loaded is looked for once.
    fn found(&self, room: &Room) {
        if room.is_found_first() && self.parts.bus.has_others() {
            room.look();
            self.parts.bus.publish(Topic::Room(room.prompt), Note::WhoIsHere);
        }
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
        let HubParts { store, keeper, runs, bus, tasks, limits, .. } = &self.parts;
        let row = store.prompt(prompt).await.map_err(unavailable)?.ok_or(Refusal::PromptNotFound)?;
        if row.deleted_at_ms.is_some() {
            return Err(Refusal::PromptDeleted);
        }
        // Subscribed first: what is written while it is loaded is then heard, or known to have been missed.
        let subscription: Subscription = bus.subscribe(Topic::Room(prompt)).await;
        let (image, document) = self.load(prompt).await?;
        let start = RoomStart {
            prompt,
            lineage: image.lineage,
            head: image.head,
            rights_epoch: image.rights_epoch,
            document,
            title: image.title,
            limits: *limits,
        };
        let around = Around {
            store: store.clone(),
            keeper: keeper.clone(),
            runs: runs.clone(),
            bus: bus.clone(),
            tasks: tasks.clone(),
        };
        let (room, owner) = Owner::new(start, around);
        // Attached first: what happens to a run while the others are read is then told, and wins.
        runs.attach(&room);
        let known = store.runs(prompt, None, RUNS_LOADED).await.map_err(unavailable)?;
        room.know_runs(known, image.revision);
        let life = Life { hub: self.clone(), room: room.clone(), _subscription: subscription };
        let serving = owner.serve();
        tasks.spawn(async move {
            let _life = life;
            serving.await;
        });
        Ok(room)
    }

    /// The newest generation that is whole; a room that cannot be read is refused, never opened empty.
    async fn load(&self, prompt: PromptId) -> Result<(RoomImage, Document), Refusal> {
        let mut damaged = false;
        for generation in [Generation::Newest, Generation::Older] {
            let image = match self.parts.store.load_room(prompt, generation).await {
                Ok(Some(image)) => image,
                Ok(None) => return Err(Refusal::PromptNotFound),
                Err(StoreError::Corrupt(detail)) => {
                    tracing::error!(prompt.id = %prompt, ?generation, detail, "a snapshot is damaged");
                    damaged = true;
                    continue;
                }
                Err(error) => return Err(unavailable(error)),
            };
            let limit_bytes = self.parts.limits.document_bytes;
            let loading = self.parts.tasks.block(move || {
                let document = load(&image, limit_bytes);
                (image, document)
            });
            let (image, document) = loading.await.map_err(|_| Refusal::Internal)?;
            match document {
                Some(document) => {
                    if damaged {
                        self.give_up_newest(prompt, image.snapshot.as_ref().map(|(seq, _)| *seq)).await?;
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
    async fn give_up_newest(&self, prompt: PromptId, good: Option<Seq>) -> Result<(), Refusal> {
        let store = &self.parts.store;
        if let Some(damaged) = store.newest_snapshot(prompt).await.map_err(unavailable)? {
            store.drop_snapshot(prompt, damaged, good).await.map_err(unavailable)?;
        }
        Ok(())
    }
}

/// As long as a room's owner serves; also when it panics the next life may begin.
struct Life {
    hub: Arc<Hub>,
    room: Arc<Room>,
    _subscription: Subscription,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.room.end(Refusal::RoomRestarted);
        self.room.mark_gone();
        self.hub.parts.runs.detach(self.room.prompt);
        self.hub.slots.forget(self.room.prompt, &self.room);
    }
}

fn load(image: &RoomImage, limit_bytes: usize) -> Option<Document> {
    // Random for each life, and apart from what clients choose.
    let client_id = u64::from(random() as u32) | 1 << 52;
    let snapshot = image.snapshot.as_ref().map(|(_, bytes)| &bytes[..]);
    let mut document =
        Document::load(client_id, snapshot, image.rows.iter().map(|(_, row)| &row[..])).ok()?;
    document.limit_bytes(limit_bytes);
    Some(document)
}
