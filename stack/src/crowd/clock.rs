//! The clock of one session: seconds since its start for the models, stamps for the truth.

use tokio::time::{Duration, Instant};

use crate::truth::Stamp;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    stamp: Stamp,
}

impl Clock {
    /// A session begins now.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            stamp: Stamp::now(),
        }
    }

    /// Seconds since the start.
    pub(crate) fn now_s(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// The moment so many seconds after the start.
    pub(crate) fn stamp(&self, at_s: f64) -> Stamp {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "`as` saturates, and sessions last no centuries"
        )]
        self.stamp.shifted((at_s * 1e9) as i64)
    }

    /// The same as something to sleep until; the far future is cut to an hour.
    pub(crate) fn instant(&self, at_s: f64) -> Instant {
        self.start + Duration::from_secs_f64(at_s.clamp(0.0, self.now_s() + 3600.0))
    }
}
