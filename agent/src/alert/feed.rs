//! Snapshots become series: what rules select of them, and nothing else, enters the store.
//!
//! Names and labels are those of `/metrics`; a histogram is there both with classic buckets and as
//! native histogram. `job` and `instance` are given to every series if the external labels have
//! them, as the scrape of a Prometheus would. A counter carries the time at which it was zero, so
//! that its first event is an increase; a series that is gone gets a stale marker. `up` is 1.

mod newest;
mod series;
mod touch;

use std::cell::{Ref, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use weir_promql::labels::{Labels, NAME};
use weir_promql::storage::SeriesId;
use weir_promql::store::{Refused, Store};
use weir_promql::value::{Point as Sample, STALE_NAN, SampleValue};

use super::cause::ledger::Ledger;
use super::demand::Demand;
use super::loss::Losses;
use super::page::Pairs;
use crate::metrics::{Family, Kind, Labels as PointLabels, Metric, Point, Snapshot, Subject};
use newest::Newest;
use series::{Part, Reading, Shape};
pub use touch::Touch;

/// What a scrape says of itself.
const UP: &str = "up";
/// Labels that a scrape gives to what it scrapes.
const TARGET: [&str; 2] = ["instance", "job"];

/// Tells points apart.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    metric: &'static str,
    subject: Arc<Subject>,
    labels: PointLabels,
}

/// A point that was seen.
struct Known {
    /// When it was zero, at the latest known time.
    born_ms: i64,
    /// The snapshot that had it last.
    round: u64,
    lines: Vec<Line>,
    /// Whether a group waits for events that change any of them.
    is_awaited: bool,
    newest: Newest,
}

/// A series of a point that some rule selects.
struct Line {
    part: Part,
    labels: Labels,
    id: Option<SeriesId>,
    intervals: u64,
    immediate: Vec<usize>,
}

/// Brings snapshots into a store.
#[derive(Default)]
pub struct Feed {
    target: Vec<(String, String)>,
    demand: Demand,
    shapes: HashMap<&'static str, Shape>,
    known: HashMap<Key, Known>,
    round: u64,
    /// Stamp of the last snapshot.
    stamp_ms: Option<i64>,
    /// Families of the last snapshot that were looked at.
    seen: HashSet<&'static str>,
    ledger: RefCell<Ledger>,
    losses: Losses,
}

/// The labels that series get as a scrape would give them.
pub fn target(external: &Pairs) -> Vec<(String, String)> {
    let has = |name: &&str| external.get_key_value(*name);
    let pairs = TARGET.iter().filter_map(has);
    pairs.map(|(k, v)| (k.clone(), v.clone())).collect()
}

impl Feed {
    /// Feeds from now on what `demand` selects. Births that are known stay known.
    pub fn set_demand(&mut self, demand: Demand, target: Vec<(String, String)>) {
        self.demand = demand;
        self.target = target;
        self.shapes.clear();
        let all: HashSet<_> = self.known.keys().map(|key| key.metric).collect();
        for metric in all.into_iter().filter_map(metric) {
            self.shape(metric);
        }
        for (key, known) in &mut self.known {
            let shape = self.shapes.get(key.metric);
            known.lines = lines(shape, &self.demand, &self.target, &key.point());
            known.is_awaited = are_awaited(&known.lines);
        }
    }

    /// What rules select.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// What a scrape would add to every series.
    pub fn target(&self) -> &[(String, String)] {
        &self.target
    }

