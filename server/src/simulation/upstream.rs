//! The provider of all nodes: it counts who asks for what, what it was heard to say, and what it wants to be paid.

use super::{
    dice::Dice,
    history::History,
    scheduler::{Home, current_home},
};
use crate::domain::{ledger::UsageReport, prompt::ModelRequest};
use crate::model::{
    ModelError, ModelErrorKind, ModelEvent,
    scripted::{Answer, Told, Upstream},
};
use parking_lot::Mutex;
use promptroom_protocol::{BlockKind, StopReason};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};

pub struct Provider {
    history: Arc<History>,
    state: Mutex<State>,
}

struct State {
    dice: Dice,
    calls: Vec<Call>,
    /// No call is refused, silent or cut short.
    calm: bool,
    intends: Option<Intends>,
}

/// How many attempts at this text are durable, whoever makes them.
type Intends = Arc<dyn Fn(&str) -> Option<u64> + Send + Sync>;

/// One request that reached the provider.
#[derive(Clone, Debug)]
pub struct Call {
    /// The last message: what was asked.
    pub asked: String,
    /// Who asked.
    pub home: Option<Home>,
    /// Whether whoever hangs up is written to all the same, and pays for it.
    pub runs_on: bool,
    /// What the caller was given of the answer.
    pub said: String,
    /// All that it wants to be paid for, once it has said so.
    pub reported: Option<UsageReport>,
    pub state: CallState,
}

impl Call {
    /// Whether an attempt must have been written down for it.
    pub fn may_cost(&self) -> bool {
        self.state != CallState::Refused
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Nothing was said yet; nothing is to be paid if it ends like this.
    Asked,
    Refused,
    Open,
    /// It said all and was heard to the end.
    Done,
    /// It broke off by itself.
    Broken,
    HungUp,
}

/// How one call goes.
struct Script {
    refuses: Option<ModelErrorKind>,
    head_ms: u64,
    words: u64,
    pace_ms: u64,
    breaks_after: Option<u64>,
    reasons: bool,
}

impl Provider {
    pub fn new(dice: Dice, history: Arc<History>) -> Arc<Provider> {
        let state = State { dice, calls: Vec::new(), calm: false, intends: None };
        Arc::new(Provider { history, state: Mutex::new(state) })
    }

    /// Who tells how many attempts are durable, at the moment of a call.
    pub fn ask_before_each(&self, intends: Intends) {
        self.state.lock().intends = Some(intends);
    }

    pub fn calm(&self) {
        self.state.lock().calm = true;
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// Calls that end when their caller hangs up, and whose caller has not.
    pub fn listened_to(&self) -> Vec<(usize, Call)> {
        let state = self.state.lock();
        let open =
            state.calls.iter().enumerate().filter(|(_, call)| {
                matches!(call.state, CallState::Asked | CallState::Open) && !call.runs_on
            });
        open.map(|(number, call)| (number, call.clone())).collect()
    }

    /// Calls that somebody still listens to.
    pub fn open(&self) -> usize {
        let state = self.state.lock();
        state.calls.iter().filter(|call| call.state == CallState::Open).count()
    }

    fn begin(self: &Arc<Self>, asked: String, model: &str) -> Listened {
        let number = {
            let calls = &mut self.state.lock().calls;
            calls.push(Call {
                asked: asked.clone(),
                home: current_home(),
                runs_on: model.starts_with("on-"),
                said: String::new(),
                reported: None,
                state: CallState::Asked,
            });
            calls.len() - 1
        };
        self.history.note(|| format!("{:?} calls the model: call {number}", current_home()));
        self.expect_intent(&asked);
        Listened { provider: self.clone(), number }
    }

    /// Statement 3: no request leaves before an attempt for it is durable.
    fn expect_intent(&self, asked: &str) {
        let (seen, intends) = {
            let state = self.state.lock();
            let seen = state.calls.iter().filter(|call| call.asked == asked && call.may_cost());
            (seen.count() as u64, state.intends.clone())
        };
        if let Some(durable) = intends.and_then(|intends| intends(asked))
            && durable < seen
        {
            self.history.broken(&format!(
                "3: the model saw request {seen} for {asked:?} when {durable} attempts were durable"
            ));
        }
    }

    fn script(&self, model: &str) -> Script {
        let state = &mut *self.state.lock();
        let (dice, troubled) = (&mut state.dice, !state.calm);
        let refuses = match dice.below(20) {
            0 if troubled => Some(ModelErrorKind::Overloaded),
            1 if troubled => Some(ModelErrorKind::BadRequest),
            2 if troubled => Some(ModelErrorKind::CutShort),
            _ => None,
        };
        let words = dice.within(1..30);
        let pace_ms = *dice.pick(&[1, 20, 60, 250]).unwrap_or(&1);
        let breaks = troubled && dice.permille(60);
        Script {
            refuses,
            head_ms: dice.within(0..300),
            words,
            pace_ms,
            breaks_after: breaks.then(|| dice.below(words)),
            reasons: model.contains("tools"),
        }
    }
}

/// The provider as one node reaches it.
pub struct Reached {
    pub provider: Arc<Provider>,
}

impl Upstream for Reached {
    fn call<'a>(&'a self, request: &'a ModelRequest) -> Told<'a, Result<Box<dyn Answer>, ModelError>> {
        Box::pin(async move {
            let asked = request.messages.last().map(|message| message.text.clone()).unwrap_or_default();
            let call = self.provider.begin(asked, &request.model);
            let script = self.provider.script(&request.model);
            sleep(Duration::from_millis(script.head_ms)).await;
            if let Some(kind) = script.refuses {
                call.becomes(CallState::Refused);
                return Err(error(kind));
            }
            call.becomes(CallState::Open);
            Ok(Box::new(Stream { call, script, said: 0, due: Instant::now() }) as Box<dyn Answer>)
        })
    }
}

/// One call, for as long as its caller listens.
struct Listened {
    provider: Arc<Provider>,
    number: usize,
}

impl Listened {
    fn becomes(&self, state: CallState) {
        self.change(|call| call.state = state);
    }

