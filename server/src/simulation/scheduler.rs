//! One thread for the tasks of all nodes: which of those that are ready goes on next is thrown, a node can be
//! stopped or dropped between any two of its awaits, and time passes only when nobody has anything to do.

use super::{dice::Dice, history::History};
use crate::live::tasks::Governor;
use parking_lot::Mutex;
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// More steps than this without any time passing: they would go on for ever.
const STEPS_WITHOUT_TIME: u32 = 100_000;
/// How long a task that is passed over does not get its turn.
const PASSED_OVER_MS: std::ops::Range<u64> = 1..80;

thread_local! {
    static HOME: Cell<Option<Home>> = const { Cell::new(None) };
}

/// One life of one node; whatever has no home is the world around them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Home(pub u32);

/// Whose task is having its turn.
pub fn current_home() -> Option<Home> {
    HOME.get()
}

#[derive(Clone)]
pub struct Scheduler(Arc<Shared>);

struct Shared {
    ready: Arc<Ready>,
    state: Mutex<State>,
    history: Arc<History>,
}

struct Ready {
    tasks: Mutex<BTreeSet<u64>>,
    /// The driver has its turn now, and looks at the tasks again by itself.
    driving: AtomicBool,
    driver: Mutex<Option<Waker>>,
}

struct State {
    dice: Dice,
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
    homes: BTreeMap<Home, House>,
    /// How often in a thousand turns a node's task is passed over for a while.
    passes_over: u64,
    passed_over: BTreeSet<(Instant, u64)>,
    struck: Vec<(Home, Strike)>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Task {
    home: Option<Home>,
    /// Taken out while it has its turn.
    work: Option<Work>,
    waker: Waker,
}

#[derive(Default)]
struct House {
    paused: bool,
    dead: bool,
    /// Ready tasks of a node that is paused.
    held: BTreeSet<u64>,
    /// What happens to it after so many turns of its tasks.
    armed: Option<(u32, Strike)>,
}

/// What a node may meet between two awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    Kill,
    Pause,
}

struct Bell {
    task: u64,
    ready: Arc<Ready>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.tasks.lock().insert(self.task);
        self.ready.wake_driver();
    }
}

impl Ready {
    fn wake_driver(&self) {
        if !self.driving.load(Ordering::Relaxed)
            && let Some(driver) = self.driver.lock().take()
        {
            driver.wake();
        }
    }
}

impl Scheduler {
    pub fn new(dice: Dice, history: Arc<History>) -> Scheduler {
        let ready =
            Ready { tasks: Mutex::default(), driving: AtomicBool::new(false), driver: Mutex::default() };
        let state = State {
            dice,
            tasks: BTreeMap::new(),
            next_task: 0,
            homes: BTreeMap::new(),
            passes_over: 0,
            passed_over: BTreeSet::new(),
            struck: Vec::new(),
        };
        Scheduler(Arc::new(Shared { ready: Arc::new(ready), state: Mutex::new(state), history }))
    }

    /// Runs `script` and everything that it spawns; ends with the script, or when a promise is broken.
    pub async fn drive(&self, script: impl Future<Output = ()> + Send + 'static) {
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        self.spawn(None, async move {
            script.await;
            ended.store(true, Ordering::Relaxed);
        });
        let alarm = Box::pin(sleep_until(Instant::now()));
        Driver { shared: self.0.clone(), over, alarm, seen: Instant::now(), steps: 0 }.await;
        self.clear();
    }

    pub fn spawn(&self, home: Option<Home>, work: impl Future<Output = ()> + Send + 'static) {
        self.add(home, Box::pin(work));
    }

    /// Whoever spawns through this lives in `home`, and dies with it.
    pub fn governor(&self, home: Home) -> Arc<dyn Governor> {
        self.0.state.lock().homes.insert(home, House::default());
        Arc::new(OfHome { scheduler: self.clone(), home })
    }

    pub fn pause(&self, home: Home) {
        if let Some(house) = self.0.state.lock().homes.get_mut(&home) {
            house.paused = true;
        }
    }

    pub fn resume(&self, home: Home) {
        let held = {
            let mut state = self.0.state.lock();
            let Some(house) = state.homes.get_mut(&home) else { return };
            house.paused = false;
            std::mem::take(&mut house.held)
        };
        self.0.ready.tasks.lock().extend(held);
        self.0.ready.wake_driver();
    }

    pub fn is_paused(&self, home: Home) -> bool {
        self.0.state.lock().homes.get(&home).is_some_and(|house| house.paused)
    }

    /// All tasks of the node are dropped where they wait.
    pub fn kill(&self, home: Home) {
        self.0.kill(home);
    }

    /// What has struck since this was last asked.
    pub fn struck(&self) -> Vec<(Home, Strike)> {
        std::mem::take(&mut self.0.state.lock().struck)
    }

    /// Strikes the node after so many turns of its tasks, wherever they are then.
    pub fn arm(&self, home: Home, turns: u32, strike: Strike) {
        if let Some(house) = self.0.state.lock().homes.get_mut(&home) {
            house.armed = Some((turns, strike));
        }
    }

    /// Nothing strikes any more, and no task is passed over.
    pub fn calm(&self) {
        let mut state = self.0.state.lock();
        state.passes_over = 0;
        for house in state.homes.values_mut() {
            house.armed = None;
        }
    }

    pub fn pass_over(&self, permille: u64) {
        self.0.state.lock().passes_over = permille;
    }

