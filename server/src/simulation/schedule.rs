//! One schedule: people at work, faults that a seed chooses, then rest, and the promises.

use super::{
    clock::Clocks, database::Database, dice::Dice, history::History, person::Person, promises,
    replica::Replica, scheduler::Strike, world::World,
};
use promptroom_protocol::{Action, RunState};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Within which everything must have come to rest once the faults are over.
const REST_LIMIT: Duration = Duration::from_secs(60);
const REST_LOOK: Duration = Duration::from_millis(200);
/// How long things may go wrong; many short schedules find more than a few long ones.
const STORMS_MS: [u64; 10] = [600, 600, 600, 600, 600, 600, 1_200, 1_200, 2_000, 5_000];
const MODELS: [&str; 4] = ["stops/markdown", "stops/tools", "runs-on/markdown", "runs-on/tools"];

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

/// Which kinds of faults a schedule has: few at a time find more than all at once.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub nodes: usize,
    pub kills: bool,
    pub pauses: bool,
    pub database: bool,
    pub bus: bool,
    pub clocks: bool,
    pub turns: bool,
    pub runs: bool,
    pub mostly_runs: bool,
}

impl Weather {
    fn of(dice: &mut Dice, nodes: usize) -> Weather {
        Weather {
            nodes,
            kills: dice.permille(500),
            pauses: dice.permille(400),
            database: dice.permille(500),
            bus: dice.permille(500),
            clocks: dice.permille(200),
            turns: dice.permille(400),
            runs: dice.permille(850),
            mostly_runs: dice.permille(300),
        }
    }
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
    let (database, people, prompt) = Database::fresh().await;
    let people = &people[..dice.apart(7).within(2..people.len() as u64 + 1) as usize];
    let world = World::new(&dice, history.clone(), Arc::new(database), people, prompt, nodes == 1);
    history.note(|| format!("seed {seed}: {weather:?}"));
    let scheduler = world.around.scheduler.clone();
    let script = {
        let world = world.clone();
        async move { script(&world, weather).await }
    };
    scheduler.drive(script).await;
    world.database.leave();
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

/// Something goes wrong, of the kinds that this schedule has.
fn trouble(world: &World, weather: Weather) {
    let mut dice = world.dice.lock();
    let place = dice.below(weather.nodes as u64) as usize;
    let is_up = {
        let nodes = world.nodes.lock();
        nodes[place].app.is_some() && nodes[place].resume_at.is_none()
    };
    match dice.below(10) {
        0 | 1 if weather.kills && is_up => {
            let back_after = dice.ms(50..7_000);
            if dice.permille(500) {
                let whole_house = dice.permille(300);
                let home = world.nodes.lock()[place].home;
                drop(dice);
                world.kill(place, back_after);
                if whole_house {
                    world.close_tabs(home);
                }
            } else {
                let home = world.nodes.lock()[place].home;
                world.around.scheduler.arm(home, dice.within(1..200) as u32, Strike::Kill);
            }
        }
        2 | 3 if weather.pauses && is_up => {
            let length = if dice.permille(600) { dice.ms(20..1_500) } else { dice.ms(5_000..14_000) };
            if dice.permille(500) {
                drop(dice);
                world.pause(place, length);
            } else {
                let home = world.nodes.lock()[place].home;
                world.around.scheduler.arm(home, dice.within(1..200) as u32, Strike::Pause);
            }
        }
        4 | 5 if weather.database => match dice.below(3) {
            0 => {
                let length = dice.ms(20..3_000);
                world.history().note(|| format!("the database is frozen for {length:?}"));
                world.faults.freeze(Instant::now() + length);
            }
            1 => world.faults.trouble(dice.below(200), dice.below(100), dice.below(40), dice.below(200)),
            _ => world.faults.trouble(0, 0, 0, 0),
        },
        6 | 7 if weather.bus => match dice.below(4) {
            0 => world.around.network.go_down(),
            1 => {
                let heard = dice.permille(700);
                drop(dice);
                world.bus_comes_back(heard);
            }
            _ => world.around.network.storm(dice.below(400), dice.below(500), dice.below(200)),
        },
        8 if weather.clocks => {
            let skew_ms = dice.below(120_000).cast_signed() - 60_000;
            drop(dice);
            world.jump(place, skew_ms);
        }
        9 if weather.turns => {
            let chance = dice.below(60);
            world.around.scheduler.pass_over(chance);
        }
        _ => {}
    }
}

/// Waits until everybody has what they must have; then the promises are checked.
async fn rest(world: &Arc<World>) {
    let until = Instant::now() + REST_LIMIT;
    loop {
        sleep(REST_LOOK).await;
        world.tend();
        let restless = restless(world);
        let Some(why) = restless else { break };
        if Instant::now() >= until {
            world.history().broken(&format!("no rest after {} s: {why}", REST_LIMIT.as_secs()));
            return;
        }
    }
    let people: Vec<_> = world.people.iter().map(|sitting| sitting.person.lock()).collect();
    let people: Vec<&Person> = people.iter().map(|person| &**person).collect();
    count(world, &people);
    if let Err(statement) = promises::check(&world.database, world.prompt, &people, &world.around.provider) {
        world.history().broken(&statement);
    }
}

fn count(world: &World, people: &[&Person]) {
    let history = world.history();
    let runs = world.database.runs(world.prompt);
    history.count("runs", runs.len() as u64);
    history
        .count("runs completed", runs.iter().filter(|run| run.state == RunState::Completed).count() as u64);
    history
        .count("runs cancelled", runs.iter().filter(|run| run.state == RunState::Cancelled).count() as u64);
    history.count("claims", runs.iter().map(|run| run.claims.len() as u64).sum());
    history.count("attempts", runs.iter().map(|run| run.attempts.len() as u64).sum());
    for person in people {
        history.count("edits saved", person.edits.iter().filter(|edit| edit.saved).count() as u64);
        history.count("rewinds", person.watched.values().map(|watched| u64::from(watched.rewinds)).sum());
        history.count("sockets", person.lines);
    }
}

/// What has not come to rest yet.
fn restless(world: &World) -> Option<String> {
    for sitting in &world.people {
        let person = sitting.person.lock();
        if !person.is_joined() {
            return Some(format!("{} is not in the room", person.name()));
        }
        if !person.all_saved() {
            return Some(format!("edits of {} are not saved", person.name()));
        }
        if person.presses.iter().any(|press| press.answered.is_none()) {
            return Some(format!("{} waits for an answer", person.name()));
        }
    }
    let open = world.database.open_runs(world.prompt);
    if open > 0 {
        return Some(format!("{open} runs have not ended or not settled"));
    }
    if world.around.provider.open() > 0 {
        return Some("somebody still listens to the model".to_owned());
    }
    for sitting in &world.people {
        let person = sitting.person.lock();
        if person.watched.values().any(|watched| !watched.ended) {
            return Some(format!("{} has not seen all runs to their end", person.name()));
        }
    }
    let Ok(stored) = Replica::of_rows(&world.database.rows(world.prompt)) else { return None };
    let stored = stored.standing();
    for sitting in &world.people {
        let person = sitting.person.lock();
        if person.replica.standing() != stored {
            return Some(format!("{} does not show what is stored", person.name()));
        }
    }
    None
}
