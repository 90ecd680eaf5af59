//! Nodes and people of one schedule, and what can be done to them.

use super::{
    clock,
    database::Database,
    dice::Dice,
    faults::Faults,
    history::History,
    node::{self, Started, Surroundings},
    person::Person,
    scheduler::{Home, Strike},
    stops::Stops,
    stored::Stored,
};
use crate::app::stopping::drain;
use crate::bus::Local;
use crate::edge::{
    socket::{Socket, simulated::Line},
    state::App,
};
use crate::store::NodeId;
use parking_lot::Mutex;
use promptroom_protocol::{MemberId, PromptId};
use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// Messages that a socket holds each way.
const LINE: usize = 1_024;

/// Who takes part, and where.
pub struct Cast {
    pub people: Vec<MemberId>,
    pub rooms: Vec<PromptId>,
}

pub struct World {
    pub around: Surroundings,
    pub faults: Faults,
    pub database: Arc<Database>,
    pub nodes: Mutex<Vec<Node>>,
    pub people: Vec<Sitting>,
    pub dice: Mutex<Dice>,
    next_home: Mutex<u32>,
    /// Any end of the bus: a new node joins beside it.
    bus: Mutex<Option<Arc<Local>>>,
    /// Those that have people.
    pub rooms: Vec<Arc<Stored>>,
    stops: Arc<Stops>,
    /// A row that somebody else holds for a while, and until when.
    held: Mutex<Option<(PromptId, Instant)>>,
}

/// A place for a node; its lives follow one another.
pub struct Node {
    pub home: Home,
    pub app: Option<App>,
    id: NodeId,
    bus: Arc<Local>,
    leaving: Option<Leaving>,
    /// When it may be started again.
    pub back_at: Instant,
    pub resume_at: Option<Instant>,
}

impl Node {
    fn has_left(&self) -> bool {
        self.leaving.as_ref().is_some_and(|leaving| leaving.has_left.load(Ordering::Relaxed))
    }
}

/// A node that was told to stop.
struct Leaving {
    since: Instant,
    /// Whether it was stopped in the middle of that.
    was_paused: bool,
    /// Whether its process has come to its end.
    has_left: Arc<AtomicBool>,
    back_after: Duration,
}

/// A person and where they sit.
#[derive(Clone)]
pub struct Sitting {
    pub person: Arc<Mutex<Person>>,
    pub who: MemberId,
    pub room: Arc<Stored>,
    /// Rung when the person hangs up.
    pub hung_up: Arc<Notify>,
}

impl World {
    pub fn new(dice: &Dice, around: Surroundings, database: Arc<Database>, cast: &Cast) -> Arc<World> {
        let history = around.history.clone();
        let attempts = database.clone();
        around.provider.ask_before_each(Arc::new(move |asked| Some(attempts.attempts_at(asked))));
        let rooms = cast.rooms.iter().map(|prompt| Arc::new(Stored::new(database.clone(), *prompt)));
        let rooms: Vec<Arc<Stored>> = rooms.collect();
        let stops = Arc::new(Stops::new(history.clone()));
        let people = (0..).zip(&cast.people).zip(rooms.iter().cycle()).map(|((number, who), room)| Sitting {
            person: Arc::new(Mutex::new(Person::new(
                number,
                dice.apart(100 + number as u64),
                history.clone(),
                room.clone(),
                stops.clone(),
            ))),
            who: *who,
            room: room.clone(),
            hung_up: Arc::new(Notify::new()),
        });
        Arc::new(World {
            faults: Faults::new(dice.apart(4), history.clone()),
            people: people.collect(),
            around,
            database,
            nodes: Mutex::default(),
            dice: Mutex::new(dice.apart(5)),
            next_home: Mutex::new(0),
            bus: Mutex::new(None),
            rooms,
            stops,
            held: Mutex::new(None),
        })
    }

    pub fn history(&self) -> &History {
        &self.around.history
    }

    pub fn add_nodes(&self, count: usize) {
        for _ in 0..count {
            self.nodes.lock().push(self.a_life());
        }
    }

    fn a_life(&self) -> Node {
        let home = {
            let mut next = self.next_home.lock();
            *next += 1;
            Home(*next)
        };
        let store = self.database.store(self.faults.link(home));
        let beside = self.bus.lock().clone();
        let Started { app, bus, id } = node::start(&self.around, home, store, beside.as_ref());
        *self.bus.lock() = Some(bus.clone());
        self.history().note(|| format!("{home:?} starts"));
        Node { home, app: Some(app), id, bus, leaving: None, back_at: Instant::now(), resume_at: None }
    }

