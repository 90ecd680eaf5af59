//! What goes wrong in one schedule, and how its nodes are set: few kinds at a time find more than all at once.

use super::{dice::Dice, node::Paces, scheduler::Strike, world::World};
use crate::live::upkeep::SnapshotPace;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub nodes: usize,
    /// Rooms that people are in.
    pub rooms: usize,
    kills: bool,
    pauses: bool,
    drains: bool,
    database: bool,
    /// A room's row is held by somebody else now and then.
    rows: bool,
    bus: bool,
    clocks: bool,
    turns: bool,
    pub runs: bool,
    pub mostly_runs: bool,
    pub paces: Paces,
}

impl Weather {
    pub fn of(dice: &mut Dice, nodes: usize) -> Weather {
        Weather {
            nodes,
            rooms: if dice.permille(300) { 2 } else { 1 },
            kills: dice.permille(500),
            pauses: dice.permille(400),
            drains: dice.permille(250),
            database: dice.permille(500),
            rows: dice.permille(200),
            bus: dice.permille(500),
            clocks: dice.permille(200),
            turns: dice.permille(400),
            runs: dice.permille(850),
            mostly_runs: dice.permille(300),
            paces: paces(dice),
        }
    }
}

/// In many schedules rooms rest whenever nobody touches them for a moment, and snapshots are made of a few rows.
fn paces(dice: &mut Dice) -> Paces {
    let snapshots = if dice.permille(300) {
        SnapshotPace { pause: dice.ms(150..900), rows: dice.within(1..6), bytes: 1 << 20 }
    } else {
        SnapshotPace::default()
    };
    let look_ms = if dice.permille(400) { dice.within(50..400) } else { 5_000 };
    Paces { look_ms, idle_ms: 3_000, snapshots }
}

/// Something goes wrong, of the kinds that this schedule has.
pub fn trouble(world: &World, weather: Weather) {
    let mut dice = world.dice.lock();
    let place = dice.below(weather.nodes as u64) as usize;
    let kind = dice.below(12);
    let is_up = {
        let nodes = world.nodes.lock();
        nodes[place].app.is_some() && nodes[place].resume_at.is_none()
    };
    drop(dice);
    match kind {
        0 | 1 if weather.kills && is_up => kill(world, place),
        2 | 3 if weather.pauses && is_up => pause(world, place),
        4 | 5 if weather.database => database(world),
        6 | 7 if weather.bus => bus(world),
        8 if weather.clocks => {
            let skew_ms = world.dice.lock().below(120_000).cast_signed() - 60_000;
            world.jump(place, skew_ms);
        }
        9 if weather.turns => {
            let chance = world.dice.lock().below(60);
            world.around.scheduler.pass_over(chance);
        }
        10 if weather.drains && is_up => {
            let (runs_limit, back_after) = {
                let mut dice = world.dice.lock();
                let runs_limit = if dice.permille(500) { Duration::ZERO } else { dice.ms(0..3_000) };
                (runs_limit, dice.ms(0..3_000))
            };
            world.tell_to_stop(place, runs_limit, back_after);
        }
        11 if weather.rows => {
            let (room, length) = {
                let mut dice = world.dice.lock();
                (dice.pick(&world.rooms).map(|room| room.prompt), dice.ms(5..1_500))
            };
            if let Some(room) = room {
                world.hold_row(room, length);
            }
        }
        _ => {}
    }
}

fn kill(world: &World, place: usize) {
    let mut dice = world.dice.lock();
    let back_after = dice.ms(50..7_000);
    let home = world.nodes.lock()[place].home;
    if dice.permille(500) {
        let whole_house = dice.permille(300);
        drop(dice);
        world.kill(place, back_after);
        if whole_house {
            world.close_tabs(home);
        }
    } else {
        world.around.scheduler.arm(home, dice.within(1..200) as u32, Strike::Kill);
    }
}

fn pause(world: &World, place: usize) {
    let mut dice = world.dice.lock();
    let length = if dice.permille(600) { dice.ms(20..1_500) } else { dice.ms(5_000..14_000) };
    if dice.permille(500) {
        drop(dice);
        world.pause(place, length);
    } else {
        let home = world.nodes.lock()[place].home;
        world.around.scheduler.arm(home, dice.within(1..200) as u32, Strike::Pause);
    }
}

fn database(world: &World) {
    let mut dice = world.dice.lock();
    match dice.below(3) {
        0 => {
            let length: Duration = dice.ms(20..3_000);
            world.history().note(|| format!("the database is frozen for {length:?}"));
            world.faults.freeze(Instant::now() + length);
        }
        1 => world.faults.trouble(dice.below(200), dice.below(100), dice.below(40), dice.below(200)),
        _ => world.faults.trouble(0, 0, 0, 0),
    }
}

fn bus(world: &World) {
    let mut dice = world.dice.lock();
    match dice.below(4) {
        0 => world.around.network.go_down(),
        1 => {
            let heard = dice.permille(700);
            drop(dice);
            world.bus_comes_back(heard);
        }
        _ => world.around.network.storm(dice.below(400), dice.below(500), dice.below(200)),
    }
}
