//! What is counted for each receiver.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The counts of one receiver.
#[derive(Debug, Default)]
pub struct Receiver {
    /// What the log calls it, such as `webhook/ops`.
    pub name: String,
    /// Pages that it took.
    pub delivered: AtomicU64,
    /// Pages that it took again, because Alertmanager wants to be reminded.
    pub repeated: AtomicU64,
    /// Pages that it refused for good.
    pub refused: AtomicU64,
    /// Tries that it took.
    pub sent: AtomicU64,
    /// Tries that failed.
    pub failed: AtomicU64,
    /// Nanoseconds between the evaluation and the delivery, over all delivered pages.
    pub delay_ns: AtomicU64,
    /// Whether the last try failed.
    pub is_failing: AtomicBool,
}

impl Receiver {
    /// Counts for a receiver.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn add(count: &AtomicU64, n: usize) {
        count.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// The counts of all receivers.
#[derive(Debug, Default)]
pub struct Counts(Mutex<Vec<Arc<Receiver>>>);

impl Counts {
    /// Replaces the receivers.
    pub(in crate::alert) fn watch(&self, receivers: impl Iterator<Item = Arc<Receiver>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = receivers.collect();
    }

    /// All receivers there are now.
    pub fn receivers(&self) -> Vec<Arc<Receiver>> {
        let receivers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        receivers.clone()
    }
}