    /// What services were counted for.
    pub fn ledger(&self) -> Ref<'_, Ledger> {
        self.ledger.borrow()
    }

    /// Takes points into the ledger that an event changed.
    pub fn count(&self, families: &[Family]) {
        self.ledger.borrow_mut().touch(families);
    }

    /// What was not seen.
    pub fn losses(&self) -> &Losses {
        &self.losses
    }

    /// Follows a clock that was set: what was born keeps its age.
    pub fn shift(&mut self, by_ms: i64) {
        self.ledger.get_mut().shift(by_ms);
        self.losses.shift(by_ms);
        self.stamp_ms = self.stamp_ms.map(|stamp| stamp.saturating_add(by_ms));
        for known in self.known.values_mut() {
            known.newest.shift(by_ms);
            if known.born_ms != 0 {
                known.born_ms = known.born_ms.saturating_add(by_ms);
            }
        }
    }

    /// Series are labelled anew: those of the next snapshot that look new were not born then.
    pub fn forget_births(&mut self) {
        self.seen.clear();
        self.stamp_ms = None;
        self.ledger.get_mut().begin_anew();
    }

    /// Appends what groups with the intervals in `due` select, as of `at_ms`, and marks what is
    /// gone; gives the last reason why a sample was refused.
    pub fn feed(
        &mut self,
        store: &mut Store,
        snapshot: &Snapshot,
        at_ms: i64,
        due: u64,
    ) -> Option<Refused> {
        let start_ms = ms(snapshot.start_unix_ns);
        self.round += 1;
        let mut refused = None;
        let mut seen = HashSet::new();
        for family in &snapshot.families {
            if self.shape(family.metric).forms.is_empty() {
                continue;
            }
            seen.insert(family.metric.name);
            for point in &family.points {
                let round = self.round;
                let known = self.know(family.metric, point, start_ms);
                known.round = round;
                let mut lines = known
                    .lines
                    .iter_mut()
                    .filter(|line| line.intervals & due != 0)
                    .peekable();
                if lines.peek().is_none() {
                    continue;
                }
                let born_ms = known.born_ms;
                let value = known.newest.of_snapshot(family.metric, &point.value, at_ms);
                let mut reading = Reading::new(family.metric, value);
                for line in lines {
                    let done = line.append(store, &mut reading, at_ms, born_ms);
                    refused = done.err().or(refused);
                }
            }
        }
        refused = self.append_up(store, at_ms, due).err().or(refused);
        self.mark_gone(store, at_ms);
        self.ledger.get_mut().note(&snapshot.families, at_ms);
        self.losses.note(&snapshot.families, at_ms);
        self.seen = seen;
        self.stamp_ms = Some(at_ms);
        refused
    }

    /// Who asks the agent's own rules finds it up, as a scrape would.
    fn append_up(&self, store: &mut Store, at_ms: i64, due: u64) -> Result<(), Refused> {
        let labels = up(&self.target);
        match self.demand.use_of(&labels) {
            Some(of) if of.intervals & due != 0 => {
                let point = sample(SampleValue::Float(1.0), at_ms, 0);
                store.append(&labels, point).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    fn shape(&mut self, metric: &'static Metric) -> &Shape {
        let demand = &self.demand;
        let wants = |name: &str| demand.may_want(name);
        self.shapes
            .entry(metric.name)
            .or_insert_with(|| Shape::new(metric, wants))
    }

    /// A point that the last snapshot did not have was born after it; of a family that was not
    /// looked at, any time since the start.
    fn know(&mut self, metric: &'static Metric, point: &Point, start_ms: i64) -> &mut Known {
        let key = Key {
            metric: metric.name,
            subject: Arc::clone(&point.subject),
            labels: point.labels,
        };
        match self.known.entry(key) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let was_seen = self.seen.contains(metric.name);
                let born_ms = match metric.kind {
                    Kind::Gauge => 0,
                    _ => self.stamp_ms.filter(|_| was_seen).unwrap_or(start_ms),
                };
                let shape = self.shapes.get(metric.name);
                let lines = lines(shape, &self.demand, &self.target, point);
                place.insert(Known {
                    born_ms,
                    round: self.round,
                    is_awaited: are_awaited(&lines),
                    lines,
                    newest: Newest::default(),
                })
            }
        }
    }

    fn mark_gone(&mut self, store: &mut Store, at_ms: i64) {
        let round = self.round;
        self.known.retain(|_, known| {
            if known.round == round {
                return true;
            }
            for line in known.lines.iter().filter(|line| line.id.is_some()) {
                let end = sample(SampleValue::Float(STALE_NAN), at_ms, 0);
                // Refused only if it is not newer, and then the series had ended before.
                let _ = store.append(&line.labels, end);
            }
            false
        });
    }
}

impl Line {
    fn append(
        &mut self,
        store: &mut Store,
        reading: &mut Reading<'_>,
        at_ms: i64,
        born_ms: i64,
    ) -> Result<(), Refused> {
        let Some(value) = reading.part(self.part) else {
            return Ok(());
        };
        let point = sample(value, at_ms, born_ms);
        self.id = Some(match self.id {
            Some(id) => store.append_again(id, &self.labels, point)?,
            None => store.append(&self.labels, point)?,
        });
        Ok(())
    }
}

impl Key {
    /// The point without its value.
    fn point(&self) -> Point {
        Point {
            subject: Arc::clone(&self.subject),
            labels: self.labels,
            value: crate::metrics::Value::Int(0),
        }
    }
}

fn are_awaited(lines: &[Line]) -> bool {
    lines.iter().any(|line| !line.immediate.is_empty())
}

/// The series of a point that rules select.
fn lines(
    shape: Option<&Shape>,
    demand: &Demand,
    target: &[(String, String)],
    point: &Point,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, part, le) in shape.into_iter().flat_map(|shape| &shape.forms) {
        let labels = series::labels(name, le, point, target);
        if let Some(of) = demand.use_of(&labels) {
            lines.push(Line {
                part: *part,
                labels,
                id: None,
                intervals: of.intervals,
                immediate: of.immediate,
            });
        }
    }
    lines
}

fn up(target: &[(String, String)]) -> Labels {
    let pairs = target
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    Labels::new(pairs.chain([(NAME, UP)]))
}

fn sample(value: SampleValue, at_ms: i64, start_ms: i64) -> Sample {
    Sample {
        at_ms,
        start_ms,
        value,
    }
}

fn metric(name: &str) -> Option<&'static Metric> {
    let mut all = crate::metrics::ALL.iter();
    all.find(|metric| metric.name == name).copied()
}

/// Nanoseconds as milliseconds.
pub fn ms(ns: u64) -> i64 {
    i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX)
}

/// All series of a snapshot whose name is wanted, to be taken one by one.
pub fn each(
    snapshot: &Snapshot,
    target: &[(String, String)],
    wants: impl Fn(&str) -> bool,
    mut take: impl FnMut(&Labels, i64, &mut dyn FnMut() -> Option<SampleValue>),
) {
    let start_ms = ms(snapshot.start_unix_ns);
    if wants(UP) {
        take(&up(target), 0, &mut || Some(SampleValue::Float(1.0)));
    }
    for family in &snapshot.families {
        let shape = Shape::new(family.metric, &wants);
        if shape.forms.is_empty() {
            continue;
        }
        let born_ms = match family.metric.kind {
            Kind::Gauge => 0,
            _ => start_ms,
        };
        for point in &family.points {
            let mut reading = Reading::new(family.metric, &point.value);
            for (name, part, le) in &shape.forms {
                let labels = series::labels(name, le, point, target);
                take(&labels, born_ms, &mut || reading.part(*part));
            }
        }
    }
}
