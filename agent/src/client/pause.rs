//! Waits between tries: exponential, with jitter, or as long as the receiver asks.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// First pause after a failure; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause of our own choice.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause that a receiver may ask for. It can ask again.
const MAX_ASKED: Duration = Duration::from_secs(3_600);

/// A wait before the next try.
pub(crate) struct Pause {
    length: Duration,
    is_asked: bool,
}

impl Pause {
    /// After the `failures`-th failure in a row. What the receiver asks for is kept, with up to a
    /// tenth more so that agents do not come back in step; else twice as long each time, with
    /// jitter over the upper half. `random` is in `0..1`.
    pub(crate) fn new(failures: u32, asked: Option<Duration>, random: f64) -> Self {
        if let Some(asked) = asked.filter(|asked| !asked.is_zero()) {
            return Self {
                length: asked.min(MAX_ASKED).mul_f64(1.0 + random / 10.0),
                is_asked: true,
            };
        }
        let doublings = failures.saturating_sub(1).min(16);
        let longest = FIRST_PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE);
        Self {
            length: longest.mul_f64(0.5 + random / 2.0),
            is_asked: false,
        }
    }

    /// A stop cuts a wait of our own choice short: the grace period is worth one more try.
    pub(crate) async fn wait(&self, stop: &CancellationToken) {
        if self.is_asked || stop.is_cancelled() {
            sleep(self.length).await;
            return;
        }
        tokio::select! {
            () = sleep(self.length) => {}
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(failures: u32, asked: Option<Duration>, random: f64) -> Duration {
        Pause::new(failures, asked, random).length
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(1, None, 0.0), second / 2);
        assert_eq!(pause(1, None, 1.0), second);
        assert_eq!(pause(3, None, 1.0), second * 4);
        for failures in [7, 40, u32::MAX] {
            assert_eq!(pause(failures, None, 1.0), MAX_PAUSE);
        }
    }

    #[test]
    fn a_receiver_is_left_alone_as_long_as_it_asks() {
        let asked = Duration::from_secs(90);
        assert_eq!(pause(9, Some(asked), 0.0), asked);
        assert_eq!(pause(9, Some(asked), 1.0), Duration::from_secs(99));
        assert!(pause(1, Some(Duration::MAX), 1.0) <= MAX_ASKED * 2);
        assert_eq!(pause(1, Some(Duration::ZERO), 1.0), FIRST_PAUSE);
    }
}
