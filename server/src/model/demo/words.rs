//! Cutting text into tokens, and choosing words by a seed.

use crate::domain::prompt::ModelRequest;

const TOKEN_CHARS_MAX: usize = 8;

/// Small and the same on every machine: splitmix64.
pub(super) struct Dice(u64);

impl Dice {
    /// Thrown by the whole request except what was already answered of it.
    pub(super) fn of(request: &ModelRequest) -> Dice {
        let mut hash = Fnv::new();
        hash.part(&request.model);
        hash.part(request.system.as_deref().unwrap_or(""));
        for message in &request.messages {
            hash.part(&format!("{:?}", message.role));
            hash.part(&message.text);
        }
        hash.part(&format!("{:?}", request.parameters));
        Dice(hash.0)
    }

    /// Independent of how many were thrown before: for text that is written in any order.
    pub(super) fn nth(&self, index: u64) -> Dice {
        Dice(self.0 ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        (word % bound.max(1) as u64) as usize
    }

    pub(super) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

struct Fnv(u64);

impl Fnv {
    fn new() -> Fnv {
        Fnv(0xCBF2_9CE4_8422_2325)
    }

    fn part(&mut self, text: &str) {
        for byte in text.bytes().chain([0xFF]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }
}

/// The length of the next token: white space, then at most eight characters of a word.
pub(super) fn token_bytes(text: &str) -> usize {
    let mut chars_in_word = 0;
    for (at, character) in text.char_indices() {
        let ends_word = chars_in_word > 0 && character.is_whitespace();
        if ends_word || chars_in_word == TOKEN_CHARS_MAX {
            return at;
        }
        if !character.is_whitespace() {
            chars_in_word += 1;
        }
    }
    text.len()
}

/// The first words of a text, on one line.
pub(super) fn first_words(text: &str, count: usize) -> String {
    let mut words = text.split_whitespace();
    let mut line = words.by_ref().take(count).map(|word| shortened(word, 40)).collect::<Vec<_>>().join(" ");
    if words.next().is_some() {
        line.push('…');
    }
    line
}

pub(super) fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

/// The words that a text is probably about: long ones, each once, in order.
pub(super) fn topics(text: &str) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for word in text.split(|character: char| !character.is_alphanumeric()) {
        let long = (5..=24).contains(&word.chars().count());
        if long && !found.contains(&word) {
            found.push(word);
        }
        if found.len() == 12 {
            break;
        }
    }
    found
}

/// Names in `{{…}}` that were sent as they stand because they had no value.
pub(super) fn unset_variables(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        rest = &rest[start + 2..];
        let Some(end) = rest.find("}}") else { break };
        let name = rest[..end].trim();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c));
        if is_name && !names.contains(&name) && names.len() < 20 {
            names.push(name);
        }
    }
    names
}
