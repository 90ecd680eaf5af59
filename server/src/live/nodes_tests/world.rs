//! Nodes in one process over one database, and people who write in a room.

use super::super::{
    authority::Authority,
    checkpoint::Checkpoint,
    ears::Ears,
    hub::{Hub, HubParts},
    keeper::Keeper,
    member::Member,
    poll::Poll,
    room::{Brings, Room, RoomLimits, ToRoom},
    runs::{Runs, RunsParts},
    tasks::Tasks,
};
use crate::bus::{self, Bus};
use crate::domain::{
    document::{Document, first_state},
    gate::GateLimits,
    log::{LogLimits, Position, SocketId},
    presence::PresenceVersion,
    prompt::ContentPatch,
    refusal::Refusal,
    rights::Visibility,
};
use crate::model::{Models, ModelsConfig};
use crate::store::{CreateOutcome, NewPrincipal, NewPrompt, NodeId, PrincipalKind, SecretHash, Store};
use bytes::BytesMut;
use promptroom_protocol::{
    LineageId, MemberId, Person, PromptId, Reader, RequestId, Role, Seq, ServerFrame, SyncStep, put_bytes,
    put_varint,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

pub const PATIENCE: Duration = Duration::from_secs(20);

const LIMITS: RoomLimits = RoomLimits {
    log: LogLimits { entries: 4_096, bytes: 1 << 20, unwritten_bytes: 8 << 20 },
    members: 100,
    document_bytes: 1 << 20,
    awareness_bytes: 1 << 10,
    idle_ms: 60_000,
    look_ms: 5_000,
};

static SOCKETS: AtomicU64 = AtomicU64::new(1);

/// A database with two people and a prompt.
pub struct World {
    pub ann: Person,
    pub bob: Person,
    pub prompt: PromptId,
    pub lineage: LineageId,
    directory: tempfile::TempDir,
}

impl World {
    pub async fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&url(&directory)).await.unwrap();
        store.migrate().await.unwrap();
        let ann = person(&store, "Ann", Role::Owner).await;
        let bob = person(&store, "Bob", Role::Editor).await;
        let content = ContentPatch { title: Some("-".to_owned()), ..ContentPatch::default() };
        let new = NewPrompt {
            id: PromptId(Uuid::new_v4()),
            lineage: LineageId(Uuid::new_v4()),
            slug: "tea".to_owned(),
            owner: ann.id,
            visibility: Visibility::Workspace,
            title: "-".to_owned(),
            first_row: first_state(1, &content, "demo/echo").unwrap().into(),
            now_ms: 1,
        };
        let CreateOutcome::Created(prompt) = store.create_prompt(&new).await.unwrap() else {
            panic!("not created")
        };
        World { ann, bob, prompt: prompt.id, lineage: new.lineage, directory }
    }

    pub async fn store(&self) -> Arc<Store> {
        Arc::new(Store::open(&url(&self.directory)).await.unwrap())
    }

    /// What the rows in the database come to.
    pub async fn stored(&self) -> Document {
        let store = self.store().await;
        let image = store.load_room(self.prompt, crate::store::Generation::Newest).await.unwrap().unwrap();
        let snapshot = image.snapshot.as_ref().map(|(_, bytes)| &bytes[..]);
        Document::load(9, snapshot, image.rows.iter().map(|(_, row)| &row[..])).expect("whole")
    }

    pub async fn head(&self) -> Seq {
        self.store().await.heads(&[self.prompt]).await.unwrap()[0].head
    }
}

fn url(directory: &tempfile::TempDir) -> String {
    format!("sqlite://{}", directory.path().join("p.db").display())
}

async fn person(store: &Store, name: &str, role: Role) -> Person {
    let id = MemberId(Uuid::new_v4());
    let kind = PrincipalKind::Person;
    let new = NewPrincipal { id, kind, name: name.to_owned(), role, token: None, now_ms: 1 };
    store.add_principal(&new).await.unwrap();
    Person { id, name: new.name, role, client: None }
}

pub struct Node {
    pub hub: Arc<Hub>,
    pub store: Arc<Store>,
    pub authority: Arc<Authority>,
    prompt: PromptId,
}

