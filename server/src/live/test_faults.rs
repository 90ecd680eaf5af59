//! What can go wrong with a node in a test: its tasks are paused or killed, its way to the database is not as it should be.

use super::tasks::Governor;
use crate::store::{
    StoreError,
    plain::{Hook, Step, Verdict},
};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll, Waker},
};
use tokio::{sync::watch, task::AbortHandle};

/// The tasks of one node, which may all be paused, or ended at whatever await they are.
#[derive(Clone, Debug, Default)]
pub struct Life(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    /// While they are paused: those that would have gone on.
    paused: Mutex<Option<Vec<Waker>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

struct Governed {
    task: Pin<Box<dyn Future<Output = ()> + Send>>,
    life: Life,
}

impl Life {
    pub fn kill(&self) {
        for task in self.0.tasks.lock().drain(..) {
            task.abort();
        }
    }

    pub fn pause(&self) {
        self.0.paused.lock().get_or_insert_default();
    }

    pub fn go_on(&self) {
        for waker in self.0.paused.lock().take().into_iter().flatten() {
            waker.wake();
        }
    }

    fn is_paused(&self, waker: &Waker) -> bool {
        let mut paused = self.0.paused.lock();
        if let Some(waiting) = &mut *paused {
            waiting.push(waker.clone());
        }
        paused.is_some()
    }
}

impl Governor for Life {
    #[allow(clippy::disallowed_methods, reason = "this stands for what owns the tasks")]
    fn spawn(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let governed = Governed { task, life: self.clone() };
        self.0.tasks.lock().push(tokio::spawn(governed).abort_handle());
    }
}

impl Future for Governed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.life.is_paused(context.waker()) {
            return Poll::Pending;
        }
        self.task.as_mut().poll(context)
    }
}

/// A node's way to the database.
#[derive(Default)]
pub struct Line {
    frozen: watch::Sender<bool>,
    /// Only what it would write does not get through.
    silent: watch::Sender<bool>,
    /// The disk takes nothing more; it can be read.
    full: AtomicBool,
    /// Whatever is asked is refused, as by a database that is being started.
    refusing: AtomicBool,
    /// Since the last transaction began.
    statements: AtomicU32,
    /// The next commit of so many statements will be done and told as failed.
    doubts: AtomicU32,
}

impl Line {
    /// Nothing gets through, and nothing is refused either.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }

    /// What it reads gets through, what it would write waits.
    pub fn hold_writes(&self, hold: bool) {
        self.silent.send_replace(hold);
    }

    pub fn refuse(&self, refuse: bool) {
        self.refusing.store(refuse, Ordering::Relaxed);
    }

    pub fn fill_disk(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// The next commit of at least so many statements is done and told as failed.
    pub fn doubt_commit_of(&self, statements: u32) {
        self.doubts.store(statements, Ordering::Relaxed);
    }

    pub fn has_doubted(&self) -> bool {
        self.doubts.load(Ordering::Relaxed) == 0
    }

    fn decide(&self, step: Step) -> Verdict {
        match step {
            Step::Begin { .. } if self.refusing.load(Ordering::Relaxed) => {
                return Verdict::Fail(StoreError::Unusable("on purpose".to_owned()));
            }
            Step::Begin { writes: true } if self.full.load(Ordering::Relaxed) => {
                return Verdict::Fail(StoreError::Full);
            }
            Step::Begin { .. } => self.statements.store(0, Ordering::Relaxed),
            Step::Statement => drop(self.statements.fetch_add(1, Ordering::Relaxed)),
            Step::Commit => {
                let doubts = self.doubts.load(Ordering::Relaxed);
                if doubts > 0 && self.statements.load(Ordering::Relaxed) >= doubts {
                    self.doubts.store(0, Ordering::Relaxed);
                    return Verdict::DoneThenFail;
                }
            }
        }
        Verdict::Go
    }
}

impl Hook for Line {
    fn before(&self, step: Step) -> BoxFuture<'_, Verdict> {
        let (mut frozen, mut silent) = (self.frozen.subscribe(), self.silent.subscribe());
        Box::pin(async move {
            drop(frozen.wait_for(|frozen| !*frozen).await);
            if step == (Step::Begin { writes: true }) {
                drop(silent.wait_for(|silent| !*silent).await);
            }
            self.decide(step)
        })
    }
}
