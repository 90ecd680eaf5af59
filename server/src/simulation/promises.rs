//! The promises as statements about a history: what people were told, against what the database holds in the end.

use super::{
    database::{Attempted, RunRow},
    person::{Answer, Edit, Person},
    replica::{Replica, Standing},
    upstream::{Call, CallState},
};
use crate::domain::{document::Document, run::Source};
use crate::store::RoomImage;
use promptroom_protocol::{Action, RunId, RunState};
use std::collections::{BTreeMap, BTreeSet};

type Statement = Result<(), String>;

/// What one room has come to.
pub struct End<'a> {
    /// From its newest snapshot, and from the one before.
    pub images: &'a [RoomImage],
    pub runs: &'a [RunRow],
    pub calls: &'a [Call],
    pub people: &'a [&'a Person],
}

impl End<'_> {
    /// Everything that must hold once the faults are over and everybody has come to rest.
    pub fn check(&self) -> Statement {
        let End { images, runs, calls, people } = self;
        let stored = loads_cold(images)?;
        saved_means_saved(&stored.text, people)?;
        if let Some(person) = people.iter().find(|person| person.replica.standing() != stored) {
            return Err(format!("1: what {} shows is not what is stored", person.name()));
        }
        for run in *runs {
            one_stream(run, people, calls)?;
            paid_for_once(run, calls)?;
            stop_stops(run, people)?;
            keeps_and_bills(run, runs, calls)?;
            what_you_see_is_what_runs(run, people)?;
        }
        one_run_for_each_command(runs, people)
    }
}

/// Statement 1: whoever opens the room finds the same in it, whichever snapshot they begin with.
fn loads_cold(images: &[RoomImage]) -> Result<Standing, String> {
    let mut found = None;
    for RoomImage { snapshot, rows, .. } in images {
        let snapshot = snapshot.as_ref().map(|(_, bytes)| &bytes[..]);
        let rows: Vec<&[u8]> = rows.iter().map(|(_, row)| &row[..]).collect();
        Document::load(1, snapshot, rows.iter().copied())
            .map_err(|_| "1: a stored row rests on something that is not stored before it".to_owned())?;
        let standing = Replica::of_rows(snapshot.into_iter().chain(rows))?.standing();
        if found.get_or_insert_with(|| standing.clone()) != &standing {
            return Err("1: the newest snapshot makes another document than the one before it".to_owned());
        }
    }
    found.ok_or_else(|| "1: the room is gone".to_owned())
}

/// Statement 1: each saved edit is in the store once, and nothing that was taken out comes back.
fn saved_means_saved(text: &str, people: &[&Person]) -> Statement {
    for person in people {
        let mut marks: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        for edit in &person.edits {
            let (must_be, may_be) = marks.entry(&edit.mark).or_default();
            match (edit.inserts, edit.saved) {
                (true, true) => (*must_be, *may_be) = (true, true),
                (true, false) => *may_be = true,
                (false, true) => (*must_be, *may_be) = (false, false),
                (false, false) => *must_be = false,
            }
        }
        for (mark, (must_be, may_be)) in marks {
            let found = text.matches(mark).count();
            if found > 1 || (found == 0 && must_be) || (found == 1 && !may_be) {
                let whose = person.name();
                return Err(format!(
                    "1: {mark} of {whose} is in the store {found} times (must {must_be}, may {may_be}): {text}"
                ));
            }
        }
    }
    Ok(())
}

/// Statement 2: every viewer has the stored bytes, and these are what the model said, each part once.
fn one_stream(run: &RunRow, people: &[&Person], calls: &[Call]) -> Statement {
    let id = run.id;
    for person in people {
        let Some(watched) = person.watched.get(&id) else { continue };
        if !watched.ended || watched.bytes != run.output {
            return Err(format!(
                "2: {} has {} of {} bytes of run {id} (end told: {})",
                person.name(),
                watched.bytes.len(),
                run.output.len(),
                watched.ended
            ));
        }
    }
    if std::str::from_utf8(&run.output).is_err() {
        return Err(format!("2: the output of run {id} is cut within a character"));
    }
    let mut starts: Vec<usize> = run.claims.iter().map(|(_, start)| *start as usize).collect();
    starts.push(run.output.len());
    let mut from = 0;
    for (number, start) in starts.iter().enumerate() {
        // A later claim that begins before this one has withdrawn all of it.
        let to = starts[number..].iter().min().copied().unwrap_or(*start);
        if to <= from {
            continue;
        }
        let part = &run.output[from..to];
        let is_last = to == run.output.len() && run.state == RunState::Completed;
        let is_said = calls.iter().filter(|call| call.asked == run.asked).any(|call| {
            let said = call.said.as_bytes();
            if is_last { call.state == CallState::Done && said == part } else { said.starts_with(part) }
        });
        if !is_said {
            let text = String::from_utf8_lossy(part);
            return Err(format!(
                "2: bytes {from} to {to} of run {id} are no model's answer from its start: {text:?}"
            ));
        }
        from = to;
    }
    Ok(())
}

