//! What the demo models say: a label that they are none, then the prompt seen from outside.

use super::{
    Demo,
    words::{Dice, first_words, shortened, topics, unset_variables},
};
use crate::domain::prompt::{MessageRole, ModelRequest};
use promptroom_protocol::BlockKind;
use std::collections::VecDeque;
use std::fmt::Write;

const LONG_BYTES_MIN: usize = 1 << 20;
const RESTATED_CHARS_MAX: usize = 600;
const LABEL: &str = "> **Demo, not an AI.** Promptroom itself put this together from your prompt, so that everything can be tried without a key.\n\n";

/// A stretch of one block.
#[derive(Clone, Debug)]
pub(super) struct Passage {
    pub(super) kind: BlockKind,
    pub(super) text: String,
    pub(super) opens_block: bool,
    /// Written as one token.
    pub(super) whole: bool,
}

impl Passage {
    pub(super) fn text(text: &str) -> Passage {
        Passage { kind: BlockKind::Text, text: text.to_owned(), opens_block: false, whole: false }
    }

    fn block(kind: BlockKind, text: String) -> Passage {
        Passage { kind, text, opens_block: true, whole: false }
    }
}

/// All passages of an answer, the long ones made only when they are asked for.
pub(super) struct Passages {
    ready: VecDeque<Passage>,
    long: Option<Long>,
}

struct Long {
    dice: Dice,
    topics: Vec<String>,
    part: u64,
    bytes: usize,
    /// What follows the megabyte.
    after: Vec<Passage>,
}

impl Passages {
    pub(super) fn new(demo: Demo, request: &ModelRequest) -> Passages {
        let mut dice = Dice::of(request);
        let seen = Seen::of(request);
        let texts = match demo {
            Demo::Tools => return Passages { ready: tool_use(&seen, &mut dice).into(), long: None },
            Demo::Slow => slow(&seen, &mut dice),
            Demo::Long => return long(&seen, dice),
            Demo::Markdown | Demo::Failing | Demo::Overloaded => markdown(&seen, &mut dice),
        };
        Passages { ready: texts.iter().map(|text| Passage::text(text)).collect(), long: None }
    }

    pub(super) fn peek(&mut self) -> Option<&Passage> {
        if self.ready.is_empty()
            && let Some(long) = &mut self.long
        {
            match long.next() {
                Some(text) => self.ready.push_back(Passage::text(&text)),
                None => self.ready = self.long.take().map(|long| long.after.into()).unwrap_or_default(),
            }
        }
        self.ready.front()
    }

    pub(super) fn next(&mut self) -> Option<Passage> {
        self.peek()?;
        self.ready.pop_front()
    }

    pub(super) fn next_opens_block(&mut self) -> bool {
        self.peek().is_some_and(|passage| passage.opens_block)
    }
}

impl Long {
    fn next(&mut self) -> Option<String> {
        if self.bytes >= LONG_BYTES_MIN {
            return None;
        }
        self.part += 1;
        let mut dice = self.dice.nth(self.part);
        let mut text = format!("## {}. {} {}\n\n", self.part, dice.pick(&EMOJI), dice.pick(&HEADINGS));
        for _ in 0..3 {
            text.push_str(&sentences(&self.topics, &mut dice, 6));
            text.push_str("\n\n");
        }
        match dice.below(3) {
            0 => text
                .push_str("- one 🧩 part\n- a *second* one\n  - and **below** it 🌱\n- `code` in a line\n\n"),
            1 => text
                .push_str("| part | state |\n|---|---|\n| first | ✅ ready |\n| second | ⏳ waiting |\n\n"),
            _ => {
                let _ = write!(
                    text,
                    "```rust\nfn part_{}() -> &'static str {{\n    \"👩‍💻 ok\"\n}}\n```\n\n",
                    self.part
                );
            }
        }
        self.bytes += text.len();
        Some(text)
    }
}

/// What can be said about a request without understanding it.
struct Seen<'a> {
    request: &'a ModelRequest,
    last_user: &'a str,
    topics: Vec<&'a str>,
    unset: Vec<&'a str>,
}

impl<'a> Seen<'a> {
    fn of(request: &'a ModelRequest) -> Seen<'a> {
        let last = request.messages.iter().rev().find(|message| message.role == MessageRole::User);
        let last_user = last.map_or("", |message| message.text.as_str());
        let system = request.system.as_deref().unwrap_or("");
        let all = || request.messages.iter().map(|message| message.text.as_str()).chain([system]);
        let mut unset = Vec::new();
        for name in all().flat_map(unset_variables) {
            if !unset.contains(&name) {
                unset.push(name);
            }
        }
        let topics = topics(last_user);
        let topics = if topics.is_empty() { vec!["question", "answer", "example"] } else { topics };
        Seen { request, last_user, topics, unset }
    }

    fn restated(&self) -> String {
        if self.last_user.trim().is_empty() {
            return "There is no user message with text in it yet.\n\n".to_owned();
        }
        let mut text = "You asked:\n\n".to_owned();
        for line in shortened(self.last_user.trim(), RESTATED_CHARS_MAX).lines() {
            let _ = writeln!(text, "> {line}");
        }
        text.push('\n');
        text
    }

    fn system_line(&self) -> String {
        match self.request.system.as_deref().map(str::trim).filter(|system| !system.is_empty()) {
            Some(system) => format!("The system prompt begins “{}”.\n\n", first_words(system, 12)),
            None => "There is no system prompt.\n\n".to_owned(),
        }
    }

    fn settings(&self) -> String {
        let parameters = &self.request.parameters;
        let mut text = "| setting | value |\n|---|---|\n".to_owned();
        let mut row = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = writeln!(text, "| {name} | {} |", value.replace('|', "\\|").replace('\n', "↵"));
            }
        };
        row("model", Some(self.request.model.clone()));
        row("messages", Some(self.request.messages.len().to_string()));
        row("temperature", parameters.temperature.map(|value| value.to_string()));
        row("top_p", parameters.top_p.map(|value| value.to_string()));
        row("max_tokens", parameters.max_tokens.map(|value| value.to_string()));
        row("stop sequences", (!parameters.stop.is_empty()).then(|| parameters.stop.len().to_string()));
        row("seed", parameters.seed.map(|value| value.to_string()));
        row("variables without a value", (!self.unset.is_empty()).then(|| self.unset.join(", ")));
        text.push('\n');
        text
    }
}

