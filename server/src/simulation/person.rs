//! Somebody at a page: what they type and press, what the server told them of it, and what must hold between the two.

use super::{
    database::Stored, dice::Dice, history::History, replica::Replica, scheduler::Home, watched::Watched,
};
use crate::edge::socket::simulated::Cut;
use axum::extract::ws::Message;
use promptroom_protocol::{
    Action, ClientFrame, Command, CommandId, Hello, LineageId, Overrides, Reply, ReplyBody, RunId,
    RunSummary, Seq, ServerFrame, SyncStep,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Runs that one socket may watch.
const WATCHES_MAX: usize = 8;
/// Commands of one socket under way.
const COMMANDS_MAX: usize = 4;

pub struct Person {
    pub number: usize,
    history: Arc<History>,
    dice: Dice,
    pub replica: Replica,
    lineage: Option<LineageId>,
    /// The newest durable row that the server said it has sent.
    have: Option<Seq>,
    line: Option<Line>,
    /// The node at the other end of it.
    pub at: Option<Home>,
    stored: Arc<Stored>,
    pub edits: Vec<Edit>,
    pub presses: Vec<Press>,
    pub watched: BTreeMap<RunId, Watched>,
    /// Runs as they were last told.
    pub runs: BTreeMap<RunId, RunSummary>,
    /// Sockets so far.
    pub lines: u64,
}

/// One change of the text, in the order in which it was made.
#[derive(Clone, Debug)]
pub struct Edit {
    pub mark: String,
    pub inserts: bool,
    pub saved: bool,
    /// The tab was closed before it was saved: it may be in the document, or not.
    pub given_up: bool,
}

/// One press of Run, Stop or Regenerate.
#[derive(Clone, Debug)]
pub struct Press {
    pub command: Command,
    /// The marks that the page showed when it was pressed.
    pub shown: BTreeSet<String>,
    /// Own edits made before it was sent for the last time.
    pub after_edits: usize,
    pub run: Option<RunId>,
    pub answered: Option<Answer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    Refused(String),
}

struct Line {
    out: mpsc::Sender<Message>,
    cut: Cut,
    joined: bool,
    /// For each document frame, how many edits it and those before it hold.
    frames: Vec<usize>,
    saved: u64,
}

impl Person {
    pub fn new(number: usize, mut dice: Dice, history: Arc<History>, stored: Arc<Stored>) -> Person {
        let replica = Replica::new(dice.below(1 << 40) + 2);
        Person {
            number,
            history,
            dice,
            replica,
            lineage: None,
            have: None,
            line: None,
            at: None,
            stored,
            edits: Vec::new(),
            presses: Vec::new(),
            watched: BTreeMap::new(),
            runs: BTreeMap::new(),
            lines: 0,
        }
    }

    /// A socket is open; the server speaks first.
    pub fn connected(&mut self, at: Home, out: mpsc::Sender<Message>, cut: Cut) -> u64 {
        self.at = Some(at);
        self.lines += 1;
        if self.dice.permille(200) {
            // A second look, as of somebody who comes late.
            let runs: Vec<RunId> = self.watched.keys().copied().collect();
            let run = self.dice.pick(&runs);
            self.watched.extend(run.map(|run| (*run, Watched::from_the_start())));
        }
        self.line = Some(Line { out, cut, joined: false, frames: Vec::new(), saved: 0 });
        self.lines
    }

    /// The socket is gone, whoever closed it.
    pub fn disconnect(&mut self) {
        if let Some(line) = self.line.take() {
            line.cut.cut();
        }
    }

    pub fn is_joined(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.joined)
    }

    pub fn all_saved(&self) -> bool {
        self.edits.iter().all(|edit| edit.saved || edit.given_up)
    }

    /// Everything unsaved is lost, and the page begins anew.
    pub fn close_tab(&mut self) {
        self.disconnect();
        self.history.note(|| format!("{} closes the tab", self.name()));
        for edit in self.edits.iter_mut().filter(|edit| !edit.saved) {
            edit.given_up = true;
        }
        self.replica = Replica::new(self.dice.below(1 << 40) + 2);
        // The next tab knows nothing of what this one has asked for.
        for press in self.presses.iter_mut().filter(|press| press.answered.is_none()) {
            press.answered = Some(Answer::Refused("the tab was closed".to_owned()));
        }
        (self.lineage, self.have) = (None, None);
        self.watched.clear();
    }

    /// Types a mark, or takes an earlier one out.
    pub fn edit(&mut self) {
        let own: Vec<String> = {
            let text = self.replica.text();
            let standing = self.edits.iter().filter(|edit| edit.inserts && text.contains(&edit.mark));
            standing.map(|edit| edit.mark.clone()).collect()
        };
        let deletes = self.dice.permille(150);
        let update = match self.dice.pick(&own).filter(|_| deletes) {
            Some(mark) => self.replica.delete(mark).map(|update| (mark.clone(), false, update)),
            None => {
                let mark = format!("⟦{}.{}⟧", self.number, self.edits.len());
                self.replica.insert(&mark, &mut self.dice).map(|update| (mark, true, update))
            }
        };
        let Some((mark, inserts, update)) = update else { return };
        self.history.note(|| format!("{} {} {mark}", self.name(), if inserts { "types" } else { "deletes" }));
        self.edits.push(Edit { mark, inserts, saved: false, given_up: false });
        if self.is_joined() {
            self.send_edits(SyncStep::Update(&update));
        }
    }

    /// Presses Run, after a mark of its own, so that no two requests are the same.
    pub fn press_run(&mut self, model: &str) {
        if !self.is_joined() {
            return;
        }
        self.edit();
        let overrides = Overrides { model: Some(model.to_owned()), ..Overrides::default() };
        self.press(Action::Run { variant: None, inputs: None, overrides });
    }

    pub fn press(&mut self, action: Action) {
        let under_way = self.presses.iter().filter(|press| press.answered.is_none()).count();
        if !self.is_joined() || under_way >= COMMANDS_MAX {
            return;
        }
        let id = CommandId(Uuid::from_u64_pair(self.dice.next(), self.dice.next()));
        let edits = self.edits.len();
        let command = Command { id, action };
        self.history.note(|| format!("{} presses {:?} after {edits} edits", self.name(), command.action));
        let shown = self.replica.marks();
        self.presses.push(Press {
            command: command.clone(),
            shown,
            after_edits: edits,
            run: None,
            answered: None,
        });
        self.send(&ClientFrame::Command(Box::new(command)));
    }

    pub fn a_run(&mut self) -> Option<RunId> {
        let runs: Vec<RunId> = self.runs.keys().copied().collect();
        self.dice.pick(&runs).copied()
    }

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

    fn send_edits(&mut self, step: SyncStep<'_>) {
        let edits = self.edits.len();
        if let Some(line) = &mut self.line {
            line.frames.push(edits);
        }
        self.send(&ClientFrame::Sync(step));
    }

    /// A page whose socket takes nothing more gives it up.
    fn send(&self, frame: &ClientFrame<'_>) {
        if let Some(line) = &self.line
            && line.out.try_send(Message::Binary(frame.encode())).is_err()
        {
            line.cut.cut();
        }
    }

    pub fn name(&self) -> String {
        format!("person {}", self.number)
    }
}
