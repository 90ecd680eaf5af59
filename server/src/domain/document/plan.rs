//! Finds out whether a frame fits, by placing its structs in causal order as an integration would.

use super::FrameRefusal;
use super::index::{Container, Index, Place, Tail};
use super::scan::{Content, Deletion, Frame, Id, Item, Parent, Section, Struct};
use std::collections::HashMap;

/// Deleting a container walks what it holds recursively, in yrs and in every browser.
const CONTAINER_DEPTH_MAX: u32 = 64;

/// What a frame adds to an index that it fits.
#[derive(Debug, Default)]
pub(super) struct Plan<'a> {
    /// In causal order.
    pub placed: Vec<Placed>,
    pub containers: Vec<Container>,
    pub roots: HashMap<&'a str, u32>,
    pub nested: HashMap<Id, u32>,
}

/// A new struct, or what is new of one.
#[derive(Debug)]
pub(super) struct Placed {
    pub id: Id,
    pub end: u32,
    pub place: Place,
    pub tail: Tail,
    /// It becomes one piece with the struct before it.
    pub appended: bool,
    /// The left one of its neighbours, where the right one was typed just after it: nothing lies between those two
    /// but what was put into this same gap.
    pub gap: Option<Id>,
}

impl Plan<'_> {
    pub fn adds_structs(&self) -> bool {
        !self.placed.is_empty()
    }

    /// The container of each struct that has to find its place, and the gap that it goes into if that is known.
    pub fn inserts(&self) -> impl Iterator<Item = (u32, Option<Id>)> {
        let sought = self.placed.iter().filter(|placed| !placed.appended);
        sought.filter_map(|placed| Some((placed.place.container()?, placed.gap)))
    }
}

/// Places the structs of one frame in causal order, as an integration would.
pub(super) struct Planner<'i, 'f, 'a> {
    index: &'i Index,
    frame: &'f Frame<'a>,
    /// Sections by client.
    by_client: Vec<(u64, usize)>,
    progress: Vec<Progress>,
    places: Vec<Place>,
    plan: Plan<'a>,
}

#[derive(Clone, Debug)]
struct Progress {
    next: usize,
    clock: u32,
    tail: Tail,
    waiting: bool,
}

/// Where a struct that something rests on is.
enum Lookup {
    Placed(Place),
    /// Later in the frame.
    Ahead(usize),
}

enum Step {
    Placed(Place),
    /// First that section must get past that clock.
    After(usize, u32),
}

impl<'i, 'f, 'a> Planner<'i, 'f, 'a> {
    pub fn new(index: &'i Index, frame: &'f Frame<'a>) -> Result<Self, FrameRefusal> {
        let mut by_client = Vec::with_capacity(frame.sections.len());
        let mut progress = Vec::with_capacity(frame.sections.len());
        for (number, section) in frame.sections.iter().enumerate() {
            let known = index.end(section.client);
            if section.start > known {
                return Err(FrameRefusal::Missing);
            }
            by_client.push((section.client, number));
            progress.push(first_unknown(frame, section, known, index.tail(section.client)));
        }
        by_client.sort_unstable();
        let places = vec![Place::Gone; frame.structs.len()];
        Ok(Planner { index, frame, by_client, progress, places, plan: Plan::default() })
    }

    pub fn check_deletions(&self) -> Result<(), FrameRefusal> {
        for Deletion { client, end, .. } in &self.frame.deletions {
            let in_frame = self.section(*client).map_or(0, |number| self.frame.sections[number].end);
            if *end > self.index.end(*client).max(in_frame) {
                return Err(FrameRefusal::Missing);
            }
        }
        Ok(())
    }