/// Statement 3: each attempt settles, once, and as reported or marked as an estimate.
fn paid_for_once(run: &RunRow, calls: &[Call]) -> Statement {
    let id = run.id;
    if !run.state.is_terminal() {
        return Err(format!("4: run {id} is still {}", run.state.name()));
    }
    for Attempted { settled, estimated, input, output, epoch } in &run.attempts {
        if !settled {
            return Err(format!("3: the attempt of run {id} in epoch {epoch} is not settled"));
        }
        let is_reported = calls.iter().filter(|call| call.asked == run.asked).any(|call| {
            call.reported.is_some_and(|report| {
                (report.input_tokens, report.output_tokens) == (Some(*input), Some(*output))
            })
        });
        let is_nothing = (*input, *output) == (0, 0);
        if !estimated && !is_reported && !is_nothing {
            return Err(format!(
                "3: an attempt of run {id} settled {input}+{output} tokens, which nobody reported"
            ));
        }
    }
    Ok(())
}

/// Statement 4: whoever was told that a run stops sees it end, and not by itself much later.
fn stop_stops(run: &RunRow, people: &[&Person]) -> Statement {
    let stops = people
        .iter()
        .flat_map(|person| &person.presses)
        .filter(|press| matches!(press.command.action, Action::Cancel { run: stopped } if stopped == run.id));
    let acknowledged = stops.filter(|press| press.answered == Some(Answer::Done)).count();
    if acknowledged > 0 && run.state == RunState::Interrupted && run.cancelled {
        return Err(format!("4: run {} was stopped by somebody and is shown as interrupted", run.id));
    }
    Ok(())
}

/// Statement 4: what came before the stop is kept whole, and what was used is billed.
fn keeps_and_bills(run: &RunRow, runs: &[RunRow], calls: &[Call]) -> Statement {
    let id = run.id;
    if !run.output.is_empty() && run.attempts.iter().all(|attempt| attempt.output == 0) {
        return Err(format!("4: run {id} has {} bytes, of which nothing is billed", run.output.len()));
    }
    let is_alone = runs.iter().filter(|other| other.asked == run.asked).count() == 1;
    if !is_alone || run.state != RunState::Cancelled || run.claims.len() > 1 {
        return Ok(());
    }
    // One driver from start to end, which has heard all that it was told.
    let mut calls = calls.iter().filter(|call| call.asked == run.asked && !call.runs_on);
    let kept = String::from_utf8_lossy(&run.output);
    match calls.find(|call| call.state == CallState::HungUp && call.said != kept) {
        Some(call) => Err(format!("4: {kept:?} is kept of {:?} when run {id} was stopped", call.said)),
        None => Ok(()),
    }
}

/// Statement 5: the request holds all that its author typed before the press, and nothing from after it.
fn what_you_see_is_what_runs(run: &RunRow, people: &[&Person]) -> Statement {
    let Ok(source) = serde_json::from_str::<Source>(&run.source_json) else {
        return Err(format!("5: what run {} was cut from cannot be read", run.id));
    };
    let texts: Vec<&str> = source.request.messages.iter().map(|message| message.text.as_str()).collect();
    let text = texts.concat();
    let edits = people.iter().flat_map(|person| &person.edits);
    let deleted: BTreeSet<&str> = edits.filter(|edit| !edit.inserts).map(|edit| edit.mark.as_str()).collect();
    for person in people {
        let Some(press) = person.presses.iter().find(|press| press.command.id == run.command) else {
            continue;
        };
        if !matches!(press.command.action, Action::Run { .. }) {
            continue;
        }
        let lacking =
            press.shown.iter().find(|mark| !text.contains(*mark) && !deleted.contains(mark.as_str()));
        if let Some(mark) = lacking {
            return Err(format!("5: run {} lacks {mark}, which its author saw when starting it", run.id));
        }
        let later =
            person.edits[press.after_edits..].iter().find(|edit| edit.inserts && text.contains(&edit.mark));
        if let Some(Edit { mark, .. }) = later {
            return Err(format!("5: run {} holds {mark}, typed after it was started", run.id));
        }
    }
    Ok(())
}

/// Statement 3: a command that is repeated starts nothing twice, and an answer names a run that exists.
fn one_run_for_each_command(runs: &[RunRow], people: &[&Person]) -> Statement {
    let known: BTreeSet<RunId> = runs.iter().map(|run| run.id).collect();
    for press in people.iter().flat_map(|person| &person.presses) {
        if let Some(run) = press.run.filter(|run| !known.contains(run)) {
            return Err(format!("3: run {run} was promised and is not stored"));
        }
    }
    Ok(())
}

/// Statement 3, of all rooms: the provider was asked no more often than attempts were written down.
pub fn intents_cover_calls(runs: &[RunRow], calls: &[Call]) -> Statement {
    let mut attempts: BTreeMap<&str, usize> = BTreeMap::new();
    for run in runs {
        *attempts.entry(&run.asked).or_default() += run.attempts.len();
    }
    let mut asked: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.may_cost()) {
        *asked.entry(&call.asked).or_default() += 1;
    }
    for (text, calls) in asked {
        let written = attempts.get(text).copied().unwrap_or_default();
        if calls > written {
            return Err(format!("3: {calls} requests for {text:?} and {written} attempts"));
        }
    }
    Ok(())
}
