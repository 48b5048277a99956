//! What each service was counted for over the last ten minutes: the newest totals, and older ones at
//! least half a minute apart.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use weir_promql::labels::Labels as AlertLabels;

use crate::metrics::{self, Family, Labels, Metric, Subject, Value};

/// How far back it goes.
const SPAN_MS: i64 = 600_000;
/// The label that names a service.
const SERVICE: &str = "service";
/// Least time between two totals that are kept.
const APART_MS: i64 = 30_000;

/// What is counted of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// Segments sent again after a timeout.
    Rto,
    /// Segments sent again by fast recovery.
    Fast,
    /// Segments sent again by a tail loss probe.
    Tlp,
    /// Requests for a connection sent again.
    Syn,
    /// Answers to such requests sent again.
    Synack,
    /// Segments sent again needlessly.
    Needless,
    /// Seconds in which a peer's window was shut.
    ZeroWindow,
    /// Sum of round-trip times in seconds.
    RoundTripTime,
    /// Round-trip times that were looked at.
    RoundTrips,
    /// Seconds in which threads waited for a processor.
    Sched,
    /// Connections of its own that were refused.
    Refused,
    /// That timed out.
    TimedOut,
    /// That were reset before they were open.
    Reset,
    /// That found no way.
    Unreachable,
}

const FACTS: usize = Fact::Unreachable as usize + 1;

impl Fact {
    /// The ways in which connections fail, in words.
    pub const FAILED: [(Self, &'static str); 4] = [
        (Self::Refused, "refused"),
        (Self::TimedOut, "timed out"),
        (Self::Reset, "reset"),
        (Self::Unreachable, "unreachable"),
    ];
}

/// A number for each fact.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals([f64; FACTS]);

impl Totals {
    /// The number of a fact.
    pub fn get(&self, fact: Fact) -> f64 {
        self.0[fact as usize]
    }

    /// Changes the number of a fact.
    pub fn set(&mut self, fact: Fact, value: f64) {
        self.0[fact as usize] = value;
    }

    /// Adds those of another service.
    pub fn add(&mut self, other: &Self) {
        for (sum, value) in self.0.iter_mut().zip(other.0) {
            *sum += value;
        }
    }

    /// Mean round-trip time in seconds; none without any.
    pub fn round_trip(&self) -> Option<f64> {
        let count = self.get(Fact::RoundTrips);
        (count > 0.0).then(|| self.get(Fact::RoundTripTime) / count)
    }

    /// What came since; a counter that was born anew counts as a whole.
    fn since(&self, earlier: &Self) -> Self {
        let mut since = *self;
        for (value, earlier) in since.0.iter_mut().zip(earlier.0) {
            if *value >= earlier {
                *value -= earlier;
            }
        }
        since
    }
}

/// A service's past.
#[derive(Debug)]
struct History {
    /// The round of the snapshot that had it last.
    round: u64,
    now: Totals,
    /// Before the first of `marks`.
    base: Totals,
    marks: VecDeque<(i64, Totals)>,
}

impl History {
    fn new(round: u64) -> Self {
        Self {
            round,
            now: Totals::default(),
            base: Totals::default(),
            marks: VecDeque::new(),
        }
    }

    fn mark(&mut self, at_ms: i64) {
        let is_due = match self.marks.back() {
            Some((last_ms, totals)) => {
                at_ms.saturating_sub(*last_ms) >= APART_MS && *totals != self.now
            }
            None => true,
        };
        if is_due {
            self.marks.push_back((at_ms, self.now));
        }
        let oldest_ms = at_ms.saturating_sub(SPAN_MS);
        while self
            .marks
            .get(1)
            .is_some_and(|(next_ms, _)| *next_ms <= oldest_ms)
        {
            if let Some((_, totals)) = self.marks.pop_front() {
                self.base = totals;
            }
        }
    }

    /// As they were at a time.
    fn at(&self, at_ms: i64) -> &Totals {
        let mut marks = self.marks.iter().rev();
        let found = marks.find(|(mark_ms, _)| *mark_ms <= at_ms);
        found.map_or(&self.base, |(_, totals)| totals)
    }
}

/// The totals of all services. Bounded by their number and by time.
#[derive(Debug, Default)]
pub struct Ledger {
    services: HashMap<Arc<Subject>, History>,
    /// The same by their label `service`, empty if they have none: most alerts are about one.
    named: HashMap<String, Vec<Arc<Subject>>>,
    round: u64,
    at_ms: i64,
    /// Whether what is found next was counted before, under other labels.
    begins_anew: bool,
}

impl Ledger {
    /// Takes a snapshot's families in. Services that it does not have are forgotten.
    pub fn note(&mut self, families: &[Family], at_ms: i64) {
        self.round += 1;
        self.at_ms = at_ms;
        self.take(families);
        let (round, begins_anew) = (self.round, std::mem::take(&mut self.begins_anew));
        let before = self.services.len();
        self.services.retain(|_, history| history.round == round);
        if self.services.len() < before {
            let services = &self.services;
            self.named.retain(|_, subjects| {
                subjects.retain(|subject| services.contains_key(subject));
                !subjects.is_empty()
            });
        }
        for history in self.services.values_mut() {
            if begins_anew {
                history.base = history.now;
            }
            history.mark(at_ms);
        }
    }

