//! Throughput and time to first byte as hls.js estimates them (`ewma-bandwidth-estimator`, 1.7):
//! half-lives of 3 s and 9 s of loading time, for live and recorded media alike.

use super::ewma::Ewma;

/// Half-lives in seconds of loading (`abrEwmaFastLive`, `abrEwmaSlowLive`).
const FAST_S: f64 = 3.0;
const SLOW_S: f64 = 9.0;
/// Believed time to first byte before one was measured.
const FIRST_BYTE_S: f64 = 0.1;

/// What the player believes of the network.
#[derive(Clone, Debug)]
pub(crate) struct Estimator {
    fast: Ewma,
    slow: Ewma,
    first_byte: Ewma,
    default_bps: f64,
}

impl Estimator {
    /// With the estimate to use until an object was measured.
    pub(crate) fn new(default_bps: f64) -> Self {
        Self {
            fast: Ewma::new(FAST_S),
            slow: Ewma::new(SLOW_S),
            first_byte: Ewma::new(SLOW_S),
            default_bps,
        }
    }

    /// One object: its loading time without the wait for the first byte, and its size.
    pub(crate) fn add(&mut self, seconds: f64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let bits = super::bits(bytes);
        // Short loads would count as endless throughput: 50 ms, or 1 ms per 100 kB, is the least.
        let least = f64::min(50.0, bits / 800_000.0) / 1e3;
        let seconds = seconds.max(least);
        self.fast.add(seconds, bits / seconds);
        self.slow.add(seconds, bits / seconds);
    }

    /// One wait for a first byte.
    pub(crate) fn add_first_byte(&mut self, seconds: f64) {
        let weight = std::f64::consts::SQRT_2 * (-seconds.powi(2) / 2.0).exp();
        self.first_byte.add(weight, seconds.max(0.005));
    }

    /// Whether enough was measured to believe it.
    pub(crate) fn is_sure(&self) -> bool {
        self.fast.mean().is_some()
    }

    /// Believed throughput, bits per second.
    pub(crate) fn bps(&self) -> f64 {
        match (self.fast.mean(), self.slow.mean()) {
            (Some(fast), Some(slow)) => fast.min(slow),
            _ => self.default_bps,
        }
    }

    /// Believed time to first byte, seconds.
    pub(crate) fn first_byte_s(&self) -> f64 {
        self.first_byte.mean().unwrap_or(FIRST_BYTE_S)
    }

    /// Forgets the throughput and believes `bps` until the next object is measured.
    pub(crate) fn reset(&mut self, bps: f64) {
        *self = Self::new(bps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_shows_sooner_than_a_rise() {
        let mut estimator = Estimator::new(500e3);
        assert!((estimator.bps() - 500e3).abs() < 1.0);
        for _ in 0..30 {
            estimator.add(1.0, 500_000);
        }
        let high = estimator.bps();
        assert!((high - 4e6).abs() < 1e3);
        estimator.add(3.0, 3 * 62_500);
        let after_drop = estimator.bps();
        assert!(after_drop < 2.5e6, "{after_drop}");
        estimator.add(3.0, 3 * 500_000);
        assert!(estimator.bps() < 3.5e6);
    }

    #[test]
    fn an_instant_load_is_not_endless() {
        let mut estimator = Estimator::new(500e3);
        estimator.add(0.0, 10_000);
        assert!(estimator.bps().is_finite());
    }
}
