//! The rules at work: one lock around rules, series and what is known of the past.
//!
//! A tick reads one snapshot, feeds it, evaluates the groups that are due and hands what changed to
//! the log, in one commit. Groups of one interval share their slots: the node is read once for all.
//! Evaluation may take long, so it has a thread of its own for that time; nothing that waits holds
//! the lock.

mod asked;
mod immediate;
mod live;
mod load;
mod outcome;
mod query;
mod remark;
mod restore;
mod run;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, watch};
use weir_ebpf::change::Facts;
use weir_promql::eval::Options;
use weir_promql::store::{Store, StoreLimits};

use super::clock::Clock;
use super::config::Alert;
use super::demand::Demand;
use super::feed::{self, Feed};
use super::file::RuleFile;
use super::group::Settings;
use super::log::Log;
use super::measure::Rules as Counts;
use super::page::Pairs;
use super::part::Touched;
use super::rule::LOOKBACK_MS;
use super::set::RuleSet;
use super::template::External;
use crate::metrics::{Snapshot, Source};
use immediate::{Changes, Immediate};
use live::Live;
pub use load::{Files, load};
use outcome::Outcome;
use remark::Known;
use settle::Unsettled;

/// An evaluation that comes no later than this is one of its slot's time.
const PUNCTUAL_MS: i64 = 1_000;
/// Most series that rules may select.
const MAX_SERIES: usize = 200_000;
/// Most samples in all windows.
const MAX_SAMPLES: u64 = 50_000_000;

/// The rules of the agent. Shared by the task that ticks, kernel events and the HTTP API.
pub struct Rules {
    /// One tick or reload at a time.
    work: Mutex<()>,
    inner: Mutex<Inner>,
    changes: Mutex<Changes>,
    /// Wakes the task: something waits to be written or evaluated.
    wake: Notify,
    source: Arc<dyn Source>,
    log: Log,
    counts: Arc<Counts>,
    config: Mutex<Alert>,
    /// Rule files as they were when they were last read, if that is known.
    seen: Mutex<Option<Files>>,
    began: Instant,
    asked: watch::Sender<Facts>,
}

struct Inner {
    set: RuleSet,
    store: Store,
    feed: Feed,
    settings: Settings,
    options: Options,
    clock: Clock,
    immediate: BTreeMap<usize, Immediate>,
    /// Labels of rules that do not begin to fire while something was not seen.
    demanded: Pairs,
    /// Immediate groups have not seen yet what their series are without an event.
    is_blank: bool,
    /// Stamp of the newest sample.
    newest_ms: i64,
    /// When the log was last told that the agent runs.
    beat_ms: i64,
    unsettled: Unsettled,
}

impl Rules {
    /// Puts rules to work that [`load`] has checked, and goes on where a former run ended as far as
    /// the log knows.
    pub fn new(
        config: &Alert,
        files: Vec<RuleFile>,
        source: Arc<dyn Source>,
        log: Log,
        counts: Arc<Counts>,
    ) -> Self {
        let (wall_ms, began) = (wall_ms(), Instant::now());
        let settings = settings(config);
        let mut inner = Inner {
            set: RuleSet::new(files, &settings),
            store: Store::new(limits(config)),
            feed: Feed::default(),
            settings,
            options: Options::default(),
            clock: Clock::new(wall_ms, 0),
            immediate: BTreeMap::new(),
            demanded: Pairs::new(),
            is_blank: false,
            newest_ms: i64::MIN,
            beat_ms: i64::MIN,
            unsettled: Unsettled::default(),
        };
        inner.arrange(config);
        let change = inner.restore(&log, wall_ms);
        inner.measure(&counts);
        counts.loaded(wall_ms);
        let asked = watch::Sender::new(inner.asked());
        let rules = Self {
            work: Mutex::default(),
            inner: Mutex::new(inner),
            changes: Mutex::default(),
            wake: Notify::new(),
            source,
            log,
            counts,
            config: Mutex::new(config.clone()),
            seen: Mutex::default(),
            began,
            asked,
        };
        rules.log.commit_blocking(change);
        rules
    }

