//! The only clock: milliseconds since the Unix epoch.

use std::time::UNIX_EPOCH;

#[allow(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
pub fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
