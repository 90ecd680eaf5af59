//! What the document holds, without its content: clocks, and which container each struct lies in.
//!
//! yrs tells neither origins nor parents, integrates past gaps, and leaves half a frame behind when a parent is
//! none. So whether a frame fits is decided here, on numbers alone, before yrs sees it.

use super::FrameRefusal;
use super::plan::{Placed, Plan, Planner};
use super::scan::{Frame, Id};
use std::collections::{BTreeMap, HashMap};

/// What one frame may cost: yrs and Yjs look at everything between an insert's neighbours, and forged ones can be
/// as far apart as a text is long. A step took up to 0.15 µs, so this is about 2 s; real traffic needs a few an insert.
const STEPS_MAX: u64 = 16_000_000;

/// Which structs are known.
#[derive(Debug, Default)]
pub(super) struct Index {
    clients: BTreeMap<u64, Known>,
    containers: Vec<Container>,
    roots: HashMap<Box<str>, u32>,
    nested: BTreeMap<Id, u32>,
}

#[derive(Debug, Default)]
struct Known {
    end: u32,
    /// Where each run of structs in one place begins.
    runs: Vec<(u32, Place)>,
    tail: Tail,
}

/// What a client wrote last: text that goes on there becomes one piece with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    pub is_text: bool,
    pub right_origin: Option<Id>,
}

/// A root or a nested map or text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Container {
    pub parent: Option<u32>,
    pub depth: u32,
    pub dead: bool,
    /// In how many pieces its content lies, at most.
    pub pieces: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Collected with the container that it lay in.
    Gone,
    /// Its content was deleted before we saw it, so it might have been a container.
    Emptied(u32),
    In(u32),
}

/// The inserts of one frame into one container.
#[derive(Default)]
struct Inserts {
    in_gap: HashMap<Id, u64>,
    anywhere: u64,
}

impl Inserts {
    fn steps(&self, pieces: u64) -> u64 {
        let most = self.in_gap.values().copied().max().unwrap_or(0);
        let near: u64 =
            self.in_gap.values().map(|count| count.saturating_mul(*count)).fold(0, u64::saturating_add);
        let count = self.in_gap.values().sum::<u64>() + self.anywhere;
        let far = self.anywhere.saturating_mul(pieces + count);
        near.saturating_add(most.saturating_mul(pieces + self.anywhere)).saturating_add(far)
    }
}

impl Index {
    pub fn end(&self, client: u64) -> u32 {
        self.clients.get(&client).map_or(0, |known| known.end)
    }

    /// The next clock of each client.
    pub fn clocks(&self) -> impl ExactSizeIterator<Item = (u64, u32)> {
        self.clients.iter().map(|(client, known)| (*client, known.end))
    }

    /// Whether everything that the frame rests on is here or in the frame itself, and what it adds.
    pub fn plan<'a>(&self, frame: &Frame<'a>) -> Result<Plan<'a>, FrameRefusal> {
        let planner = Planner::new(self, frame)?;
        planner.check_deletions()?;
        planner.run()
    }

    /// How many clients the document would know with this frame.
    pub fn clients_with(&self, frame: &Frame<'_>) -> usize {
        let new = frame.sections.iter().filter(|section| !self.clients.contains_key(&section.client));
        self.clients.len() + new.count()
    }

    /// Whether placing the inserts could take too long, if all whose gap is not known lay as far apart as they can.
    ///
    /// One that goes into a known gap passes only what is in that gap: what lies there already is never more, over
    /// all gaps, than the container has pieces.
    pub fn is_costly(&self, plan: &Plan<'_>) -> bool {
        let mut inserts: HashMap<u32, Inserts> = HashMap::new();
        for (container, gap) in plan.inserts() {
            let inserts = inserts.entry(container).or_default();
            match gap {
                Some(left) => *inserts.in_gap.entry(left).or_default() += 1,
                None => inserts.anywhere += 1,
            }
        }
        let steps = inserts.into_iter().map(|(container, inserts)| {
            let pieces = self.containers.get(container as usize).map_or(0, |known| u64::from(known.pieces));
            inserts.steps(pieces)
        });
        steps.fold(0, u64::saturating_add) > STEPS_MAX
    }

    /// Takes up what a plan adds; it must have been made on this very state.
    pub fn take_up(&mut self, plan: Plan<'_>) {
        self.containers.extend(plan.containers);
        self.roots.extend(plan.roots.into_iter().map(|(name, container)| (name.into(), container)));
        self.nested.extend(plan.nested);
        for Placed { id, end, place, tail, appended, .. } in plan.placed {
            if let (false, Some(container)) = (appended, place.container()) {
                self.split(container);
            }
            let known = self.clients.entry(id.client).or_default();
            if known.runs.last().is_none_or(|(_, last)| *last != place) {
                known.runs.push((id.clock, place));
            }
            known.end = end;
            known.tail = tail;
        }
    }

    /// Notes a range that was deleted, and the containers in it.
    pub fn mark_deleted(&mut self, client: u64, clocks: std::ops::Range<u32>) {
        let ids = Id { client, clock: clocks.start }..Id { client, clock: clocks.end };
        for (_, container) in self.nested.range(ids) {
            self.containers[*container as usize].dead = true;
        }
        if let Some(container) = self.place(Id { client, clock: clocks.start }).and_then(Place::container) {
            self.split(container);
        }
    }

    pub fn tail(&self, client: u64) -> Tail {
        self.clients.get(&client).map_or_else(Tail::default, |known| known.tail)
    }

    pub fn root(&self, name: &str) -> Option<u32> {
        self.roots.get(name).copied()
    }

    pub fn nested(&self, id: Id) -> Option<u32> {
        self.nested.get(&id).copied()
    }

    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    pub fn holds(&self, ids: std::ops::Range<Id>, container: u32) -> bool {
        self.nested.range(ids).any(|(_, number)| *number == container)
    }

    /// An insert or a deletion leaves at most two pieces more.
    fn split(&mut self, container: u32) {
        let pieces = &mut self.containers[container as usize].pieces;
        *pieces = pieces.saturating_add(2);
    }

    pub fn place(&self, id: Id) -> Option<Place> {
        let known = self.clients.get(&id.client).filter(|known| id.clock < known.end)?;
        let after = known.runs.partition_point(|(start, _)| *start <= id.clock);
        known.runs.get(after.checked_sub(1)?).map(|(_, place)| *place)
    }
}

impl Place {
    pub fn container(self) -> Option<u32> {
        match self {
            Place::Gone => None,
            Place::Emptied(container) | Place::In(container) => Some(container),
        }
    }

    pub fn emptied(self) -> Place {
        self.container().map_or(Place::Gone, Place::Emptied)
    }

    pub fn filled(self) -> Place {
        self.container().map_or(Place::Gone, Place::In)
    }
}
