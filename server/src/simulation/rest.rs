//! After the faults: within a minute everybody has what they must have. Then the promises are checked.

use super::{database::RunRow, person::Person, promises, stored::Stored, world::World};
use crate::store::{Generation, RoomImage};
use promptroom_protocol::RunState;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};

/// Within which everything must have come to rest once the faults are over.
const REST_LIMIT: Duration = Duration::from_secs(60);
const REST_LOOK: Duration = Duration::from_millis(200);

/// Waits until everybody has what they must have; then the promises are checked.
pub async fn rest(world: &Arc<World>) {
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
    let calls = world.around.provider.calls();
    let mut all_runs = Vec::new();
    for room in &world.rooms {
        let images = match load(world, room).await {
            Ok(images) => images,
            Err(statement) => return world.history().broken(&statement),
        };
        let people = world.people.iter().filter(|sitting| sitting.room.prompt == room.prompt);
        let people: Vec<_> = people.map(|sitting| sitting.person.lock()).collect();
        let people: Vec<&Person> = people.iter().map(|person| &**person).collect();
        let runs = world.database.runs(room.prompt);
        count(world, &runs, &people);
        let end = promises::End { images: &images, runs: &runs, calls: &calls, people: &people };
        if let Err(statement) = end.check() {
            return world.history().broken(&statement);
        }
        all_runs.extend(runs);
    }
    let (snapshots, pruned) = world.database.snapshots();
    world.history().count("snapshots", snapshots);
    world.history().count("rows pruned", pruned);
    let kept = promises::intents_cover_calls(&all_runs, &calls).and_then(|()| world.database.watched());
    if let Err(statement) = kept {
        world.history().broken(&statement);
    }
}

/// The room as a node would find it that has just started, from each of its snapshots.
async fn load(world: &World, room: &Stored) -> Result<Vec<RoomImage>, String> {
    let store = world.database.undisturbed();
    let mut images = Vec::new();
    for generation in [Generation::Newest, Generation::Older] {
        let image = store.load_room(room.prompt, generation).await;
        images.push(
            image.map_err(|error| format!("1: {generation:?}: {error}"))?.ok_or("1: the room is gone")?,
        );
    }
    Ok(images)
}

fn count(world: &World, runs: &[RunRow], people: &[&Person]) {
    let history = world.history();
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
    let open = world.database.open_runs();
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
    for room in &world.rooms {
        let Some(stored) = room.standing() else { return Some("a transaction goes on".to_owned()) };
        for sitting in world.people.iter().filter(|sitting| sitting.room.prompt == room.prompt) {
            let person = sitting.person.lock();
            if person.replica.standing() != stored {
                return Some(format!("{} does not show what is stored", person.name()));
            }
        }
    }
    None
}
