//! Groups that are evaluated when a kernel event changes what they select.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};

use super::{Inner, Live, Outcome, Rules, wall_ms};
use crate::alert::measure::Rules as Counts;
use crate::metrics::{Family, Labels, Metric, Point, Source, Subject, Value};

/// Least time between two such evaluations of a group.
const SPACING_MS: i64 = 50;
/// Most changed points that wait; what is over it comes with the next snapshot.
const MAX_POINTS: usize = 4_096;

/// When a group was evaluated by an event, and whether it is to be again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Immediate {
    last_ms: Option<i64>,
    is_pending: bool,
}

impl Immediate {
    /// From when on it may be evaluated.
    fn ready_ms(&self) -> i64 {
        self.last_ms
            .map_or(i64::MIN, |last| last.saturating_add(SPACING_MS))
    }

    /// When it is to be evaluated, if it is.
    pub(super) fn due_ms(&self) -> Option<i64> {
        self.is_pending.then(|| self.ready_ms())
    }

    /// Follows a clock that was set.
    pub(super) fn shift(&mut self, by_ms: i64) {
        self.last_ms = self.last_ms.map(|last| last.saturating_add(by_ms));
    }
}

type Key = (&'static str, Arc<Subject>, Labels);

/// The newest values of points that changed since they were last looked at.
#[derive(Default)]
pub(super) struct Changes {
    points: HashMap<Key, (&'static Metric, Value)>,
    start_ms: i64,
}

impl Changes {
    fn add(&mut self, families: &[Family]) -> u64 {
        let mut left_out = 0;
        for family in families {
            for point in &family.points {
                let subject = Arc::clone(&point.subject);
                let key = (family.metric.name, subject, point.labels);
                if self.points.len() >= MAX_POINTS && !self.points.contains_key(&key) {
                    left_out += 1;
                    continue;
                }
                self.points
                    .insert(key, (family.metric, point.value.clone()));
            }
        }
        left_out
    }

    fn take(&mut self) -> Vec<Family> {
        let points = self.points.drain();
        let family = |((_, subject, labels), (metric, value))| Family {
            metric,
            points: vec![Point {
                subject,
                labels,
                value,
            }],
        };
        points.map(family).collect()
    }
}

impl Rules {
    /// Tells of points that a kernel event changed, with their new values as a snapshot would have
    /// them; counting began at `start_ms` since 1970. The immediate groups that select any of them
    /// are evaluated here and now, or, within 50 ms of their last such evaluation or while rules
    /// are being evaluated elsewhere, by the task as soon as that may be. Never waits.
    ///
    /// Returns whether a group was evaluated here.
    pub fn change(&self, families: &[Family], start_ms: i64) -> bool {
        let left_out = {
            let mut changes = self.changes();
            changes.start_ms = start_ms;
            changes.add(families)
        };
        self.counts.left_out(left_out);
        let mut inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            Err(TryLockError::Poisoned(broken)) => broken.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.wake.notify_one();
                return false;
            }
        };
        let mut clock = inner.clock;
        let now_ms = clock.read(wall_ms(), self.steady_ms()).now_ms;
        let (evaluated, waits) = self.evaluate_changed(&mut inner, now_ms);
        drop(inner);
        if evaluated || waits {
            self.wake.notify_one();
        }
        evaluated
    }

    /// Evaluates what changes are waiting for, as far as it may be now.
    pub(super) fn work_off(&self, now_ms: i64) {
        let mut inner = self.lock();
        self.evaluate_changed(&mut inner, now_ms);
    }

    /// Says whether a group was evaluated, and whether one still waits.
    fn evaluate_changed(&self, inner: &mut Inner, now_ms: i64) -> (bool, bool) {
        let (families, start_ms) = {
            let mut changes = self.changes();
            (changes.take(), changes.start_ms)
        };
        let touched = inner.feed.touched(&families, start_ms);
        for place in &touched {
            if let Some(immediate) = inner.immediate.get_mut(place) {
                immediate.is_pending = true;
            }
        }
        let ready: Vec<usize> = inner
            .immediate
            .iter()
            .filter(|(_, one)| one.due_ms().is_some_and(|due| due <= now_ms))
            .map(|(place, _)| *place)
            .collect();
        let waits = inner.immediate.values().any(|one| one.is_pending);
        if ready.is_empty() {
            // Kept for the groups that wait; of no use if none does.
            if waits {
                self.keep(&families);
            }
            return (false, waits);
        }
        let outcome = inner.react(
            &ready,
            &families,
            start_ms,
            now_ms,
            &*self.source,
            &self.counts,
        );
        outcome.hand_over(&self.log, &inner.settings.external.labels);
        (true, waits)
    }

    /// Puts points back that nobody has evaluated, unless newer ones came meanwhile.
    fn keep(&self, families: &[Family]) {
        let mut changes = self.changes();
        for family in families {
            for point in &family.points {
                let subject = Arc::clone(&point.subject);
                let key = (family.metric.name, subject, point.labels);
                let newest = (family.metric, point.value.clone());
                changes.points.entry(key).or_insert(newest);
            }
        }
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn react(
        &mut self,
        ready: &[usize],
        families: &[Family],
        start_ms: i64,
        now_ms: i64,
        source: &dyn Source,
        counts: &Counts,
    ) -> Outcome {
        let at_ms = now_ms.max(self.newest_ms.saturating_add(1));
        self.feed.touch(&mut self.store, families, start_ms, at_ms);
        self.newest_ms = at_ms;
        let mut outcome = Outcome::default();
        for place in ready {
            let live = Live::Source(source);
            self.evaluate_group(*place, at_ms, &live, counts, &mut outcome);
            if let Some(immediate) = self.immediate.get_mut(place) {
                *immediate = Immediate {
                    last_ms: Some(now_ms),
                    is_pending: false,
                };
            }
        }
        outcome
    }
}