    pub fn run(mut self) -> Result<Plan<'a>, FrameRefusal> {
        let mut waiting: Vec<(usize, u32)> = Vec::new();
        for number in 0..self.frame.sections.len() {
            waiting.push((number, u32::MAX));
            while let Some((section, until)) = waiting.last().copied() {
                let progress = &self.progress[section];
                if progress.clock > until || progress.next == self.frame.sections[section].structs.end {
                    self.progress[section].waiting = false;
                    waiting.pop();
                    continue;
                }
                self.progress[section].waiting = true;
                match self.step(section)? {
                    Step::Placed(place) => self.place(section, place),
                    // Two that wait for each other never fit, here or anywhere.
                    Step::After(other, _) if self.progress[other].waiting => {
                        return Err(FrameRefusal::Malformed);
                    }
                    Step::After(other, clock) => waiting.push((other, clock)),
                }
            }
        }
        Ok(self.plan)
    }

    /// Where the next struct of a section belongs.
    fn step(&mut self, section: usize) -> Result<Step, FrameRefusal> {
        let client = self.frame.sections[section].client;
        let Progress { next, clock, .. } = self.progress[section];
        let found = &self.frame.structs[next];
        let Some(item) = &found.item else { return Ok(Step::Placed(Place::Gone)) };
        let own = Id { client, clock: found.clock };
        for rests_on in item.rests_on() {
            if rests_on.client == client && rests_on.clock >= found.clock {
                return Err(FrameRefusal::Malformed);
            }
            if let Lookup::Ahead(other) = self.look_up(rests_on)? {
                return Ok(Step::After(other, rests_on.clock));
            }
        }
        let mut place = self.belongs(item)?;
        if clock > found.clock {
            // Its beginning is known already, and its rest goes on where that lies.
            let before = Id { client, clock: clock - 1 };
            if let Lookup::Placed(begun) = self.look_up(before)? {
                place = self.agreed(begun, place)?;
            }
        }
        if item.content == Content::Deleted {
            place = place.emptied();
        }
        if item.content == Content::Container && clock == found.clock {
            self.open(own, place)?;
        }
        Ok(Step::Placed(place))
    }

    fn place(&mut self, section: usize, place: Place) {
        let progress = &mut self.progress[section];
        let found = &self.frame.structs[progress.next];
        let id = Id { client: self.frame.sections[section].client, clock: progress.clock };
        let end = found.clock + found.len;
        let tail = found.item.as_ref().map(Item::tail).unwrap_or_default();
        let appended = tail.is_text && tail == progress.tail && found.goes_on_from(id);
        self.places[progress.next] = place;
        progress.next += 1;
        progress.clock = end;
        progress.tail = tail;
        let gap = found.item.as_ref().and_then(Item::gap);
        self.plan.placed.push(Placed { id, end, place, tail, appended, gap });
    }

    /// The place that a new item's neighbours or its parent give it.
    fn belongs(&mut self, item: &Item<'a>) -> Result<Place, FrameRefusal> {
        match (item.origin, item.right_origin, item.parent) {
            (Some(origin), Some(right), _) => {
                let (left, right) = (self.placed(origin)?, self.placed(right)?);
                self.agreed(left, right)
            }
            (Some(neighbour), None, _) | (None, Some(neighbour), _) => Ok(self.placed(neighbour)?.filled()),
            (None, None, Parent::Root(name)) => Ok(Place::In(self.root(name))),
            (None, None, Parent::Nested(parent)) => match self.container(parent) {
                Some(container) => Ok(Place::In(container)),
                // A deleted container's content is collected, and so is whatever comes into it later.
                None if matches!(self.placed(parent)?, Place::Gone | Place::Emptied(_)) => Ok(Place::Gone),
                None => Err(FrameRefusal::Malformed),
            },
            (None, None, Parent::Neighbour) => Err(FrameRefusal::Malformed),
        }
    }

    /// Neighbours lie in one container, or in one whose content was collected meanwhile.
    fn agreed(&self, left: Place, right: Place) -> Result<Place, FrameRefusal> {
        match (left.container(), right.container()) {
            (None, None) => Ok(Place::Gone),
            (Some(left), Some(right)) if left == right => Ok(Place::In(left)),
            (Some(one), None) | (None, Some(one)) if self.is_dead(one) => Ok(Place::Gone),
            _ => Err(FrameRefusal::Malformed),
        }
    }

    fn open(&mut self, own: Id, place: Place) -> Result<(), FrameRefusal> {
        let parent = place.container();
        let depth = parent.map_or(0, |parent| self.known_container(parent).depth) + 1;
        if depth > CONTAINER_DEPTH_MAX {
            return Err(FrameRefusal::Unsupported("maps nested more than 64 deep"));
        }
        let dead = parent.is_none();
        let number = self.add(Container { parent, depth, dead, pieces: 0 });
        self.plan.nested.insert(own, number);
        Ok(())
    }

    fn root(&mut self, name: &'a str) -> u32 {
        if let Some(number) = self.index.root(name).or_else(|| self.plan.roots.get(name).copied()) {
            return number;
        }
        let number = self.add(Container { parent: None, depth: 0, dead: false, pieces: 0 });
        self.plan.roots.insert(name, number);
        number
    }

    fn add(&mut self, container: Container) -> u32 {
        let number = self.index.containers().len() + self.plan.containers.len();
        self.plan.containers.push(container);
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    fn container(&self, id: Id) -> Option<u32> {
        self.index.nested(id).or_else(|| self.plan.nested.get(&id).copied())
    }

    fn known_container(&self, number: u32) -> Container {
        let number = number as usize;
        let known = self.index.containers().len();
        if number < known { self.index.containers()[number] } else { self.plan.containers[number - known] }
    }

    fn is_dead(&self, container: u32) -> bool {
        let mut next = Some(container);
        while let Some(number) = next {
            let container = self.known_container(number);
            if container.dead || self.frame_deletes(number) {
                return true;
            }
            next = container.parent;
        }
        false
    }

    /// Rarely asked, so it looks through all that the frame deletes.
    fn frame_deletes(&self, container: u32) -> bool {
        self.frame.deletions.iter().any(|deletion| {
            let ids = Id { client: deletion.client, clock: deletion.start }..Id {
                client: deletion.client,
                clock: deletion.end,
            };
            self.index.holds(ids.clone(), container)
                || self.plan.nested.iter().any(|(id, number)| *number == container && ids.contains(id))
        })
    }

    fn placed(&self, id: Id) -> Result<Place, FrameRefusal> {
        match self.look_up(id)? {
            Lookup::Placed(place) => Ok(place),
            Lookup::Ahead(_) => Err(FrameRefusal::Malformed),
        }
    }

    fn look_up(&self, id: Id) -> Result<Lookup, FrameRefusal> {
        if let Some(place) = self.index.place(id) {
            return Ok(Lookup::Placed(place));
        }
        let section = self.section(id.client).ok_or(FrameRefusal::Missing)?;
        let Section { end, structs, .. } = &self.frame.sections[section];
        if id.clock >= *end {
            return Err(FrameRefusal::Missing);
        }
        if id.clock >= self.progress[section].clock {
            return Ok(Lookup::Ahead(section));
        }
        let list = &self.frame.structs[structs.clone()];
        let after = list.partition_point(|found| found.clock <= id.clock);
        Ok(Lookup::Placed(self.places[structs.start + after.saturating_sub(1)]))
    }

    fn section(&self, client: u64) -> Option<usize> {
        let at = self.by_client.binary_search_by_key(&client, |(client, _)| *client).ok()?;
        Some(self.by_client[at].1)
    }
}

impl Struct<'_> {
    /// Whether it follows its client's last struct right away, or is the rest of one that was known in part.
    fn goes_on_from(&self, id: Id) -> bool {
        let before = id.clock.checked_sub(1).map(|clock| Id { client: id.client, clock });
        id.clock > self.clock
            || self.item.as_ref().is_some_and(|item| before.is_some() && item.origin == before)
    }
}

impl Item<'_> {
    fn tail(&self) -> Tail {
        Tail { is_text: self.content == Content::Text, right_origin: self.right_origin }
    }

    fn rests_on(&self) -> impl Iterator<Item = Id> {
        let parent = match self.parent {
            Parent::Nested(id) => Some(id),
            Parent::Neighbour | Parent::Root(_) => None,
        };
        [self.origin, self.right_origin, parent].into_iter().flatten()
    }
}

/// Skips what of a section is known.
fn first_unknown(frame: &Frame<'_>, section: &Section, known: u32, tail: Tail) -> Progress {
    let list = &frame.structs[section.structs.clone()];
    let done = list.partition_point(|found| found.clock + found.len <= known);
    Progress { next: section.structs.start + done, clock: known.max(section.start), tail, waiting: false }
}
