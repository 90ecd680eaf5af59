//! What changes the document or is cut from it: frames, edits over HTTP, and commands.

use super::{Authors, Owner};
use crate::domain::{
    document::{Applied, ApplyError, EditRefusal, FrameRefusal},
    log::{Position, SocketId},
    prompt::{self, Cut},
    refusal::Refusal,
};
use crate::live::{
    member::Member,
    room::{CutAsk, Edit},
};
use promptroom_protocol::{Action, Command, Reply, ReplyBody, ServerFrame, SyncStep};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Merging one frame takes microseconds; one that takes this long holds up the room.
const APPLY_LIMIT: Duration = Duration::from_millis(500);

impl Owner {
    pub(super) fn update(&mut self, member: &Member, update: &[u8], whole: bool) {
        if let Err(broken) = self.document.wake() {
            self.broken(broken);
            return;
        }
        let room = self.room.clone();
        let rights = room.hold_rights();
        if !member.rights().edit {
            drop(rights);
            return self.read_only(member, update, whole);
        }
        let begun = Instant::now();
        let awake = self.document.wake().map_err(ApplyError::from);
        let applied = awake.and_then(|document| document.apply(update));
        if begun.elapsed() > APPLY_LIMIT {
            // It is in, or was refused; but whoever sends such things does not go on doing so on this socket.
            tracing::warn!(prompt.id = %self.room.prompt, bytes = update.len(), "an edit took too long to merge");
            member.close(Refusal::EditTooCostly);
        }
        match applied {
            Ok(Applied::Changed) => {
                let position = self.room.log.lock().append_update(update, Some(member.socket));
                drop(rights);
                self.edited_by(Some(member.socket));
                self.took(member, Some(position), whole);
            }
            Ok(Applied::Nothing) => self.took(member, None, whole),
            Err(ApplyError::Refused(FrameRefusal::Missing)) => self.out_of_step(member, whole),
            Err(ApplyError::Refused(refusal)) => member.close(self.refusal(refusal)),
            Err(ApplyError::Broken(broken)) => {
                self.broken(broken);
            }
        }
    }

    /// Every reader answers the server's SyncStep1, and what a stock one holds is passed over. Ours is told, as it
    /// believes that whatever it sends gets saved; only deletions may be those that everybody has.
    fn read_only(&mut self, member: &Member, update: &[u8], whole: bool) {
        if is_empty_update(update) || whole && (!member.versioned || has_no_structs(update)) {
            self.took(member, None, whole);
        } else {
            member.close(Refusal::Forbidden { what: "edit this prompt" });
        }
    }

    /// The frame is taken. One that added nothing may rest on what is in memory only, so it counts from the head.
    fn took(&mut self, member: &Member, position: Option<Position>, whole: bool) {
        let changed = position.is_some();
        if let Some(member) = self.seats.get(&member.socket).map(|seat| &seat.member)
            && member.versioned
        {
            let position = position.unwrap_or_else(|| self.room.head());
            member.mark(position);
            self.room.unsaved.lock().insert(member.socket, member.clone());
            // Only now, so that a commit meanwhile either finds the socket or is seen here.
            if position <= self.room.log.lock().durable() {
                member.ring();
            }
        }
        if let Some(seat) = self.seats.get_mut(&member.socket) {
            seat.synced |= whole;
            // Only an answer that brought something mends what it was asked for.
            seat.asked_again &= !changed;
        }
    }

    /// The frame rests on something that we lack. Before the client's SyncStep2 that is usual and the frame comes
    /// again with it; afterwards a stock client is asked once for what it has.
    fn out_of_step(&mut self, member: &Member, whole: bool) {
        let Some(seat) = self.seats.get_mut(&member.socket) else { return };
        if member.versioned || seat.asked_again {
            member.close(Refusal::EditOutOfStep);
        } else if seat.synced || whole {
            seat.asked_again = true;
            match self.document.wake().map(|document| document.state_vector()) {
                Ok(known) => member.send(ServerFrame::Sync(SyncStep::Step1(&known)).encode()),
                Err(broken) => {
                    self.broken(broken);
                }
            }
        }
    }

