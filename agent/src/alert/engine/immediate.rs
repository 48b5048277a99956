//! Groups that are evaluated when a kernel event changes what they select.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};

use weir_promql::labels::Labels;
use weir_promql::storage::SeriesId;
use weir_promql::store::Store;

use super::{Inner, Live, Outcome, Rules, wall_ms};
use crate::alert::feed::Touch;
use crate::alert::group::Group;
use crate::alert::part::Touched;
use crate::metrics::{Family, Labels as PointLabels, Metric, Point, Subject, Value};

/// Least time between two such evaluations of a group.
const SPACING_MS: i64 = 50;
/// Most changed points that wait; what is over it comes with the next snapshot.
const MAX_POINTS: usize = 4_096;
/// Most series that a group looks at alone; if more have changed, at all.
const MAX_TOUCHED: usize = 32;

/// When a group was evaluated by an event, and whether it is to be again.
#[derive(Debug, Default)]
pub(super) struct Immediate {
    last_ms: Option<i64>,
    pending: Option<Waiting>,
    /// It would have been evaluated before, had there not been another evaluation.
    is_late: bool,
}

/// The series that changed since a group was evaluated.
#[derive(Debug)]
enum Waiting {
    These(Vec<(Labels, Option<SeriesId>)>),
    Many,
}

impl Waiting {
    fn add(&mut self, touch: Touch) {
        match self {
            Self::These(all) if all.len() >= MAX_TOUCHED => *self = Self::Many,
            Self::These(all) if all.iter().any(|(have, _)| *have == touch.labels) => {}
            Self::These(all) => all.push((touch.labels, touch.id)),
            Self::Many => {}
        }
    }

    fn touched(&self, store: &Store, alike: bool) -> Option<Touched> {
        match self {
            Self::These(all) => Some(Touched::new(all, store, alike)),
            Self::Many => None,
        }
    }
}

impl Immediate {
    /// To be evaluated whatever has changed.
    pub(super) fn pending() -> Self {
        Self {
            pending: Some(Waiting::Many),
            ..Self::default()
        }
    }

    /// Whether it is to be evaluated.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// From when on it may be evaluated.
    fn ready_ms(&self) -> i64 {
        self.last_ms
            .map_or(i64::MIN, |last| last.saturating_add(SPACING_MS))
    }

    /// When it is to be evaluated, if it is.
    fn due_ms(&self) -> Option<i64> {
        self.is_pending().then(|| self.ready_ms())
    }

    /// Follows a clock that was set.
    pub(super) fn shift(&mut self, by_ms: i64) {
        self.last_ms = self.last_ms.map(|last| last.saturating_add(by_ms));
    }
}

