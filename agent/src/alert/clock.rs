//! The time that rules live by: the wall clock, made safe against being set.
//!
//! It never runs backward but by a step that is told, and a step is told only if rules would see it.

/// Behind by no more than this the time stands still until the wall clock has caught up.
const BACK_MS: i64 = 1_000;
/// Ahead by no more than this it just follows.
const FORWARD_MS: i64 = 10_000;

/// Wall clock and steady clock together. All times in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Wall clock less steady clock.
    offset_ms: i64,
}

/// A reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Now, since 1970.
    pub now_ms: i64,
    /// By how much the clock was set, or the machine slept, since the last reading: what is older
    /// cannot be compared with what comes.
    pub stepped_ms: Option<i64>,
}

impl Clock {
    /// Begins with a reading of both.
    pub fn new(wall_ms: i64, steady_ms: i64) -> Self {
        Self {
            offset_ms: wall_ms.saturating_sub(steady_ms),
        }
    }

    /// The time by readings of both.
    pub fn read(&mut self, wall_ms: i64, steady_ms: i64) -> Reading {
        let expected_ms = steady_ms.saturating_add(self.offset_ms);
        let off_ms = wall_ms.saturating_sub(expected_ms);
        if (-BACK_MS..=0).contains(&off_ms) {
            return Reading {
                now_ms: expected_ms,
                stepped_ms: None,
            };
        }
        *self = Self::new(wall_ms, steady_ms);
        Reading {
            now_ms: wall_ms,
            stepped_ms: (!(0..=FORWARD_MS).contains(&off_ms)).then_some(off_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(now_ms: i64, stepped_ms: Option<i64>) -> Reading {
        Reading { now_ms, stepped_ms }
    }

    #[test]
    fn small_corrections_never_turn_time_back() {
        let mut clock = Clock::new(1_000_000, 50);
        assert_eq!(clock.read(1_000_100, 150), reading(1_000_100, None));
        assert_eq!(
            clock.read(999_700, 250),
            reading(1_000_200, None),
            "set back by half a second"
        );
        assert_eq!(clock.read(1_003_000, 350), reading(1_003_000, None));
        assert_eq!(clock.read(1_003_100, 450), reading(1_003_100, None));
    }

    #[test]
    fn steps_are_told_once() {
        for step in [-3_600_000, -1_001, 10_001, 86_400_000] {
            let mut clock = Clock::new(100_000_000, 0);
            let wall_ms = 100_000_000 + 500 + step;
            assert_eq!(clock.read(wall_ms, 500), reading(wall_ms, Some(step)));
            assert_eq!(clock.read(wall_ms + 1, 501), reading(wall_ms + 1, None));
        }
    }
}