    /// Kills what is at this place.
    pub fn kill(&self, place: usize, back_after: Duration) {
        let home = self.nodes.lock()[place].home;
        self.history().note(|| format!("{home:?} is killed"));
        self.around.scheduler.kill(home);
        self.bury(place, back_after);
    }

    fn bury(&self, place: usize, back_after: Duration) {
        let app = {
            let node = &mut self.nodes.lock()[place];
            node.back_at = Instant::now() + back_after;
            node.resume_at = None;
            node.leaving = None;
            node.app.take()
        };
        drop(app);
    }

    /// The node is told to end, and may drive its runs on for `runs_limit`.
    pub fn tell_to_stop(&self, place: usize, runs_limit: Duration, back_after: Duration) {
        let node = &mut self.nodes.lock()[place];
        let Some(app) = node.app.clone().filter(|_| node.leaving.is_none()) else { return };
        let home = node.home;
        self.history().note(|| format!("{home:?} is told to stop, and drives its runs for {runs_limit:?}"));
        self.history().count("drains", 1);
        let has_left = Arc::new(AtomicBool::new(false));
        let leaving =
            Leaving { since: Instant::now(), was_paused: false, has_left: has_left.clone(), back_after };
        node.leaving = Some(leaving);
        self.around.scheduler.spawn(Some(home), async move {
            drain(&app, runs_limit, pending()).await;
            has_left.store(true, Ordering::Relaxed);
        });
    }

    /// A node that comes to its end by itself leaves nothing behind that others would have to wait for.
    fn see_off(&self, place: usize) {
        let (home, id, back_after, in_peace) = {
            let nodes = self.nodes.lock();
            let Some(leaving) = &nodes[place].leaving else { return };
            let in_peace = !leaving.was_paused && !self.faults.hinders_since(leaving.since);
            (nodes[place].home, nodes[place].id, leaving.back_after, in_peace)
        };
        self.history().note(|| format!("{home:?} has left (in peace: {in_peace})"));
        self.history().count("drains to the end", 1);
        let left = self.database.driven_by(id);
        if in_peace && left > 0 {
            self.history().broken(&format!("2: {home:?} has left in peace and still has {left} runs"));
        }
        self.around.scheduler.kill(home);
        self.bury(place, back_after);
    }

    /// Somebody else holds the row of this room for a while: whoever writes passes it over.
    pub fn hold_row(&self, prompt: PromptId, length: Duration) {
        let mut held = self.held.lock();
        if held.is_none() && self.database.hold_row(prompt, true) {
            self.history().note(|| format!("the row of {prompt} is held for {length:?}"));
            self.history().count("rows held", 1);
            *held = Some((prompt, Instant::now() + length));
        }
    }

    fn let_go_of_rows(&self, now: Instant) {
        let mut held = self.held.lock();
        if let Some((prompt, until)) = *held
            && until <= now
            && self.database.hold_row(prompt, false)
        {
            self.history().note(|| format!("the row of {prompt} is free again"));
            *held = None;
        }
    }

    /// What must hold at any time, of what was done since this was last asked.
    fn look_at_stops(&self) {
        let hinders = |home, since| self.around.scheduler.is_paused(home) || self.faults.hinders_since(since);
        self.stops.look(&self.database, &self.around.provider, hinders);
    }

    pub fn pause(&self, place: usize, length: Duration) {
        let node = &mut self.nodes.lock()[place];
        self.history().note(|| format!("{:?} is paused for {length:?}", node.home));
        node.resume_at = Some(Instant::now() + length);
        self.around.scheduler.pause(node.home);
    }

    pub fn jump(&self, place: usize, skew_ms: i64) {
        let home = self.nodes.lock()[place].home;
        self.history().note(|| format!("the clock of {home:?} is {skew_ms} ms off"));
        clock::jump(home, skew_ms);
    }

    /// The bus carries notes again; those that had it may be told that they missed some.
    pub fn bus_comes_back(&self, heard: bool) {
        self.around.network.come_back();
        if heard {
            for node in self.nodes.lock().iter().filter(|node| node.app.is_some()) {
                node.bus.miss();
            }
        }
    }

