//! What a page makes of what the server sends, and what it answers.

use super::{Answer, Edit, Person};
use crate::simulation::watched::Watched;
use axum::extract::ws::Message;
use promptroom_protocol::{
    Action, ClientFrame, Command, Hello, Reply, ReplyBody, RunId, RunSummary, Seq, ServerFrame, SyncStep,
};

/// Runs that one socket may watch.
const WATCHES_MAX: usize = 8;

impl Person {
    /// What the server sent; false if the socket is over.
    pub fn hear(&mut self, message: &Message) -> bool {
        match message {
            Message::Binary(frame) => {
                self.history.mix_bytes(frame);
                let heard = ServerFrame::decode(frame)
                    .map_err(|error| format!("a frame cannot be read: {error}"))
                    .and_then(|frame| self.take(frame));
                if let Err(statement) = heard {
                    self.history.broken(&format!("{}: {statement}", self.name()));
                }
                true
            }
            Message::Ping(payload) => {
                if let Some(line) = &self.line {
                    let _full = line.out.try_send(Message::Pong(payload.clone()));
                }
                true
            }
            Message::Close(frame) => {
                let code = frame.as_ref().map_or(0, |frame| frame.code);
                self.history.note(|| format!("{} is closed with {code}: {frame:?}", self.name()));
                if (4400..4500).contains(&code) {
                    self.history.broken(&format!("{} may never come back: {frame:?}", self.name()));
                }
                false
            }
            _ => true,
        }
    }

    fn take(&mut self, frame: ServerFrame<'_>) -> Result<(), String> {
        match frame {
            ServerFrame::Hello(hello) => self.join(*hello),
            ServerFrame::Sync(SyncStep::Step1(state_vector)) => self.answer(state_vector),
            ServerFrame::Sync(SyncStep::Step2(update) | SyncStep::Update(update)) => {
                self.replica.apply(update).map_err(|error| format!("1: {error}"))
            }
            ServerFrame::Saved { frames, head } => self.saved(frames, head),
            ServerFrame::Run(run) => {
                self.learn(*run);
                Ok(())
            }
            ServerFrame::Records(records) => match self.watched.get_mut(&records.run) {
                Some(watched) => watched.records(&records),
                None => Ok(()),
            },
            ServerFrame::Rewind { run, epoch, offset } => {
                let name = self.name();
                self.history.note(|| format!("{name} is rewound to {}:{}", epoch.0, offset.0));
                self.watched.get_mut(&run).map_or(Ok(()), |watched| watched.rewind(epoch, offset))
            }
            ServerFrame::End { run, epoch, offset } => {
                let ended = self.watched.get_mut(&run).map_or(Ok(()), |watched| watched.end(epoch, offset));
                self.watch_more();
                ended
            }
            ServerFrame::Reply(reply) => self.replied(*reply),
            ServerFrame::Problem(problem) => {
                self.history.note(|| format!("{} is told {}: {}", self.name(), problem.code, problem.detail));
                Ok(())
            }
            ServerFrame::Awareness(_)
            | ServerFrame::Person(_)
            | ServerFrame::Drain { .. }
            | ServerFrame::Denied(_) => Ok(()),
        }
    }

    fn join(&mut self, hello: Hello) -> Result<(), String> {
        if self.lineage.is_some_and(|known| known != hello.lineage) {
            return Err("1: the document has another history".to_owned());
        }
        self.lineage = Some(hello.lineage);
        self.history.note(|| {
            format!("{} enters with {:?}, the head there is {}", self.name(), self.have, hello.head.0)
        });
        let state_vector = self.replica.state_vector();
        self.send(&ClientFrame::Join {
            lineage: hello.lineage,
            have: self.have,
            state_vector: &state_vector,
        });
        for run in hello.runs {
            self.learn(run);
        }
        Ok(())
    }

