//! A prompt's address: short, readable, and never to be taken for an id.

use crate::domain::refusal::Refusal;
use crate::live::clock::random;
use uuid::Uuid;

const CHARS_MAX: usize = 64;
/// Of a title; the suffix comes after it.
const TITLE_CHARS_MAX: usize = 40;
const SUFFIX_CHARS: usize = 6;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Refuses what is not 1 to 64 lower-case letters, digits and inner hyphens, and what reads as a UUID.
pub fn check(slug: &str) -> Result<(), Refusal> {
    let plain = slug.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let inner = !slug.starts_with('-') && !slug.ends_with('-');
    let fits = (1..=CHARS_MAX).contains(&slug.len());
    if plain && inner && fits && Uuid::parse_str(slug).is_err() { Ok(()) } else { Err(Refusal::BadSlug) }
}

/// From a title and a random suffix, so that two prompts of one title do not compete for an address.
pub fn make(title: &str) -> String {
    let mut slug = String::new();
    for c in title.chars() {
        if slug.len() >= TITLE_CHARS_MAX {
            break;
        }
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    if slug.is_empty() {
        slug.push_str("prompt");
    }
    if !slug.ends_with('-') {
        slug.push('-');
    }
    for byte in &random().to_le_bytes()[..SUFFIX_CHARS] {
        slug.push(char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_lower_case_with_inner_hyphens_and_no_uuid() {
        for good in ["a", "support-triage-2", "0", &"x".repeat(64), "a--b"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let uuid = "0190a5b2-6f5e-7c3a-9d1e-0123456789ab";
        let simple = uuid.replace('-', "");
        for bad in ["", "A", "-a", "a-", "a b", "a/b", "é", &"x".repeat(65), uuid, &simple] {
            assert_eq!(check(bad), Err(Refusal::BadSlug), "{bad}");
        }
    }

    #[test]
    fn a_made_slug_is_readable_and_always_valid() {
        let long = "x".repeat(500);
        for title in ["Support triage: v2!", "", "日本語", "---", "  Ünïcode 😀 ", &long] {
            assert_eq!(check(&make(title)), Ok(()), "{title}");
        }
        assert!(make("Support triage: v2!").starts_with("support-triage-v2-"));
        assert!(make("日本語").starts_with("prompt-"));
        assert_ne!(make("a"), make("a"));
    }
}
