//! What nodes tell each other of runs, and what becomes of it here. Nothing in it is needed: whoever hears nothing finds
//! the same in the store a little later.

use crate::bus::{Note, Piece, Topic};
use crate::domain::{
    output::Taken,
    run::{Stage, is_newer},
};
use crate::live::runs::Runs;
use promptroom_protocol::{Epoch, MemberId, Offset, PromptId, RunId, RunSummary};

impl Runs {
    /// Tells whoever is in the run's room, here and on other nodes, or reads its output, how it stands.
    pub(super) fn announce(&self, run: &RunSummary) {
        self.announce_here(run);
        if self.bus.has_others() {
            self.bus.publish(Topic::Room(run.prompt), Note::Run(Box::new(run.clone())));
        }
    }

    pub(super) fn announce_here(&self, run: &RunSummary) {
        if let Some(tape) = self.known_tape(run.id) {
            tape.note(run);
        }
        if let Some(room) = self.room(run.prompt) {
            room.announce(run);
        }
    }

    /// Tells other nodes that somebody asked the run to stop.
    pub(super) fn tell_cancel(&self, prompt: PromptId, run: RunId, by: MemberId) {
        if self.bus.has_others() {
            self.bus.publish(Topic::Room(prompt), Note::Cancel { run, by });
        }
    }

    /// Another node told how a run stands.
    pub fn heard_run(&self, run: &RunSummary) {
        // Whoever drives it in a later epoch has claimed it.
        self.checkpoint.fence_before(run.id, run.epoch);
        if let Some(tape) = self.known_tape(run.id) {
            let (known, now) = (tape.summary(), Stage::of(run));
            if is_newer(&known, run) && !run.state.is_terminal() {
                tape.note(run);
            }
            // What a driver withdrew, and the end, are taken from the store.
            if now > Stage::of(&known) && (run.epoch > known.epoch || run.state.is_terminal()) {
                self.follow_soon();
            }
        }
        if let Some(room) = self.room(run.prompt) {
            room.announce_heard(run);
        }
    }

    /// Another node has shown output of a run that it drives.
    pub fn heard_output(&self, run: RunId, epoch: Epoch, offset: Offset, pieces: Vec<Piece>) {
        self.checkpoint.fence_before(run, epoch);
        let Some(tape) = self.known_tape(run) else { return };
        if tape.hear(epoch, offset, pieces) == Taken::Gap {
            self.follow_soon();
        }
    }

    /// Somebody on another node asked a run to stop.
    pub fn heard_cancel(&self, run: RunId, by: MemberId) {
        if let Some(going) = self.checkpoint.find(run) {
            going.cancel(by);
        }
    }

    /// Notes of others may have been lost.
    pub fn heard_missed(&self) {
        self.follow_soon();
    }
}