    fn answer(&mut self, state_vector: &[u8]) -> Result<(), String> {
        let diff = self.replica.diff(state_vector)?;
        let first = self.line.as_mut().is_some_and(|line| !std::mem::replace(&mut line.joined, true));
        self.send_edits(SyncStep::Step2(&diff));
        if !first {
            return Ok(());
        }
        let edits = self.edits.len();
        let again: Vec<Command> = self
            .presses
            .iter_mut()
            .filter(|press| press.answered.is_none())
            .map(|press| {
                press.after_edits = edits;
                press.command.clone()
            })
            .collect();
        for command in again {
            self.send(&ClientFrame::Command(Box::new(command)));
        }
        let open = self.watched.iter().filter(|(_, watched)| !watched.ended).map(|(run, _)| *run);
        for run in open.collect::<Vec<_>>() {
            self.watch(run);
        }
        self.watch_more();
        Ok(())
    }

    fn saved(&mut self, frames: u64, head: Seq) -> Result<(), String> {
        let Some(line) = &mut self.line else { return Ok(()) };
        if frames < line.saved || frames > line.frames.len() as u64 {
            return Err(format!(
                "1: {frames} frames are saved, after {} and of {}",
                line.saved,
                line.frames.len()
            ));
        }
        line.saved = frames;
        let edits = frames.checked_sub(1).map_or(0, |last| line.frames[last as usize]);
        if let Some(stored) = self.stored.text() {
            let told = self.edits[..edits].iter().filter(|edit| !edit.saved && !edit.given_up);
            if let Some(edit) = told.into_iter().find(|edit| self.is_missing(edit, &stored)) {
                return Err(format!("1: {} is told as saved and is not stored", edit.mark));
            }
        }
        for edit in self.edits[..edits].iter_mut().filter(|edit| !edit.given_up) {
            edit.saved = true;
        }
        self.have = self.have.max(Some(head));
        Ok(())
    }

    fn is_missing(&self, edit: &Edit, stored: &str) -> bool {
        let is_taken_out = self.edits.iter().any(|other| !other.inserts && other.mark == edit.mark);
        match edit.inserts {
            true => !is_taken_out && !stored.contains(&edit.mark),
            false => stored.contains(&edit.mark),
        }
    }

    fn learn(&mut self, run: RunSummary) {
        let id = run.id;
        self.runs.insert(id, run);
        self.watch_more();
    }

    fn watch_more(&mut self) {
        if !self.is_joined() {
            return;
        }
        let open = self.watched.values().filter(|watched| !watched.ended).count();
        let unseen = self.runs.keys().filter(|run| !self.watched.contains_key(run)).copied();
        for run in unseen.take(WATCHES_MAX.saturating_sub(open)).collect::<Vec<_>>() {
            self.watched.insert(run, Watched::from_the_start());
            self.watch(run);
        }
    }

    fn watch(&self, run: RunId) {
        if let Some(watched) = self.watched.get(&run) {
            self.send(&ClientFrame::Watch { run, cursor: watched.cursor });
        }
    }

    fn replied(&mut self, reply: Reply) -> Result<(), String> {
        let name = self.name();
        let Some(press) = self.presses.iter_mut().find(|press| press.command.id == reply.id) else {
            return Err("a reply to no command".to_owned());
        };
        match reply.body {
            ReplyBody::Ok { run } => {
                self.history.note(|| {
                    format!("{name}: {:?} is run {} ({})", press.command.action, run.id, run.state.name())
                });
                if press.run.is_some_and(|known| known != run.id) {
                    return Err("3: one command started two runs".to_owned());
                }
                press.run = Some(run.id);
                press.answered = Some(Answer::Done);
                if matches!(press.command.action, Action::Cancel { .. }) {
                    self.stops.acknowledged(run.id);
                }
                self.learn(*run);
            }
            ReplyBody::Error(problem) => {
                self.history
                    .note(|| format!("{name}: {:?} is refused: {}", press.command.action, problem.code));
                press.answered = Some(Answer::Refused(problem.code));
            }
        }
        Ok(())
    }
}
