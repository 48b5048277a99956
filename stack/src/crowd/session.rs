//! What all sessions share: the truth, the summary, orders from outside.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::summary::Summary;
use super::tally::Tally;
use crate::truth::{Event, Reason, Role, Stamp, Truth};

/// Handles that every session gets.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) truth: Truth,
    pub(crate) summary: Arc<Mutex<Summary>>,
    /// The run ends.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// A session's own handle; it writes its `start`.
    pub(crate) fn open(
        &self,
        name: &Arc<str>,
        role: Role,
        client: &'static str,
        url: &str,
        late_s: f64,
    ) -> Session {
        let session = Session {
            shared: self.clone(),
            name: Arc::clone(name),
            role,
            clock: Clock::start(),
        };
        session.put(Event::Start {
            role,
            client,
            url: url.to_owned(),
            late_ms: late_s.max(0.0) * 1e3,
        });
        session
    }

    /// Adds something to the summary.
    pub(crate) fn sum(&self, add: impl FnOnce(&mut Summary)) {
        add(&mut self.summary.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// One session's view of the run.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) shared: Shared,
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
    pub(crate) clock: Clock,
}

impl Session {
    /// Writes down what happens now.
    pub(crate) fn put(&self, event: Event) {
        self.put_stamped(Stamp::now(), event);
    }

    /// Writes down the end of one who sent and received messages, with its sums.
    pub(crate) fn part(&self, quit: bool, sent: u64, mut tally: Tally, latencies: &'static str) {
        tally.write_all(self);
        self.put(Event::Disconnect {
            reason: Reason::Done,
            detail: String::new(),
        });
        self.shared
            .sum(|summary| summary.spread(latencies).merge(tally.latency()));
        self.put(Event::End {
            quit,
            lasted_ms: self.clock.now_s() * 1e3,
            played_s: 0.0,
            stalled_ms: 0.0,
            stalls: 0,
            switches: 0,
            parts: 0,
            late_parts: 0,
            bytes: tally.bytes(),
            sent,
            received: tally.messages(),
        });
    }

    /// Writes down what happened at a moment of the session.
    pub(crate) fn put_at_s(&self, at_s: f64, event: Event) {
        self.put_stamped(self.clock.stamp(at_s), event);
    }

    /// Writes down what happened at a moment known by both clocks.
    pub(crate) fn put_stamped(&self, at: Stamp, event: Event) {
        self.shared.sum(|summary| summary.add(self.role, &event));
        self.shared.truth.put_at(at, Some(&self.name), event);
    }
}

/// Orders a session to stop reading for a while, and lets it know.
pub(crate) type Valve = watch::Sender<bool>;
