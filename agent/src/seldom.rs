//! Keeps a message that could be repeated without end to one a minute.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_secs(60);

/// Runs something at most once per minute.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Runs `say` unless that happened within the last minute.
    pub(crate) fn run(&self, say: impl FnOnce()) {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.duration_since(last) >= INTERVAL) {
            *last = Some(now);
            drop(last);
            say();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_a_thing_once_per_interval() {
        let (seldom, mut said) = (Seldom::default(), 0);
        for _ in 0..3 {
            seldom.run(|| said += 1);
        }
        assert_eq!(said, 1);
    }
}