    /// Cuts the run here, after all that its author sent before; the rest happens outside of the room.
    pub(super) fn command(&mut self, member: Arc<Member>, command: Command) {
        let Command { id, action } = command;
        let (allowed, request_id) = (member.rights().run, member.request_id);
        let refused = |refusal: Refusal| {
            let body = ReplyBody::Error(Box::new(refusal.problem(Some(request_id))));
            ServerFrame::Reply(Box::new(Reply { id, body })).encode()
        };
        if !allowed {
            member.reply(refused(Refusal::Forbidden { what: "run this prompt" }));
            return;
        }
        match action {
            Action::Run { variant, inputs, overrides } => {
                let cut = self.cut(&CutAsk { variant, inputs, overrides });
                self.around.runs.start_for(&self.room, member, id, cut);
            }
            Action::Cancel { run } => self.around.runs.cancel_for(&self.room, member, id, run),
            Action::Regenerate { run } => self.around.runs.regenerate_for(&self.room, member, id, run),
            Action::Continue { run } => self.around.runs.continue_for(&self.room, member, id, run),
        }
    }

    pub(super) fn cut(&mut self, ask: &CutAsk) -> Result<Cut, Refusal> {
        let content = self.document.wake().and_then(|document| document.content());
        let content = content.map_err(|broken| self.broken(broken))?;
        prompt::cut(&content, ask.variant.as_deref(), ask.inputs.as_deref(), &ask.overrides)
            .map_err(|refusal| Refusal::RunBadRequest { detail: refusal.to_string() })
    }

    pub(super) fn edit(&mut self, edit: &Edit) -> Result<Position, Refusal> {
        if let Err(broken) = self.document.wake() {
            return Err(self.broken(broken));
        }
        let room = self.room.clone();
        let rights = room.hold_rights();
        if *rights != edit.checked_under {
            return Err(Refusal::RightsChanged);
        }
        let author = &edit.author;
        let awake = self.document.wake().map_err(EditRefusal::from);
        let update = match awake.and_then(|document| document.edit(&edit.patch)) {
            Ok(update) => update,
            Err(EditRefusal::Broken(broken)) => return Err(self.broken(broken)),
            Err(EditRefusal::TooLarge) => return Err(self.refusal(FrameRefusal::TooLarge)),
            Err(refusal) => return Err(Refusal::BadRequest { detail: refusal.to_string() }),
        };
        if update.is_empty() {
            return Ok(self.room.log.lock().head());
        }
        self.edited_by(None);
        let position = self.room.log.lock().append_update(&update, None);
        author.mark(position);
        self.room.unsaved.lock().insert(author.socket, author.clone());
        Ok(position)
    }

    fn edited_by(&mut self, author: Option<SocketId>) {
        self.edited = Some(match (self.edited, author) {
            (None, Some(socket)) => Authors::One(socket),
            (Some(Authors::One(known)), Some(socket)) if known == socket => Authors::One(known),
            _ => Authors::Several,
        });
    }

    pub(super) fn refused(&self, error: ApplyError) -> Refusal {
        match error {
            ApplyError::Refused(refusal) => self.refusal(refusal),
            ApplyError::Broken(broken) => self.broken(broken),
        }
    }

    pub(super) fn refusal(&self, refusal: FrameRefusal) -> Refusal {
        match refusal {
            FrameRefusal::Malformed => {
                Refusal::FrameMalformed { detail: "The update cannot be read.".to_owned() }
            }
            FrameRefusal::Unsupported(what) => Refusal::ContentUnsupported { what },
            FrameRefusal::TooLarge => {
                Refusal::DocumentTooLarge { limit_bytes: self.room.limits.document_bytes }
            }
            FrameRefusal::TooManyClients => Refusal::DocumentCrowded,
            FrameRefusal::TooScattered => Refusal::EditTooScattered,
            FrameRefusal::Missing => Refusal::EditOutOfStep,
        }
    }
}

fn has_no_structs(update: &[u8]) -> bool {
    update.first() == Some(&0)
}

/// No structs and no deletions.
fn is_empty_update(update: &[u8]) -> bool {
    update == [0, 0]
}
