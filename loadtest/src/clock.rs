//! One clock that all processes of a machine share, so that a stamp made in one can be read in another.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;
use tokio::time::Instant;

/// Microseconds since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Digits and a space: every stamp is written equally long.
    pub const TEXT_BYTES: usize = 16;

    pub fn now() -> Stamp {
        let time = clock_gettime(ClockId::Monotonic);
        Stamp(time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_nsec.cast_unsigned() / 1_000)
    }

    pub fn after(self, duration: Duration) -> Stamp {
        Stamp(self.0 + duration.as_micros() as u64)
    }

    /// Zero if `earlier` is not earlier.
    pub fn since(self, earlier: Stamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The same moment for `sleep_until`.
    pub fn instant(self) -> Instant {
        Instant::now() + self.since(Stamp::now())
    }

    pub fn text(self) -> String {
        format!("{:015} ", self.0)
    }

    /// Reads what [`Stamp::text`] wrote.
    pub fn parse(text: &[u8]) -> Option<Stamp> {
        let digits = text.get(..Self::TEXT_BYTES)?.strip_suffix(b" ")?;
        digits
            .iter()
            .try_fold(0u64, |value, digit| {
                digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'))
            })
            .map(Stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back_what_it_writes() {
        let now = Stamp::now();
        assert_eq!(now.text().len(), Stamp::TEXT_BYTES);
        assert_eq!(Stamp::parse(now.text().as_bytes()), Some(now));
        assert_eq!(Stamp::parse(b"00000000000001x "), None);
        assert_eq!(Stamp::parse(b"1 "), None);
    }
}
