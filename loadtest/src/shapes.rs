//! The loads, one file each; every one answers with figures.

mod coming;
mod cross_node;
mod first_token;
mod idle;
mod room_load;
mod run_load;
mod runs;
mod saved;
mod slow;
mod typing;
mod viewers;

use crate::{
    bench::Lab,
    report::Figure,
    subject::{Reference, Subject},
};
use anyhow::Result;

pub use room_load::{RoomLoad, RoomOutcome, cpus_of, join_all, run as run_rooms, used_since};

/// The loads by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Connections that only keep their presence alive.
    Idle,
    /// Rooms of 2, 20 and 200 people who type.
    Typing,
    /// 50 rooms of 10 at 20 and at 320 edits a second.
    Rooms,
    /// One room with a thousand viewers: edits, then a run's tokens.
    Viewers,
    /// How many runs stream at once.
    Runs,
    /// Time to the first token, beyond the upstream's own.
    FirstToken,
    /// Time until an author knows that an edit is durable.
    Saved,
    /// What a reader costs that does not read.
    Slow,
    /// A large document opened by many at once; everybody coming back after the server was killed.
    Coming,
    /// From one node to another, beside one node alone; and what that costs the database.
    CrossNode,
}

impl Shape {
    pub const ALL: [Shape; 10] = [
        Shape::Idle,
        Shape::Typing,
        Shape::Rooms,
        Shape::Viewers,
        Shape::Runs,
        Shape::FirstToken,
        Shape::Saved,
        Shape::Slow,
        Shape::Coming,
        Shape::CrossNode,
    ];

    pub async fn measure(self, lab: &Lab) -> Result<Vec<Figure>> {
        match self {
            Shape::Idle => idle::measure(lab).await,
            Shape::Typing => typing::measure(lab).await,
            Shape::Rooms => typing::measure_many(lab).await,
            Shape::Viewers => viewers::measure(lab).await,
            Shape::Runs => runs::measure(lab).await,
            Shape::FirstToken => first_token::measure(lab).await,
            Shape::Saved => saved::measure(lab).await,
            Shape::Slow => slow::measure(lab).await,
            Shape::Coming => coming::measure(lab).await,
            Shape::CrossNode => cross_node::measure(lab).await,
        }
    }
}

/// The product, if there is a binary to measure, and the references beside it.
struct Contenders {
    subject: Option<Subject>,
    relay: Reference,
    raw: Reference,
}

impl Contenders {
    async fn start(lab: &Lab) -> Result<Contenders> {
        Ok(Contenders { subject: lab.subject().await?, relay: Reference::relay()?, raw: Reference::raw()? })
    }

    /// Puts `load` on each, one after the other, as often as the lab says.
    async fn run(&self, lab: &Lab, load: &RoomLoad, name: &str) -> Result<Compared> {
        let mut compared = Compared::default();
        for round in 0..lab.rounds {
            let name = format!("{name}-{round}");
            if let Some(subject) = &self.subject {
                compared
                    .ours
                    .push(run_rooms(load, &subject.target(), &[subject.process.account()], &name).await?);
            }
            compared
                .relay
                .push(run_rooms(load, &self.relay.target, &[self.relay.process.account()], &name).await?);
            compared.raw.push(run_rooms(load, &self.raw.target, &[self.raw.process.account()], &name).await?);
        }
        Ok(compared)
    }
}

/// All rounds of one load.
#[derive(Debug, Default)]
struct Compared {
    ours: Vec<RoomOutcome>,
    relay: Vec<RoomOutcome>,
    raw: Vec<RoomOutcome>,
}

impl Compared {
    /// A figure by its medians over the rounds.
    fn figure(
        &self,
        shape: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        value: impl Fn(&RoomOutcome) -> f64,
    ) -> Figure {
        let median = |rounds: &[RoomOutcome]| crate::latency::median(rounds.iter().map(&value).collect());
        Figure::new(shape, name, unit, median(&self.ours))
            .beside(Some(median(&self.relay)), Some(median(&self.raw)))
    }

    /// What was done and what went wrong, so that no figure stands alone.
    fn note(&self, load: &RoomLoad) -> String {
        let RoomLoad { rooms, members, writers, edits_per_second, window, .. } = load;
        let mut note = format!(
            "{rooms} rooms × {members} members, {writers} of them typing, {edits_per_second} edits/s a room, \
             {} rounds of {window:?}",
            self.relay.len()
        );
        for (name, rounds) in [("ours", &self.ours), ("relay", &self.relay), ("raw", &self.raw)] {
            let Some(last) = rounds.last() else { continue };
            let (lost, errors) = (total(rounds, |round| round.lost), total(rounds, |round| round.errors));
            let busy = 100.0 * last.generator_cpu.as_secs_f64() / window.as_secs_f64();
            note.push_str(&format!(
                "; {name}: {} deliveries, {lost} lost",
                total(rounds, |round| round.delivered)
            ));
            if errors > 0 {
                note.push_str(&format!(", {errors} sockets ended ({})", last.reasons.join("; ")));
            }
            if busy > GENERATOR_BUSY_PERCENT {
                note.push_str(&format!(", generator at {busy:.0} % of its core: its own limit"));
            }
        }
        note
    }
}

const GENERATOR_BUSY_PERCENT: f64 = 85.0;

fn total(rounds: &[RoomOutcome], value: impl Fn(&RoomOutcome) -> u64) -> u64 {
    rounds.iter().map(value).sum()
}
