//! A run to start, and what is written down of it before anything is spent.

use crate::domain::{
    ledger::estimate_tokens,
    prompt::{Cut, ModelRequest, request_hash},
    refusal::Refusal,
    run::Source,
};
use crate::live::{
    clock::{new_id, now_ms},
    commands::Asked,
    runs::Runs,
};
use crate::model::Model;
use crate::store::{AttemptId, NewAttempt, NewRun, NodeId};
use promptroom_protocol::{CommandId, Epoch, Person, PromptId, RunId, RunOrigin};

/// A run to start.
pub struct Start {
    pub prompt: PromptId,
    pub command: CommandId,
    pub by: Person,
    pub origin: RunOrigin,
    pub parent: Option<RunId>,
    pub model_id: String,
    pub source: Source,
}

/// As long as it is held, nobody takes the run for one that was left to nobody.
pub(super) struct Starting<'a> {
    runs: &'a Runs,
    run: RunId,
}

impl<'a> Starting<'a> {
    pub(super) fn begin(runs: &'a Runs, run: RunId) -> Self {
        runs.starting.lock().insert(run);
        Starting { runs, run }
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.runs.starting.lock().remove(&self.run);
    }
}

impl Start {
    pub fn from_cut(prompt: PromptId, command: CommandId, by: Person, cut: Cut) -> Start {
        let source = Source {
            content: cut.source,
            variant: cut.variant_id,
            values: cut.values,
            unset: cut.unset,
            request: cut.request,
        };
        Start { prompt, command, by, origin: RunOrigin::Run, parent: None, model_id: cut.model_id, source }
    }

    pub(super) fn child(asked: Asked, by: Person, model_id: String, source: Source) -> Start {
        let Asked { prompt, command, origin, parent, .. } = asked;
        Start { prompt, command, by, origin, parent, model_id, source }
    }

    pub(super) fn asked(&self) -> Asked {
        let Start { prompt, command, ref by, origin, parent, .. } = *self;
        Asked { prompt, command, by: by.id, origin, parent }
    }
}

/// The record of a request that is about to leave.
pub(super) fn new_attempt(
    run: RunId,
    epoch: Epoch,
    node: NodeId,
    model: &Model,
    request: &ModelRequest,
) -> serde_json::Result<NewAttempt> {
    let texts = request.messages.iter().map(|message| message.text.as_str());
    let texts = texts.chain(request.system.as_deref()).chain(request.prefill.as_deref());
    Ok(NewAttempt {
        id: AttemptId(new_id()),
        run,
        epoch,
        node,
        price_json: serde_json::to_string(&model.info.price)?,
        input_tokens: texts.map(estimate_tokens).sum(),
        now_ms: now_ms(),
    })
}

pub(super) fn new_run(id: RunId, node: NodeId, start: &Start, model: &Model) -> serde_json::Result<NewRun> {
    let request = &start.source.request;
    Ok(NewRun {
        id,
        prompt: start.prompt,
        command: start.command,
        by: start.by.id,
        node,
        origin: start.origin,
        parent: start.parent,
        variant: start.source.variant.clone(),
        model: start.model_id.clone(),
        parameters: serde_json::to_value(&request.parameters)?,
        request_json: model.wire_request(request).to_string(),
        source_json: serde_json::to_string(&start.source)?,
        hash: request_hash(request, &start.model_id),
        now_ms: now_ms(),
    })
}

/// What is to be written down has no JSON; nothing is run that could not be read again.
pub(super) fn unwritable(error: serde_json::Error) -> Refusal {
    tracing::error!(%error, "a run cannot be written down");
    Refusal::Internal
}