    fn change(&self, change: impl FnOnce(&mut Call)) {
        change(&mut self.provider.state.lock().calls[self.number]);
    }
}

impl Drop for Listened {
    fn drop(&mut self) {
        self.change(|call| {
            if matches!(call.state, CallState::Asked | CallState::Open) {
                call.state = CallState::HungUp;
            }
        });
    }
}

struct Stream {
    call: Listened,
    script: Script,
    said: u64,
    due: Instant,
}

impl Answer for Stream {
    fn next(&mut self) -> Told<'_, Option<Result<ModelEvent, ModelError>>> {
        Box::pin(async move {
            sleep_until(self.due).await;
            self.due = Instant::now() + Duration::from_millis(self.script.pace_ms);
            self.say()
        })
    }
}

impl Stream {
    fn say(&mut self) -> Option<Result<ModelEvent, ModelError>> {
        let said = self.said;
        self.said += 1;
        if self.script.breaks_after == Some(said) {
            self.call.becomes(CallState::Broken);
            self.said = u64::MAX / 2;
            return Some(Err(error(ModelErrorKind::CutShort)));
        }
        if said < self.script.words {
            // Two bytes in one character, so that a cut in the wrong place shows.
            let text = format!("c{}é{said} ", self.call.number);
            self.call.change(|call| call.said.push_str(&text));
            let thinks = self.script.reasons && said < self.script.words / 3;
            let kind = if thinks { BlockKind::Reasoning } else { BlockKind::Text };
            let block = u32::from(self.script.reasons && !thinks && self.script.words >= 3);
            return Some(Ok(ModelEvent::Delta { block, kind, text }));
        }
        if said == self.script.words {
            let report = UsageReport {
                input_tokens: Some(1_000 + self.call.number as u64),
                cached_input_tokens: Some(0),
                output_tokens: Some(self.script.words),
                reasoning_tokens: Some(0),
            };
            self.call.change(|call| call.reported = Some(report));
            return Some(Ok(ModelEvent::Usage(report)));
        }
        if said == self.script.words + 1 {
            self.call.becomes(CallState::Done);
            return Some(Ok(ModelEvent::Stop { reason: StopReason::End, sequence: None }));
        }
        None
    }
}

fn error(kind: ModelErrorKind) -> ModelError {
    ModelError {
        kind,
        status: None,
        message: "As the dice fell.".to_owned(),
        retry_after_ms: (kind == ModelErrorKind::Overloaded).then_some(200),
        code: kind.code(),
    }
}
