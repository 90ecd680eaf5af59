//! Randomness that can be repeated, and how long to go on with it.

use rand::{SeedableRng, rngs::StdRng};
use std::time::Duration;

/// A source that says its seed; `PROMPTROOM_TEST_SEED` gives the same one again.
pub fn seeded() -> StdRng {
    let seed = number("PROMPTROOM_TEST_SEED").unwrap_or_else(rand::random);
    eprintln!("PROMPTROOM_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// `normal` rounds, or as many times more as `PROMPTROOM_SOAK` says.
pub fn rounds(normal: u64) -> u64 {
    normal * number("PROMPTROOM_SOAK").unwrap_or(1).max(1)
}

/// How long a random schedule is asked to go on (`make soak MINUTES=n`); `None` in `make test`.
pub fn minutes() -> Option<Duration> {
    number("PROMPTROOM_SOAK_MINUTES").map(|minutes| Duration::from_secs(60 * minutes))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's own switches, which are no configuration of the server"
)]
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