    /// What a rule file has put in, in whatever state a panic left it: plain numbers and labels.
    /// Nobody sees it before what an event left undone is done.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.settle();
        inner
    }

    /// Evaluates what is due now; blocks.
    pub fn tick(&self) {
        self.tick_at(wall_ms(), self.steady_ms());
    }

    /// The same, by readings of the clocks.
    pub fn tick_at(&self, wall_ms: i64, steady_ms: i64) {
        let _work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, now_ms, is_blank) = {
            let mut inner = self.lock();
            let (due, now_ms) = inner.take_due(wall_ms, steady_ms);
            (due, now_ms, std::mem::take(&mut inner.is_blank))
        };
        if is_blank || !due.is_empty() {
            // Not under the lock: queries and events go on meanwhile.
            let snapshot = self.source.snapshot();
            let mut inner = self.lock();
            let outcome = inner.evaluate(due, is_blank, now_ms, &snapshot, &self.counts);
            inner.measure(&self.counts);
            outcome.hand_over(&self.log, &inner.settings.external.labels);
        }
        self.work_off(now_ms);
        self.log.flush_blocking();
    }

    fn steady_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// How long until something is due.
    fn wait(&self) -> Duration {
        let (wall_ms, steady_ms) = (wall_ms(), self.steady_ms());
        let mut inner = self.lock();
        // A step is told again at the tick.
        let mut clock = inner.clock;
        let now_ms = clock.read(wall_ms, steady_ms).now_ms;
        let next_ms = inner.next_ms(now_ms).min(self.pending_ms(&inner));
        let wait_ms = next_ms.saturating_sub(now_ms).max(0);
        Duration::from_millis(wait_ms.unsigned_abs())
    }
}

impl Inner {
    /// Gives all groups their slots, and the series that they select their place.
    fn arrange(&mut self, config: &Alert) {
        let phase_ms = phase_ms();
        for group in &mut self.set.groups {
            group.phase_ms = Some(phase_ms);
        }
        let groups = self.set.groups.iter().enumerate();
        let places = groups.filter(|(_, group)| config.immediate.contains(&group.name));
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        let demand = Demand::of(&self.set.groups, &places, LOOKBACK_MS);
        self.demanded.clone_from(&config.complete_labels);
        self.store.set_limits(limits(config));
        self.store.set_needs(demand.needs());
        self.feed
            .set_demand(demand, feed::target(&config.external_labels));
        // Those before them may have waited for an evaluation.
        let new = match self.immediate.values().any(Immediate::is_pending) {
            true => Immediate::pending,
            false => Immediate::default,
        };
        self.immediate = places.iter().map(|place| (*place, new())).collect();
        self.is_blank = !places.is_empty();
    }

    /// Groups to be evaluated now, with their times.
    fn take_due(&mut self, wall_ms: i64, steady_ms: i64) -> (Vec<(usize, i64)>, i64) {
        let reading = self.clock.read(wall_ms, steady_ms);
        let now_ms = reading.now_ms;
        if let Some(by_ms) = reading.stepped_ms {
            self.step(now_ms, by_ms);
        }
        let mut due = Vec::new();
        for (place, group) in self.set.groups.iter_mut().enumerate() {
            if let Some(slot) = group.take_due(now_ms) {
                let is_punctual = now_ms - slot <= PUNCTUAL_MS;
                due.push((place, if is_punctual { slot } else { now_ms }));
            }
        }
        (due, now_ms)
    }

    fn next_ms(&mut self, now_ms: i64) -> i64 {
        for group in &mut self.set.groups {
            group.wait_for_slot(now_ms);
        }
        if self.is_blank {
            return now_ms;
        }
        let groups = self.set.groups.iter().map(|group| group.next_due(now_ms));
        groups.min().unwrap_or(i64::MAX)
    }

