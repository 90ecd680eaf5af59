//! Secrets that only their holders have: made here, shown once, kept as hashes.

use crate::store::SecretHash;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// Characters after the prefix: 32 bytes in base64url.
const BODY_CHARS: usize = 43;

/// What a secret opens; the prefix says it, so that a leaked one is recognised and none is taken for another.
pub const TOKEN: &str = "prt_";
pub const SESSION: &str = "prs_";
pub const LINK: &str = "prl_";
pub const INVITE: &str = "pri_";

/// A new secret, and all that is kept of it.
///
/// It has 256 random bits, so a plain hash is enough: nothing can be guessed, and looking a hash up in an index
/// tells nothing about the secret through its time.
pub fn new_secret(prefix: &str) -> (String, SecretHash) {
    let text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let hash = SecretHash(Sha256::digest(&text).into());
    (text, hash)
}

/// The hash to look up, if the text can be a secret with this prefix at all.
pub fn secret_hash(prefix: &str, text: &str) -> Option<SecretHash> {
    let body = text.strip_prefix(prefix)?;
    let plain = body.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (body.len() == BODY_CHARS && plain).then(|| SecretHash(Sha256::digest(text).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_again_by_its_hash_and_only_as_what_it_is() {
        for prefix in [TOKEN, SESSION, LINK, INVITE] {
            let (text, hash) = new_secret(prefix);
            assert_eq!(secret_hash(prefix, &text), Some(hash));
            assert_eq!(text.len(), 47);
        }
        let (token, _) = new_secret(TOKEN);
        assert_eq!(secret_hash(SESSION, &token), None);
    }

    #[test]
    fn no_two_secrets_are_alike() {
        assert_ne!(new_secret(TOKEN).0, new_secret(TOKEN).0);
    }

    #[test]
    fn what_cannot_be_a_secret_is_never_looked_up() {
        let long = format!("prt_{}", "a".repeat(44));
        let odd = format!("prt_{}", "é".repeat(22));
        for text in ["", "prt_", "prt_short", "hello", &long, &odd] {
            assert_eq!(secret_hash(TOKEN, text), None, "{text}");
        }
    }
}