    fn add(&self, home: Option<Home>, work: Work) {
        let mut state = self.0.state.lock();
        if home.is_some_and(|home| state.homes.get(&home).is_none_or(|house| house.dead)) {
            drop(state);
            // Dropped only here: what it holds may spawn, wake or unsubscribe.
            drop(work);
            return;
        }
        let id = state.next_task;
        state.next_task += 1;
        let waker = Waker::from(Arc::new(Bell { task: id, ready: self.0.ready.clone() }));
        let work: Work = Box::pin(tokio::task::unconstrained(work));
        state.tasks.insert(id, Task { home, work: Some(work), waker });
        drop(state);
        self.0.ready.tasks.lock().insert(id);
        self.0.ready.wake_driver();
    }

    /// Tasks hold their scheduler, and it holds them.
    fn clear(&self) {
        loop {
            let tasks = std::mem::take(&mut self.0.state.lock().tasks);
            if tasks.is_empty() {
                return;
            }
            drop(tasks);
        }
    }
}

struct OfHome {
    scheduler: Scheduler,
    home: Home,
}

impl fmt::Debug for OfHome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "governor of {:?}", self.home)
    }
}

impl Governor for OfHome {
    fn spawn(&self, task: Work) {
        self.scheduler.add(Some(self.home), task);
    }
}

struct Driver {
    shared: Arc<Shared>,
    over: Arc<AtomicBool>,
    alarm: Pin<Box<Sleep>>,
    seen: Instant,
    steps: u32,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let ready = self.shared.ready.clone();
        *ready.driver.lock() = Some(context.waker().clone());
        ready.driving.store(true, Ordering::Relaxed);
        let over = self.turns();
        ready.driving.store(false, Ordering::Relaxed);
        if over {
            return Poll::Ready(());
        }
        let first = self.shared.state.lock().passed_over.first().map(|(at, _)| *at);
        if let Some(at) = first {
            self.alarm.as_mut().reset(at);
            // It wakes this driver when the time has come.
            let _ = self.alarm.as_mut().poll(context);
        }
        Poll::Pending
    }
}

impl Driver {
    /// Gives turns as long as anybody is ready; whether it is all over.
    fn turns(&mut self) -> bool {
        let now = Instant::now();
        if now != self.seen {
            (self.seen, self.steps) = (now, 0);
        }
        self.shared.let_back_in(now);
        while let Some((id, home, work, waker)) = self.shared.next(now) {
            self.steps += 1;
            if self.steps > STEPS_WITHOUT_TIME {
                self.shared.history.broken("somebody goes round in circles: no time passes");
            }
            self.shared.turn(id, home, work, &waker);
            if self.over.load(Ordering::Relaxed) || self.shared.history.is_broken() {
                return true;
            }
        }
        false
    }
}

impl Shared {
    fn let_back_in(&self, now: Instant) {
        let mut state = self.state.lock();
        let mut ready = self.ready.tasks.lock();
        while let Some((at, id)) = state.passed_over.first().copied()
            && at <= now
        {
            state.passed_over.pop_first();
            ready.insert(id);
        }
    }

    /// One of the ready tasks.
    fn next(&self, now: Instant) -> Option<(u64, Option<Home>, Work, Waker)> {
        let state = &mut *self.state.lock();
        let mut ready = self.ready.tasks.lock();
        loop {
            let last = *ready.last()?;
            let at = state.dice.below(last + 1);
            let id = *ready.range(at..).next()?;
            ready.remove(&id);
            let Some(task) = state.tasks.get_mut(&id) else { continue };
            if let Some(house) = task.home.and_then(|home| state.homes.get_mut(&home)) {
                if house.paused {
                    house.held.insert(id);
                    continue;
                }
                if state.dice.permille(state.passes_over) {
                    let until = now + state.dice.ms(PASSED_OVER_MS);
                    state.passed_over.insert((until, id));
                    continue;
                }
            }
            // One that is woken in its own turn has another one afterwards.
            let Some(work) = task.work.take() else { continue };
            return Some((id, task.home, work, task.waker.clone()));
        }
    }

    fn turn(&self, id: u64, home: Option<Home>, mut work: Work, waker: &Waker) {
        self.history.turn(id, home);
        HOME.set(home);
        let mut context = Context::from_waker(waker);
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context)));
        match polled {
            Ok(Poll::Pending) => {
                if let Some(task) = self.state.lock().tasks.get_mut(&id) {
                    task.work = Some(work);
                }
            }
            Ok(Poll::Ready(())) => {
                drop(work);
                self.state.lock().tasks.remove(&id);
            }
            Err(panic) => {
                drop(work);
                self.state.lock().tasks.remove(&id);
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
                self.history.broken(&format!("a task panicked: {said}"));
            }
        }
        HOME.set(None);
        if let Some(home) = home {
            self.strike(home);
        }
    }

    fn strike(&self, home: Home) {
        let strike = {
            let mut state = self.state.lock();
            let Some(house) = state.homes.get_mut(&home) else { return };
            let Some((turns, strike)) = house.armed else { return };
            house.armed = (turns > 1).then_some((turns - 1, strike));
            if turns > 1 {
                return;
            }
            house.paused |= strike == Strike::Pause;
            state.struck.push((home, strike));
            strike
        };
        self.history.note(|| format!("{home:?} is struck between two awaits: {strike:?}"));
        if strike == Strike::Kill {
            self.kill(home);
        }
    }

    fn kill(&self, home: Home) {
        let tasks: Vec<Task> = {
            let mut state = self.state.lock();
            let Some(house) = state.homes.get_mut(&home) else { return };
            house.dead = true;
            house.armed = None;
            state.tasks.extract_if(.., |_, task| task.home == Some(home)).map(|(_, task)| task).collect()
        };
        let before = HOME.replace(Some(home));
        drop(tasks);
        HOME.set(before);
    }
}