    /// Takes points in that changed since the last snapshot.
    pub fn touch(&mut self, families: &[Family]) {
        if self.round > 0 && !self.begins_anew {
            self.take(families);
        }
    }

    /// Services are labelled anew.
    pub fn begin_anew(&mut self) {
        self.services.clear();
        self.named.clear();
        self.begins_anew = true;
    }

    /// Follows a clock that was set.
    pub fn shift(&mut self, by_ms: i64) {
        self.at_ms = self.at_ms.saturating_add(by_ms);
        let marks = self.services.values_mut();
        for (at_ms, _) in marks.flat_map(|history| &mut history.marks) {
            *at_ms = at_ms.saturating_add(by_ms);
        }
    }

    /// Services that do not contradict the labels of an alert, each with what was counted in the
    /// last `window_ms`, and before.
    pub fn of<'a>(
        &'a self,
        alert: &'a AlertLabels,
        window_ms: i64,
    ) -> impl Iterator<Item = (&'a Subject, Totals, Totals)> {
        let since_ms = self.at_ms.saturating_sub(window_ms);
        let fits = |subject: &Subject| {
            let mut labels = subject.labels.iter();
            labels.all(|(name, value)| {
                let own = alert.get(name);
                own.is_empty() || own == value
            })
        };
        self.near(alert.get(SERVICE))
            .filter(move |(subject, _)| fits(subject))
            .map(move |(subject, history)| {
                let then = history.at(since_ms);
                let before = then.since(&history.base);
                (subject, history.now.since(then), before)
            })
    }

    /// Services of that name and those that have none; all if it is empty.
    fn near(&self, name: &str) -> impl Iterator<Item = (&Subject, &History)> {
        let all = self.services.iter().filter(move |_| name.is_empty());
        let names = [name, ""].into_iter().filter(move |_| !name.is_empty());
        let named = names.filter_map(|name| self.named.get(name)).flatten();
        let named = named.filter_map(|subject| self.services.get_key_value(subject));
        all.chain(named)
            .map(|(subject, history)| (&**subject, history))
    }

    fn take(&mut self, families: &[Family]) {
        for family in families.iter().filter(|family| is_told_of(family.metric)) {
            for point in &family.points {
                let round = self.round;
                let subject = Arc::clone(&point.subject);
                let named = &mut self.named;
                let history = self.services.entry(subject).or_insert_with_key(|subject| {
                    let name = named.entry(name_of(subject).to_owned()).or_default();
                    name.push(Arc::clone(subject));
                    History::new(round)
                });
                history.round = round;
                take_point(&mut history.now, family.metric, point.labels, &point.value);
            }
        }
    }
}

fn name_of(subject: &Subject) -> &str {
    let found = subject.labels.iter().find(|(name, _)| *name == SERVICE);
    found.map_or("", |(_, value)| value.as_str())
}

fn is_told_of(metric: &Metric) -> bool {
    let all = [
        &metrics::TCP_RETRANSMITS,
        &metrics::TCP_RETRANSMITS_SPURIOUS,
        &metrics::TCP_ZERO_WINDOW_TIME,
        &metrics::TCP_RTT,
        &metrics::SCHED_DELAY,
        &metrics::TCP_CONNECTIONS,
    ];
    all.iter().any(|known| std::ptr::eq(*known, metric))
}

fn take_point(totals: &mut Totals, metric: &Metric, labels: Labels, value: &Value) {
    let number = match value {
        Value::Int(value) => *value as f64,
        Value::Float(value) => *value,
        Value::Histogram(histogram) => histogram.sum,
    };
    let fact = match labels {
        [("kind", "rto")] => Fact::Rto,
        [("kind", "fast")] => Fact::Fast,
        [("kind", "tlp")] => Fact::Tlp,
        [("kind", "syn")] => Fact::Syn,
        [("kind", "synack")] => Fact::Synack,
        [("role", "connected"), ("outcome", outcome)] => match *outcome {
            "refused" => Fact::Refused,
            "timed_out" => Fact::TimedOut,
            "reset" => Fact::Reset,
            "unreachable" => Fact::Unreachable,
            _ => return,
        },
        [] if std::ptr::eq(metric, &metrics::TCP_RETRANSMITS_SPURIOUS) => Fact::Needless,
        [] if std::ptr::eq(metric, &metrics::TCP_ZERO_WINDOW_TIME) => Fact::ZeroWindow,
        [] if std::ptr::eq(metric, &metrics::SCHED_DELAY) => Fact::Sched,
        [] if std::ptr::eq(metric, &metrics::TCP_RTT) => {
            if let Value::Histogram(histogram) = value {
                totals.set(Fact::RoundTrips, histogram.count() as f64);
            }
            Fact::RoundTripTime
        }
        _ => return,
    };
    totals.set(fact, number);
}