impl Node {
    /// A node that hears the others where it has ears, and whose edits get to the disk.
    pub async fn start(world: &World, bus: Bus, ears: Option<bus::Ears>) -> Node {
        Node::start_with(world, bus, ears, &Tasks::default()).await
    }

    /// One that never writes anything: its keeper works for another node that has stopped.
    pub async fn start_unwriting(world: &World, bus: Bus, ears: bus::Ears) -> Node {
        let stopped = Tasks::default();
        stopped.stop();
        Node::start_with(world, bus, Some(ears), &stopped).await
    }

    async fn start_with(world: &World, bus: Bus, ears: Option<bus::Ears>, keepers: &Tasks) -> Node {
        let tasks = Tasks::default();
        let store = world.store().await;
        let config = ModelsConfig { demo: true, demo_pace_ms: Some(1), ..ModelsConfig::default() };
        let models = Arc::new(Models::open(config).unwrap());
        let checkpoint = Checkpoint::start(store.clone(), &tasks);
        let node = NodeId(Uuid::new_v4());
        let runs = Runs::new(RunsParts {
            store: store.clone(),
            models,
            checkpoint,
            bus: bus.clone(),
            limits: GateLimits::default(),
            node,
            alone: true,
            tasks: tasks.clone(),
        });
        let bell = Arc::new(Notify::new());
        let keeper = Keeper::start(store.clone(), bus.clone(), bell.clone(), keepers);
        let hub = Hub::new(HubParts {
            store: store.clone(),
            keeper,
            runs: runs.clone(),
            bus: bus.clone(),
            tasks: tasks.clone(),
            limits: LIMITS,
            rooms_max: 10,
            shared: true,
        });
        let authority = Authority::new(store.clone(), hub.clone(), bus.clone());
        Poll::start(store.clone(), hub.clone(), authority.clone(), bell.clone(), &tasks);
        if let Some(ears) = ears {
            Ears::start(bus, ears, hub.clone(), runs, bell, &tasks);
        }
        Node { hub, store, authority, prompt: world.prompt }
    }

    /// Somebody opens the prompt here with nothing in their hands.
    pub async fn enter(&self, person: &Person, client: u64) -> Client {
        self.enter_as(person, client, None).await
    }

    pub async fn enter_as(&self, person: &Person, client: u64, session: Option<SecretHash>) -> Client {
        let document = Document::load(client, None, std::iter::empty()).unwrap();
        self.enter_with(person, client, document, None, session).await
    }

    pub async fn enter_with(
        &self,
        person: &Person,
        client: u64,
        document: Document,
        have: Option<Seq>,
        session: Option<SecretHash>,
    ) -> Client {
        let socket = SocketId(SOCKETS.fetch_add(1, Ordering::Relaxed));
        let request = RequestId(Uuid::nil());
        let member = Arc::new(Member::new(socket, person, person.role.rights(), true, session, request));
        let (room, _) = self.hub.enter(self.prompt, &member).await.unwrap();
        let state_vector = document.state_vector().into_boxed_slice();
        let brings = Box::new(Brings { have, rows: Vec::new(), state_vector: state_vector.into() });
        let join = |reply| ToRoom::Join { member: member.clone(), brings, reply };
        let caught = room.ask(join).await.unwrap().unwrap();
        let mut client = Client {
            room,
            member: member.clone(),
            document,
            client,
            clock: 0,
            sent: 0,
            cursor: caught.position,
            head: caught.head,
            by_rows: caught.are_rows,
            presence: PresenceVersion::default(),
            present: BTreeMap::new(),
            people: BTreeMap::new(),
        };
        for frame in caught.frames.iter().chain(&caught.told).chain(&caught.people) {
            client.apply(frame);
        }
        client
    }
}