    /// Feeds a snapshot and evaluates groups on it; `is_blank`: feeds also what immediate groups
    /// select. No sample is later than the evaluation that is to see it, and none earlier than one
    /// that is there.
    fn evaluate(
        &mut self,
        due: Vec<(usize, i64)>,
        is_blank: bool,
        now_ms: i64,
        snapshot: &Snapshot,
        counts: &Counts,
    ) -> Outcome {
        let first_ms = due.iter().map(|(_, at_ms)| *at_ms).min().unwrap_or(now_ms);
        let stamp_ms = first_ms.max(self.newest_ms.saturating_add(1));
        let groups = &self.set.groups;
        let immediate = self.immediate.keys().filter(|_| is_blank);
        let bits = due
            .iter()
            .map(|(place, _)| place)
            .chain(immediate)
            .map(|place| self.feed.demand().bit(groups[*place].interval_ms));
        let mask = bits.fold(0, |all, bit| all | bit);
        self.store.expire(now_ms);
        if let Some(why) = self.feed.feed(&mut self.store, snapshot, stamp_ms, mask) {
            counts.refusal(&why);
        }
        self.newest_ms = stamp_ms;
        let mut outcome = Outcome::default();
        for (place, at_ms) in due {
            let live = Live::Snapshot(snapshot);
            let at_ms = at_ms.max(stamp_ms);
            self.evaluate_group(place, at_ms, &live, None, counts, &mut outcome);
            self.settle();
        }
        self.beat(now_ms, &mut outcome);
        outcome
    }

    /// `touched`: the only series that changed since the last evaluation, if that is known.
    fn evaluate_group(
        &mut self,
        place: usize,
        at_ms: i64,
        live: &Live<'_>,
        touched: Option<&Touched>,
        counts: &Counts,
        outcome: &mut Outcome,
    ) {
        let Some(group) = self.set.groups.get_mut(place) else {
            return;
        };
        let began = Instant::now();
        let clock_ns = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut series = live.series(&mut self.store, &self.options, self.feed.target());
        let remarks = Known::new(&self.feed, live.news(), &self.demanded, at_ms);
        let mut evaluation = group.evaluate_touched(
            &mut series,
            at_ms,
            &self.settings,
            &remarks,
            &clock_ns,
            touched,
        );
        self.newest_ms = self
            .newest_ms
            .max(at_ms.saturating_sub(group.query_offset_ms));
        counts.evaluated(group, &evaluation);
        self.unsettled.add(place, &mut evaluation);
        outcome.add(group, evaluation, at_ms);
    }

    fn measure(&self, counts: &Counts) {
        counts.measure(&self.set, self.store.stats());
    }
}

fn settings(config: &Alert) -> Settings {
    let external = Arc::new(config.external_labels.clone());
    Settings {
        interval_ms: milliseconds(config.evaluation_seconds),
        query_offset_ms: 0,
        resend_ms: milliseconds(config.repeat_seconds),
        external: External::new(external, &config.external_url),
    }
}

fn limits(config: &Alert) -> StoreLimits {
    StoreLimits {
        series: MAX_SERIES,
        samples: MAX_SAMPLES,
        bytes: usize::try_from(config.store_bytes).unwrap_or(usize::MAX),
        // What ended is looked back at for as long as a window is.
        idle_ms: milliseconds(config.window_seconds) + 2 * LOOKBACK_MS,
    }
}

fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1_000.0).round().max(1.0) as i64
}

/// Agents of a fleet should not all evaluate at once, and one that restarts should keep its slots.
fn phase_ms() -> i64 {
    let system = rustix::system::uname();
    let name = system.nodename().to_bytes();
    let mut hash = fnv::FnvHasher::default();
    std::hash::Hasher::write(&mut hash, name);
    (std::hash::Hasher::finish(&hash) % 3_600_000) as i64
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
