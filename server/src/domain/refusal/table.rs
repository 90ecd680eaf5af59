//! Each refusal's row: stable code, HTTP status, close code, what happened, what is kept, what to do next.

use super::Refusal;
use promptroom_protocol::CloseCode;

const ASK: &str = "Ask an owner or admin of the workspace.";
const UNSAVED: &str = "All that was shown as saved is kept; this edit is not.";
const SAVED: &str = "All that was shown as saved is kept.";
const AGAIN: &str = "Connect again; the rest is sent along.";
const NOT_SENT: &str = "Nothing was sent and nothing was charged. Your draft and values are saved.";

/// A row of the table.
pub(super) struct Row {
    pub(super) code: &'static str,
    pub(super) status: u16,
    pub(super) close: CloseCode,
    pub(super) title: &'static str,
    pub(super) kept: &'static str,
    pub(super) next: &'static str,
}

const fn row(
    code: &'static str,
    status: u16,
    close: CloseCode,
    title: &'static str,
    kept: &'static str,
    next: &'static str,
) -> Row {
    Row { code, status, close, title, kept, next }
}

impl Refusal {
    #[rustfmt::skip]
    #[allow(clippy::too_many_lines, reason = "a table reads best as one, a row to a line")]
    pub(super) fn row(&self) -> Row {
        use CloseCode as C;
        match self {
            Refusal::SignInNeeded => row("auth.sign_in_needed", 401, C::SignInNeeded, "Not signed in", "", "Sign in, or send an API token in the Authorization header."),
            Refusal::LinkUsed => row("auth.link_used", 410, C::SignInNeeded, "This sign-in link was used or has expired", "", "Print a new one on the server with `promptroom link`."),
            Refusal::InviteUsed => row("auth.invite_gone", 410, C::SignInNeeded, "This invitation was withdrawn or has expired", "", "Ask for a new invitation."),
            Refusal::TooManySignIns { .. } => row("auth.too_many_attempts", 429, C::SignInNeeded, "Too many sign-in attempts from this address", "", "Wait, then try again."),
            Refusal::OriginForeign => row("auth.origin_foreign", 403, C::Forbidden, "The request comes from a foreign page", "", "Open the product under its own address, or set PROMPTROOM_PUBLIC_URL to it."),
            Refusal::Forbidden { .. } => row("auth.forbidden", 403, C::Forbidden, "Not allowed", "Nothing was changed.", ASK),
            Refusal::AccessLost => row("auth.access_lost", 403, C::Forbidden, "You no longer have access to this prompt", "What you had saved is kept.", ASK),
            Refusal::RightsChanged => row("auth.rights_changed", 409, C::RoomRestarted, "Your role was changed", "All that was shown as saved is kept.", "Connect again; the page shows what you may do now."),
            Refusal::LastOwner => row("member.last_owner", 409, C::Forbidden, "The workspace must keep an owner", "Nothing was changed.", "Make somebody else an owner first."),
            Refusal::MemberNotFound => row("member.not_found", 404, C::NotFound, "No such member", "", "Load the list again."),
            Refusal::PromptNotFound => row("prompt.not_found", 404, C::NotFound, "No such prompt, or none that you may see", "", "Check the address, or ask its owner to show it to the workspace."),
            Refusal::PromptDeleted => row("prompt.deleted", 410, C::Deleted, "This prompt was deleted", "Its content and runs are kept.", "Restore it, if you may, or make a new one."),
            Refusal::SlugTaken => row("prompt.slug_taken", 409, C::Forbidden, "That address is taken", "Nothing was changed.", "Choose another one."),
            Refusal::SlugDeleted => row("prompt.slug_deleted", 410, C::Deleted, "That address belonged to a deleted prompt", "The deleted prompt's content is kept.", "Restore it, or choose another address."),
            Refusal::BadSlug => row("prompt.bad_slug", 422, C::NotFound, "An address has 1 to 64 lower-case letters, digits and inner hyphens, and is not a UUID", "", "Choose another one."),
            Refusal::FrameMalformed { .. } => row("frame.malformed", 400, C::Malformed, "The frame cannot be read", UNSAVED, "Mend the client; see PROTOCOL.md."),
            Refusal::FrameTooLarge { .. } => row("frame.too_large", 413, C::TooLarge, "The frame is too large", UNSAVED, "Send less at once."),
            Refusal::MessageTooLarge => row("frame.message_too_large", 413, C::TooLarge, "The message is over the limit told in hello", UNSAVED, "Send less at once."),
            Refusal::VersionUnknown { .. } => row("frame.version_unknown", 400, C::VersionUnknown, "Unknown protocol version", SAVED, "Load the page again."),
            Refusal::ContentUnsupported { .. } => row("document.unsupported", 422, C::Unsupported, "The edit holds what a prompt cannot", UNSAVED, "Use text and maps only."),
            Refusal::DocumentTooLarge { .. } => row("document.too_large", 413, C::TooLarge, "The prompt is full", UNSAVED, "Delete what is not needed, or continue in a new prompt."),
            Refusal::EditOutOfStep => row("document.out_of_step", 409, C::OutOfStep, "The edit rests on one that never came", UNSAVED, AGAIN),
            Refusal::EditTooCostly => row("document.too_costly", 413, C::RoomRestarted, "The edit took too long to merge", SAVED, "Connect again; the rest is sent along. Send smaller edits."),
            Refusal::EditTooScattered => row("document.too_scattered", 413, C::TooLarge, "The edit changes too many places at once", UNSAVED, "Send it in smaller parts."),
            Refusal::DocumentCrowded => row("document.too_many_clients", 413, C::TooLarge, "The prompt has had too many different clients", UNSAVED, "Go on in a copy of the prompt."),
            Refusal::LineageChanged => row("document.lineage_changed", 409, C::LineageChanged, "This prompt has a new history", "Unsaved text stays in your browser.", "Start from the new state; copy over what you miss."),
            Refusal::RoomRestarted => row("room.restarted", 503, C::RoomRestarted, "The room was restarted", SAVED, AGAIN),
            Refusal::ReaderTooSlow => row("room.too_slow", 503, C::TooSlow, "The connection fell too far behind", SAVED, AGAIN),
            Refusal::Idle => row("room.idle", 408, C::Idle, "Nothing moved for too long", SAVED, AGAIN),
            Refusal::RoomFull { .. } => row("room.full", 503, C::Full, "The room is full", SAVED, "Try again later."),
            Refusal::NodeFull => row("node.full", 503, C::Full, "The server is full", SAVED, "Try again later."),
            Refusal::Draining => row("node.draining", 503, C::Draining, "The server is being restarted", SAVED, "Connect again in a moment."),
            Refusal::StoreUnavailable => row("store.unavailable", 503, C::Unavailable, "The database does not answer", SAVED, "Go on; try again in a moment."),
            Refusal::NotDurableYet => row("store.not_saved_yet", 503, C::Unavailable, "The change is not saved yet", "It waits in memory and will be saved when the database answers.", "Look again in a moment before you repeat it."),
            Refusal::CommandsTooMany { .. } => row("frame.commands_too_many", 429, C::Malformed, "Too many commands at once", SAVED, "Wait for their replies."),
            Refusal::WatchesTooMany { .. } => row("frame.watches_too_many", 429, C::Malformed, "Too many runs watched at once", SAVED, "Stop watching one first."),
            Refusal::RunNotFound => row("run.not_found", 404, C::NotFound, "No such run", "", "Load the list again."),
            Refusal::RunStillGoing => row("run.still_going", 409, C::Forbidden, "The run is still going", "", "Stop it first, or wait."),
            Refusal::RunHasNoText => row("run.nothing_to_continue", 409, C::Forbidden, "There is no text to continue from", "The run is kept.", "Regenerate it."),
            Refusal::ModelCannotContinue { .. } => row("run.cannot_continue", 409, C::Forbidden, "This model cannot continue an answer", "The run is kept.", "Add the answer to the messages and ask for more, or regenerate."),
            Refusal::RunBadRequest { .. } => row("run.bad_request", 422, C::Malformed, "The run cannot start", NOT_SENT, "Mend what is named, then run again."),
            Refusal::ModelUnknown { .. } => row("run.model_unknown", 422, C::NotFound, "Unknown model", NOT_SENT, "Choose another model."),
            Refusal::LaneQueueFull { .. } => row("run.queue_full", 429, C::Full, "The queue is full", NOT_SENT, "Wait, or choose another model."),
            Refusal::MemberQueueFull { .. } => row("run.own_queue_full", 429, C::Full, "You have too many runs waiting", NOT_SENT, "Stop one, or wait."),
            Refusal::OutputTooLong { .. } => row("run.output_too_long", 413, C::TooLarge, "The output reached the limit of one run", "All that had arrived by then is kept.", "Ask for less at once, or set max_tokens."),
            Refusal::CursorInvalid => row("run.bad_cursor", 400, C::Malformed, "The cursor is not `epoch:offset`", "", "Start from 1:0."),
            Refusal::IdempotencyConflict => row("request.idempotency_conflict", 409, C::Malformed, "That Idempotency-Key was used for another request", "", "Use a new key."),
            Refusal::BadRequest { .. } => row("request.bad", 400, C::Malformed, "The request cannot be read", "Nothing was changed.", "See the API description."),
            Refusal::BodyTooLarge { .. } => row("request.too_large", 413, C::TooLarge, "The request is too large", "Nothing was changed.", "Send less."),
            Refusal::RouteNotFound => row("request.not_found", 404, C::NotFound, "There is nothing at this address", "", "See /api/v1/openapi.json."),
            Refusal::MethodNotAllowed => row("request.method", 405, C::Malformed, "This address does not take that method", "", "See /api/v1/openapi.json."),
            Refusal::Internal => row("internal", 500, C::Unavailable, "Something failed on our side", "All that was shown as saved is kept.", "Try again; if it stays, give the request id to whoever runs this server."),
        }
    }
}
