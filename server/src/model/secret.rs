//! A provider's key: it can be sent, and never be seen.

use std::fmt;

const SHOWN: &str = "•••";

/// Neither `Debug` nor `Display` shows it; there is no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// Some providers repeat the key in their error messages.
    pub(super) fn redact(&self, text: &str) -> String {
        if self.0.len() < 4 { text.to_owned() } else { text.replace(&self.0, SHOWN) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let key = Secret::new("sk-live-123");
        assert_eq!(format!("{key} {key:?} {:?}", Some(&key)), "••• ••• Some(•••)");
        assert_eq!(key.redact("bad key sk-live-123!"), "bad key •••!");
    }
}
