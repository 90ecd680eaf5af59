//! Somebody at a page: what they type and press, what the server told them of it, and what must hold between the two.

mod hearing;

use super::{
    dice::Dice, history::History, replica::Replica, scheduler::Home, stops::Stops, stored::Stored,
    watched::Watched,
};
use crate::edge::socket::simulated::Cut;
use axum::extract::ws::Message;
use promptroom_protocol::{
    Action, ClientFrame, Command, CommandId, LineageId, Overrides, RunId, RunSummary, Seq, SyncStep,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::mpsc;
use uuid::Uuid;

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
    stops: Arc<Stops>,
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
    pub fn new(
        number: usize,
        mut dice: Dice,
        history: Arc<History>,
        stored: Arc<Stored>,
        stops: Arc<Stops>,
    ) -> Person {
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
            stops,
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