/// A page: what it shows, and how far it was told that this is saved.
pub struct Client {
    pub room: Arc<Room>,
    pub member: Arc<Member>,
    pub document: Document,
    client: u64,
    clock: u64,
    /// Document frames sent.
    sent: u64,
    cursor: Position,
    /// The newest row that it was told of.
    pub head: Seq,
    /// Whether it was sent rows when it came, and not the difference to what it had.
    pub by_rows: bool,
    presence: PresenceVersion,
    pub present: BTreeMap<u64, String>,
    pub people: BTreeMap<u64, MemberId>,
}

impl Client {
    pub fn title(&self) -> String {
        self.document.title().unwrap()
    }

    /// Types at the end of the title, and sends it.
    pub async fn types(&mut self, text: &str) {
        let update = self.holds_back(text);
        self.sends(update, false).await;
    }

    /// Types and sends nothing yet.
    pub fn holds_back(&mut self, text: &str) -> Vec<u8> {
        let title = Some(format!("{}{text}", self.title()));
        self.document.edit(&ContentPatch { title, ..ContentPatch::default() }).unwrap()
    }

    pub async fn sends(&mut self, update: Vec<u8>, whole: bool) {
        self.sent += 1;
        let (member, update) = (self.member.clone(), update.into());
        self.room.send(ToRoom::Update { member, update, whole }).await.unwrap();
    }

    /// Shows a state to the others.
    pub async fn shows(&mut self, state: &str) {
        self.clock += 1;
        let mut update = BytesMut::new();
        put_varint(&mut update, 1);
        put_varint(&mut update, self.client);
        put_varint(&mut update, self.clock);
        put_bytes(&mut update, state.as_bytes());
        let (member, update) = (self.member.clone(), update.freeze());
        self.room.send(ToRoom::Awareness { member, update }).await.unwrap();
    }

    pub async fn leaves(self) {
        self.room.send(ToRoom::Leave { member: self.member }).await.unwrap();
    }

    /// Reads on until it is so.
    pub async fn until(&mut self, what: impl Fn(&Client) -> bool) {
        let reading = async {
            loop {
                self.read();
                if what(self) {
                    return;
                }
                self.member.rung().await;
            }
        };
        timeout(PATIENCE, reading).await.expect("in time");
    }

    /// Waits until all that it has sent is saved.
    pub async fn until_saved(&mut self) {
        self.until(|client| client.member.saved_so_far() == client.sent).await;
    }

    pub async fn until_closed(&self) -> Refusal {
        let closing = async {
            loop {
                if let Some(refusal) = self.member.closed() {
                    return refusal;
                }
                self.member.rung().await;
            }
        };
        timeout(PATIENCE, closing).await.expect("in time")
    }

    pub fn read(&mut self) {
        let piece = self.room.since(self.cursor, &self.member).expect("fast enough");
        self.cursor = piece.next;
        // Counted up in the member, as for a socket.
        let _frames = self.member.saved(piece.durable);
        for frame in &piece.frames {
            self.apply(frame);
        }
        if piece.next >= piece.head_position {
            self.head = piece.head;
        }
        if let Some((frame, version)) = self.room.presence_since(self.presence) {
            self.presence = version;
            frame.iter().for_each(|frame| self.apply(frame));
        }
    }

    fn apply(&mut self, frame: &[u8]) {
        match ServerFrame::decode(frame).expect("a frame") {
            ServerFrame::Sync(SyncStep::Update(update) | SyncStep::Step2(update)) => {
                self.document.apply(update).expect("it fits");
            }
            ServerFrame::Awareness(update) => {
                let mut reader = Reader::new(update);
                for _ in 0..reader.varint().unwrap() {
                    let client = reader.varint().unwrap();
                    let _clock = reader.varint().unwrap();
                    let state = String::from_utf8_lossy(reader.bytes().unwrap()).into_owned();
                    self.present.insert(client, state);
                }
            }
            ServerFrame::Person(person) => {
                self.people.insert(person.client.expect("of a client"), person.id);
            }
            _ => {}
        }
    }
}

/// Whether all show the same: content, clocks and deletions.
pub fn same(documents: &[&Document]) -> bool {
    let shown = |document: &Document| (document.digest().unwrap(), document.state_vector());
    documents.windows(2).all(|pair| shown(pair[0]) == shown(pair[1]))
}
