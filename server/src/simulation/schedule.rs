//! One schedule: people at work, faults that a seed chooses, then rest, and the promises.

use super::{
    bus_faults::Network,
    clock::Clocks,
    database::Database,
    dice::Dice,
    history::History,
    node::Surroundings,
    rest::rest,
    scheduler::Scheduler,
    upstream::Provider,
    weather::{Weather, trouble},
    world::{Cast, World},
};
use crate::domain::document::RESTED;
use promptroom_protocol::Action;
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::{Instant, sleep};

/// How long things may go wrong; many short schedules find more than a few long ones.
const STORMS_MS: [u64; 10] = [600, 600, 600, 600, 600, 600, 1_200, 1_200, 2_000, 5_000];
const MODELS: [&str; 4] = ["stops/markdown", "stops/tools", "runs-on/on-markdown", "runs-on/on-tools"];

/// What a schedule came to.
pub struct Outcome {
    pub seed: u64,
    pub hash: u64,
    pub turns: u64,
    pub virtual_ms: u64,
    pub broken: Option<String>,
    pub events: Vec<String>,
    /// What it had how many of.
    pub counts: BTreeMap<&'static str, u64>,
}

/// Runs one schedule on this thread; `tells` keeps its events in words.
pub fn run(seed: u64, nodes: usize, tells: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let outcome = runtime.block_on(play(seed, nodes, tells));
    drop(runtime);
    outcome
}

async fn play(seed: u64, nodes: usize, tells: bool) -> Outcome {
    let dice = Dice::new(seed);
    let _clocks = Clocks::install(dice.apart(9));
    let history = Arc::new(History::new(tells));
    let weather = Weather::of(&mut dice.apart(8), nodes);
    let (database, mut people, mut rooms) = Database::fresh().await;
    people.truncate(dice.apart(7).within(2..people.len() as u64 + 1) as usize);
    rooms.truncate(weather.rooms);
    let around = Surroundings {
        scheduler: Scheduler::new(dice.apart(1), history.clone()),
        network: Network::new(dice.apart(2)),
        provider: Provider::new(dice.apart(3), history.clone()),
        history: history.clone(),
        alone: nodes == 1,
        paces: weather.paces,
    };
    let world = World::new(&dice, around, Arc::new(database), &Cast { people, rooms });
    RESTED.set(0);
    history.note(|| format!("seed {seed}: {weather:?}"));
    let scheduler = world.around.scheduler.clone();
    let script = {
        let world = world.clone();
        async move { script(&world, weather).await }
    };
    scheduler.drive(script).await;
    world.database.leave();
    history.count("rests", RESTED.get());
    Outcome {
        seed,
        hash: history.hash(),
        turns: history.turns(),
        virtual_ms: history.elapsed_ms(),
        broken: history.take_broken(),
        events: history.events(),
        counts: history.counts(),
    }
}

async fn script(world: &Arc<World>, weather: Weather) {
    world.add_nodes(weather.nodes);
    world.seat();
    let length = {
        let mut dice = world.dice.lock();
        let longest_ms = *dice.pick(&STORMS_MS).unwrap_or(&1_000);
        dice.ms(100..longest_ms)
    };
    let until = Instant::now() + length;
    while Instant::now() < until {
        let pause = world.dice.lock().ms(1..250);
        sleep(pause).await;
        world.tend();
        work(world, weather);
        if world.dice.lock().permille(250) {
            trouble(world, weather);
        }
    }
    world.heal();
    rest(world).await;
}

/// Somebody does something.
fn work(world: &World, weather: Weather) {
    let (sitting, what, model) = {
        let mut dice = world.dice.lock();
        let Some(sitting) = dice.pick(&world.people).cloned() else { return };
        let model = dice.pick(&MODELS).copied().unwrap_or(MODELS[0]);
        (sitting, dice.below(100), model)
    };
    let mut person = sitting.person.lock();
    match what {
        0..25 if weather.mostly_runs => person.press_run(model),
        0..65 => person.edit(),
        65..78 if weather.runs => person.press_run(model),
        65..78 => person.edit(),
        78..86 => {
            if let Some(run) = person.a_run() {
                person.press(Action::Cancel { run });
            }
        }
        86..88 => {
            if let Some(run) = person.a_run() {
                person.press(Action::Regenerate { run });
            }
        }
        88..89 => {
            if let Some(run) = person.a_run() {
                person.press(Action::Continue { run });
            }
        }
        89..96 => {
            drop(person);
            world.history().note(|| "a person's line is cut".to_owned());
            world.hang_up(&sitting);
        }
        96..97 => {
            person.close_tab();
            drop(person);
            world.hang_up(&sitting);
        }
        _ => {}
    }
}
