//! The nodes of a cluster in one thread on a clock of its own, over a database and a bus that keep their contracts and
//! otherwise misbehave as a seed says. The promises are checked as statements about what people were told.
//!
//! A failure prints its seed and what happened; `PROMPTROOM_SIMULATE=<seed>` plays that one again, in words, and
//! `PROMPTROOM_SOAK=<n>` plays n times as many.

mod dice;
mod history;
mod scheduler;
mod clock;
mod faults;
mod bus_faults;
mod database;
mod stored;
mod upstream;
mod replica;
mod watched;
mod stops;
mod person;
mod node;
mod world;
mod promises;
mod weather;
mod rest;
mod schedule;

use mimalloc::MiMalloc;
use schedule::Outcome;
use std::collections::BTreeMap;

/// As in the program itself, and faster than the system's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Of each of the tests that run side by side.
const SCHEDULES: u64 = 5_000;
const SCHEDULES_ALONE: u64 = 500;
/// Seeds that find what was broken on purpose: frames that are told as saved before they are durable, or acknowledged
/// and not logged (1); rows that are pruned up to the newest snapshot (17); a stop after which the connection stays
/// open, or is not billed (91); readers that are not rewound by a claim, and a run's row that is written without its
/// guard by a driver that was taken for dead (481).
const FOUND: [u64; 4] = [1, 17, 91, 481];

#[allow(
    clippy::disallowed_methods,
    reason = "asked for by whoever runs the tests, not part of the configuration"
)]
fn asked(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Plays the schedules of these seeds and tells the first that broke a promise, in words.
#[allow(clippy::print_stdout, reason = "whoever mends what it found reads it")]
fn play(nodes: usize, seeds: impl Iterator<Item = u64>) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for seed in seeds {
        let outcome = schedule::run(seed, nodes, false);
        if outcome.broken.is_some() {
            tell(&schedule::run(seed, nodes, true));
            panic!("seed {seed} with {nodes} nodes: {}", outcome.broken.unwrap_or_default());
        }
        for (what, count) in outcome.counts {
            *counts.entry(what).or_insert(0) += count;
        }
    }
    println!("{counts:?}");
    counts
}

#[allow(clippy::print_stdout, reason = "whoever mends what it found reads it")]
fn tell(outcome: &Outcome) {
    println!("seed {}, {} turns, {} ms:", outcome.seed, outcome.turns, outcome.virtual_ms);
    for event in &outcome.events {
        println!("{event}");
    }
    println!("{}", outcome.broken.as_deref().unwrap_or("no promise is broken"));
}

/// Three nodes through so many schedules, unless one is asked for.
fn three_nodes(from: u64) {
    if let Some(seed) = asked("PROMPTROOM_SIMULATE") {
        return tell(&schedule::run(seed, 3, true));
    }
    let count = SCHEDULES * asked("PROMPTROOM_SOAK").unwrap_or(1);
    let counts = play(3, from..from + count);
    // A world in which nothing happens keeps every promise.
    for (what, least) in [("edits saved", 2), ("runs completed", 0), ("sockets", 2)] {
        let some = counts.get(what).copied().unwrap_or_default();
        assert!(some > count * least, "{some} {what} in {count} schedules");
    }
    for what in ["rewinds", "rests", "rows held", "rows pruned", "runs cancelled", "drains to the end"] {
        assert!(counts.get(what).is_some_and(|some| *some > 0), "there were no {what}");
    }
}

#[test]
fn three_nodes_keep_their_promises() {
    three_nodes(1);
}

#[test]
fn three_nodes_keep_their_promises_by_other_seeds() {
    three_nodes(1 << 40);
}

#[test]
fn a_node_alone_keeps_its_promises_over_its_lives() {
    play(1, 1..=SCHEDULES_ALONE);
}

#[test]
fn what_was_found_once_is_not_found_again() {
    play(3, FOUND.into_iter());
}

#[test]
fn the_same_seed_does_the_same_again() {
    for seed in 1..=40 {
        let (one, other) = (schedule::run(seed, 3, false), schedule::run(seed, 3, true));
        assert_eq!((one.hash, one.turns), (other.hash, other.turns), "seed {seed}");
    }
}