fn markdown(seen: &Seen<'_>, dice: &mut Dice) -> Vec<String> {
    vec![
        LABEL.to_owned(),
        format!("## {}\n\n", dice.pick(&HEADINGS)),
        seen.restated(),
        seen.system_line(),
        seen.settings(),
        format!("{} {}\n\n", sentences(&seen.topics, dice, 3), dice.pick(&EMOJI)),
        code(seen),
        format!("### Next\n\n1. {}\n2. {}\n\n", dice.pick(&STEPS[..2]), dice.pick(&STEPS[2..])),
        format!("That is all that a demo can do {}", dice.pick(&EMOJI)),
    ]
}

fn code(seen: &Seen<'_>) -> String {
    let mut text = "```python\nwords = [\n".to_owned();
    for topic in seen.topics.iter().take(5) {
        let _ = writeln!(text, "    \"{topic}\",");
    }
    text.push_str("]\nprint(\" · \".join(words))\n```\n\n");
    text
}

/// About two hundred tokens: a minute at the slow model's pace.
fn slow(seen: &Seen<'_>, dice: &mut Dice) -> Vec<String> {
    let mut texts =
        vec![LABEL.to_owned(), seen.restated(), "Slowly, then, for about a minute.\n\n".to_owned()];
    let mut tokens = texts.iter().map(|text| text.len() / 6).sum::<usize>();
    while tokens < 190 {
        let text = format!("{} {}\n\n", sentences(&seen.topics, dice, 1), dice.pick(&EMOJI));
        tokens += text.split_whitespace().count() + text.len() / 40;
        texts.push(text);
    }
    texts
}

/// A megabyte of text between a block of reasoning and a tool call.
fn long(seen: &Seen<'_>, mut dice: Dice) -> Passages {
    let mut parts = tool_use(seen, &mut dice).into_iter();
    let reasoning = parts.next();
    // The text before the call is the megabyte.
    let after = parts.skip(1).collect();
    let head = format!("{LABEL}# One megabyte\n\n{}{}", seen.restated(), seen.system_line());
    let ready = reasoning.into_iter().chain([Passage::block(BlockKind::Text, head)]).collect();
    let topics = seen.topics.iter().map(|topic| (*topic).to_owned()).collect();
    Passages { ready, long: Some(Long { dice, topics, part: 0, bytes: 0, after }) }
}

fn tool_use(seen: &Seen<'_>, dice: &mut Dice) -> Vec<Passage> {
    let topic = dice.pick(&seen.topics);
    let id = format!("demo_{:06x}", dice.below(1 << 24));
    let header = serde_json::json!({ "id": id, "name": "look_up" });
    let arguments = serde_json::json!({ "query": topic, "unit": "°C", "limit": 1 + dice.below(9) });
    let thoughts = format!(
        "This is a demo, so nobody is thinking here. {}The question is about “{topic}”. A tool could look that up: I will call `look_up` and say so first.",
        seen.system_line().trim_end().to_owned() + " ",
    );
    let before = format!("{LABEL}{}I will look up **{topic}** {}\n", seen.restated(), dice.pick(&EMOJI));
    let after = format!(
        "\nThe call above was really streamed, piece by piece, but nobody ran it: a demo has no tools.\n\n{}",
        seen.settings()
    );
    vec![
        Passage::block(BlockKind::Reasoning, thoughts),
        Passage::block(BlockKind::Text, before),
        Passage { whole: true, ..Passage::block(BlockKind::ToolCall, format!("{header}\n")) },
        Passage { opens_block: false, ..Passage::block(BlockKind::ToolCall, arguments.to_string()) },
        Passage::block(BlockKind::Text, after),
    ]
}

fn sentences<T: AsRef<str>>(topics: &[T], dice: &mut Dice, count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        if number > 0 {
            text.push(' ');
        }
        let topic = if topics.is_empty() { "it" } else { topics[dice.below(topics.len())].as_ref() };
        text.push_str(&dice.pick(&SENTENCES).replace('@', topic));
    }
    text
}

const HEADINGS: [&str; 5] = [
    "What was asked",
    "Your prompt, seen from here",
    "A look at the request",
    "What arrived",
    "In other words",
];
const EMOJI: [&str; 8] = ["✨", "🚀", "🧪", "👩‍💻", "🌍", "🎯", "🪄", "👍🏽"];
const STEPS: [&str; 4] = [
    "Change a word of the prompt and run it again.",
    "Set a seed: the same request always gives the same text.",
    "Open this page in a second browser and watch the same tokens arrive.",
    "Add a provider key or a lane, and choose a real model.",
];
const SENTENCES: [&str; 8] = [
    "A real model would now say something about *@*.",
    "Everything that you wrote about **@** reached the server as you see it.",
    "Whoever is in this room reads the same words about @ at the same moment.",
    "If the line drops in the middle of @, the text goes on at the exact byte.",
    "Nothing here understands `@`; it was only found in the prompt.",
    "Press Stop, and the sentence about @ ends where it stands.",
    "The word @ was chosen by the seed, and by nothing else.",
    "Try another value instead of @, and compare.",
];
