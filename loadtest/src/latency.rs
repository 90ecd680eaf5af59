//! Delays, recorded against the moment at which something was *meant* to happen.

use crate::clock::Stamp;
use hdrhistogram::Histogram;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

const MICROS_MAX: u64 = 120_000_000;
const DIGITS: u8 = 3;

/// A histogram that many tasks write to.
#[derive(Debug)]
pub struct Latency(Mutex<Histogram<u64>>);

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_max(MICROS_MAX, DIGITS).expect("the bounds are constants");
        Latency(Mutex::new(histogram))
    }
}

impl Latency {
    /// Records the time since `intended`: a stalled sender makes what it sends late, not what it measures short.
    pub fn since(&self, intended: Stamp) {
        self.record(Stamp::now().since(intended));
    }

    pub fn record(&self, delay: Duration) {
        self.lock().saturating_record(delay.as_micros() as u64);
    }

    pub fn count(&self) -> u64 {
        self.lock().len()
    }

    /// In milliseconds; 0 if nothing was recorded.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.lock().value_at_quantile(quantile) as f64 / 1000.0
    }

    pub fn p50_ms(&self) -> f64 {
        self.quantile_ms(0.5)
    }

    pub fn p99_ms(&self) -> f64 {
        self.quantile_ms(0.99)
    }

    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The middle one of several rounds.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => f64::midpoint(values[length / 2 - 1], values[length / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn quantiles_are_in_milliseconds() {
        let latency = Latency::default();
        for milliseconds in 1..=100 {
            latency.record(Duration::from_millis(milliseconds));
        }
        assert!((latency.p50_ms() - 50.0).abs() < 0.1 && (latency.p99_ms() - 99.0).abs() < 0.1);
    }
}