    /// Takes note of what struck, resumes whose time has come, and starts again who may.
    pub fn tend(&self) {
        self.look_at_stops();
        for (home, strike) in self.around.scheduler.struck() {
            let place = self.nodes.lock().iter().position(|node| node.home == home && node.app.is_some());
            let Some(place) = place else { continue };
            let after = self.dice.lock().ms(100..9_000);
            match strike {
                Strike::Kill => self.bury(place, after),
                Strike::Pause => self.nodes.lock()[place].resume_at = Some(Instant::now() + after),
            }
        }
        let now = Instant::now();
        self.let_go_of_rows(now);
        for node in &mut *self.nodes.lock() {
            if let Some(leaving) = &mut node.leaving {
                leaving.was_paused |= node.resume_at.is_some();
            }
            if node.resume_at.is_some_and(|at| at <= now) {
                node.resume_at = None;
                self.history().note(|| format!("{:?} goes on", node.home));
                self.around.scheduler.resume(node.home);
            }
        }
        let gone: Vec<usize> = {
            let nodes = self.nodes.lock();
            let gone = nodes.iter().enumerate().filter(|(_, node)| node.has_left());
            gone.map(|(place, _)| place).collect()
        };
        for place in gone {
            self.see_off(place);
        }
        let due: Vec<usize> = {
            let nodes = self.nodes.lock();
            let dead = nodes.iter().enumerate().filter(|(_, node)| node.app.is_none() && node.back_at <= now);
            dead.map(|(place, _)| place).collect()
        };
        for place in due {
            let node = self.a_life();
            self.nodes.lock()[place] = node;
        }
    }

    /// From now on nothing goes wrong any more, and what was stopped goes on.
    pub fn heal(&self) {
        self.history().note(|| "the faults are over".to_owned());
        self.around.scheduler.calm();
        self.around.network.storm(0, 0, 0);
        self.around.network.come_back();
        self.around.provider.calm();
        self.faults.calm();
        // Else nobody would ever take over from a node that comes back.
        if let Some((_, until)) = &mut *self.held.lock() {
            *until = Instant::now();
        }
        let sleeps_on = self.dice.lock().permille(500);
        for node in &mut *self.nodes.lock() {
            node.back_at = Instant::now();
            if !sleeps_on {
                node.resume_at = node.resume_at.map(|_| Instant::now());
            }
        }
        self.tend();
    }

    /// Seats everybody, wherever there is a node, until the schedule is over.
    pub fn seat(self: &Arc<Self>) {
        for sitting in &self.people {
            let (world, sitting) = (self.clone(), sitting.clone());
            self.around.scheduler.spawn(None, async move { world.attend(sitting).await });
        }
    }

    async fn attend(&self, sitting: Sitting) {
        loop {
            let node = self.some_node();
            if let Some((home, app)) = node {
                self.sit(&sitting, home, &app).await;
            }
            let pause = self.dice.lock().ms(20..1_000);
            sleep(pause).await;
        }
    }

    /// One socket's life, as its page sees it.
    async fn sit(&self, sitting: &Sitting, home: Home, app: &App) {
        let (server, page, cut) = Line::pair(LINE);
        let arriving = node::arrive(app.clone(), Socket::simulated(server), sitting.who, sitting.room.prompt);
        drop(app.tasks.spawn(arriving));
        let (out, mut incoming) = page.split();
        let number = sitting.person.lock().connected(home, out, cut);
        loop {
            let message = tokio::select! {
                biased;
                () = sitting.hung_up.notified() => None,
                message = incoming.recv() => message,
            };
            let Some(message) = message else { break };
            let mut person = sitting.person.lock();
            if person.lines != number || !person.hear(&message) {
                break;
            }
        }
        sitting.person.lock().disconnect();
    }

    fn some_node(&self) -> Option<(Home, App)> {
        let nodes = self.nodes.lock();
        let alive: Vec<(Home, &App)> =
            nodes.iter().filter_map(|node| Some((node.home, node.app.as_ref()?))).collect();
        self.dice.lock().pick(&alive).map(|(home, app)| (*home, (*app).clone()))
    }

    /// Everybody at this node closes the tab, as when the power of a whole house fails.
    pub fn close_tabs(&self, home: Home) {
        for sitting in &self.people {
            let is_there = sitting.person.lock().at == Some(home);
            if is_there {
                sitting.person.lock().close_tab();
                sitting.hung_up.notify_one();
            }
        }
    }

    /// The person hangs up, or loses the network.
    pub fn hang_up(&self, sitting: &Sitting) {
        sitting.person.lock().disconnect();
        sitting.hung_up.notify_one();
    }
}