type Key = (&'static str, Arc<Subject>, PointLabels);

/// The newest values of points that changed while nobody could look at them.
#[derive(Default)]
pub(super) struct Changes {
    points: HashMap<Key, (&'static Metric, Value)>,
    start_ms: i64,
}

impl Changes {
    /// Says how many points found no room.
    fn add(&mut self, families: &[Family], start_ms: i64) -> u64 {
        self.start_ms = start_ms;
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
    /// It returns when the pages are with the log; the series that tell about alerts are written by
    /// whoever looks next. Returns whether a group was evaluated here.
    pub fn change(&self, families: &[Family], start_ms: i64) -> bool {
        let mut inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            Err(TryLockError::Poisoned(broken)) => broken.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.put_off(families, start_ms);
                self.wake.notify_one();
                return false;
            }
        };
        inner.settle();
        if inner.immediate.is_empty() {
            return false;
        }
        let mut clock = inner.clock;
        let now_ms = clock.read(wall_ms(), self.steady_ms()).now_ms;
        if !inner.may_react(now_ms) {
            self.put_off(families, start_ms);
            drop(inner);
            self.wake.notify_one();
            return false;
        }
        let evaluated = match self.with_waiting(families, start_ms) {
            None => self.react(&mut inner, families, start_ms, now_ms, true),
            Some(all) => self.react(&mut inner, &all, start_ms, now_ms, true),
        };
        let waits = inner.immediate.values().any(Immediate::is_pending);
        drop(inner);
        if evaluated || waits {
            self.wake.notify_one();
        }
        evaluated
    }

    /// Evaluates what changes are waiting for, as far as it may be now.
    pub(super) fn work_off(&self, now_ms: i64) {
        let mut inner = self.lock();
        if inner.may_react(now_ms) {
            let (waiting, start_ms) = {
                let mut changes = self.changes();
                (changes.take(), changes.start_ms)
            };
            self.react(&mut inner, &waiting, start_ms, now_ms, false);
        }
    }

    /// Changes that could not be looked at by the reader of events.
    pub fn left_out(&self, points: u64) {
        self.counts.left_out(points);
    }

    /// When something that waits may be evaluated.
    pub(super) fn pending_ms(&self, inner: &Inner) -> i64 {
        let all = inner.immediate.values();
        let has_changes = !self.changes().points.is_empty();
        let pending = all.filter(|one| has_changes || one.is_pending());
        pending.map(Immediate::ready_ms).min().unwrap_or(i64::MAX)
    }

    fn put_off(&self, families: &[Family], start_ms: i64) {
        let left_out = self.changes().add(families, start_ms);
        self.counts.left_out(left_out);
    }

    /// What waits, with these, which are newer; none if nothing waits.
    fn with_waiting(&self, families: &[Family], start_ms: i64) -> Option<Vec<Family>> {
        let mut changes = self.changes();
        if changes.points.is_empty() {
            return None;
        }
        self.counts.left_out(changes.add(families, start_ms));
        Some(changes.take())
    }

    /// Brings changes in and evaluates the groups that wait and may be evaluated; says whether there
    /// was one.
    fn react(
        &self,
        inner: &mut Inner,
        families: &[Family],
        start_ms: i64,
        now_ms: i64,
        is_prompt: bool,
    ) -> bool {
        let at_ms = now_ms.max(inner.newest_ms.saturating_add(1));
        let ready = inner.bring(families, start_ms, at_ms, now_ms);
        let mut outcome = Outcome::default();
        for (place, one) in &ready {
            // A group may select what the one before it tells about its alerts.
            inner.settle_groups();
            let live = Live::Event(&*self.source, families);
            let waiting = one.pending.as_ref();
            let alike = inner.set.groups.get(*place).is_some_and(Group::looks_alike);
            let touched = waiting.and_then(|waiting| waiting.touched(&inner.store, alike));
            let (touched, counts) = (touched.as_ref(), &self.counts);
            inner.evaluate_group(*place, at_ms, &live, touched, counts, &mut outcome);
            self.counts.reacted(is_prompt && !one.is_late);
        }
        inner.unsettled.count(families);
        if !ready.is_empty() {
            outcome.hand_over(&self.log, &inner.settings.external.labels);
        }
        !ready.is_empty()
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether any group may be evaluated by an event. Changes are brought in no more often: a storm
    /// would fill the store.
    fn may_react(&self, now_ms: i64) -> bool {
        let mut all = self.immediate.values();
        all.any(|one| one.ready_ms() <= now_ms)
    }

    /// Appends changes, for all groups that select them; takes those out that wait for any change
    /// and may be evaluated.
    fn bring(
        &mut self,
        families: &[Family],
        start_ms: i64,
        at_ms: i64,
        now_ms: i64,
    ) -> Vec<(usize, Immediate)> {
        let touched = self.feed.touch(&mut self.store, families, start_ms, at_ms);
        if !touched.is_empty() {
            self.newest_ms = at_ms;
        }
        for touch in touched {
            if let Some(one) = self.immediate.get_mut(&touch.place) {
                one.is_late |= one.ready_ms() > now_ms;
                let pending = one.pending.get_or_insert(Waiting::These(Vec::new()));
                pending.add(touch);
            }
        }
        let all = self.immediate.iter_mut();
        let ready = all.filter(|(_, one)| one.due_ms().is_some_and(|due| due <= now_ms));
        let begin = |one: &mut Immediate| Immediate {
            last_ms: one.last_ms.replace(now_ms),
            pending: one.pending.take(),
            is_late: std::mem::take(&mut one.is_late),
        };
        ready.map(|(place, one)| (*place, begin(one))).collect()
    }
}
