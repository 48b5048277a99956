//! Feeds Weir's store with what Prometheus scraped, evaluates when Prometheus did, and keeps what is
//! written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use weir::alert::expression::Expression;
use weir::alert::file::RuleFile;
use weir::alert::group::{Group, Settings};
use weir::alert::page::Pairs;
use weir::alert::set::RuleSet;
use weir::alert::source::{Append, Query, Series};
use weir_promql::eval::Options;
use weir_promql::labels::Labels;
use weir_promql::store::{Refused, Store, StoreLimits, needs};
use weir_promql::value::{Point, STALE_NAN, SampleValue, Value};

use crate::server::Stored;

/// Labels and time.
type Key = (BTreeMap<String, String>, i64);

/// One evaluation of a group by Prometheus: its time, and the last scrape that it saw.
#[derive(Clone, Copy)]
pub(crate) struct Evaluation {
    at_ms: i64,
    seen: u64,
}

/// When Prometheus evaluated a slot's group; nothing if samples arrived meanwhile, or if samples lie
/// on the edge of ranges: 2.42 counts the older edge in, 3.0 does not.
pub(crate) fn evaluations(all: &[Stored], slot: &str) -> Option<Vec<Evaluation>> {
    let of = |name: &str| {
        let found = all
            .iter()
            .find(|one| one.name() == name && one.has("slot", slot));
        found.map(|one| one.samples.as_slice()).unwrap_or_default()
    };
    let first: BTreeMap<_, _> = of("beside:seen_first").iter().copied().collect();
    let last: BTreeMap<_, _> = of("beside:seen_last").iter().copied().collect();
    let times = of("beside:clock").iter().map(|(at_ms, _)| *at_ms);
    // The newest may still be under way.
    let times: Vec<_> = times
        .rev()
        .skip(1)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    let scrapes: BTreeSet<_> = scrapes(all)
        .into_iter()
        .map(|(at_ms, _)| at_ms % 1_000)
        .collect();
    let mut list = Vec::new();
    for at_ms in times {
        if first.get(&at_ms) != last.get(&at_ms) || scrapes.contains(&(at_ms % 1_000)) {
            return None;
        }
        let seen = first.get(&at_ms).map_or(0, |number| *number as u64);
        list.push(Evaluation { at_ms, seen });
    }
    (list.len() > 10).then_some(list)
}

/// Time and number of every scrape.
fn scrapes(all: &[Stored]) -> Vec<(i64, u64)> {
    let numbers = all.iter().find(|one| one.name() == "beside_scrape");
    let samples = numbers.unwrap().samples.iter();
    samples
        .map(|(at_ms, number)| (*at_ms, *number as u64))
        .collect()
}

/// Evaluations after its start in which Prometheus does not write alerts yet: it looks for those of
/// a former run first.
const SILENT: usize = 2;

/// What an engine wrote after those.
pub(crate) struct Written {
    pub(crate) evaluations: usize,
    /// `ALERTS` and `ALERTS_FOR_STATE`: labels, time, value.
    pub(crate) alerts: BTreeSet<(BTreeMap<String, String>, i64, u64)>,
    /// Everything else.
    pub(crate) recorded: BTreeMap<Key, f64>,
}

impl Written {
    fn new(evaluations: &[Evaluation]) -> Self {
        Self {
            evaluations: evaluations.len(),
            alerts: BTreeSet::new(),
            recorded: BTreeMap::new(),
        }
    }

    /// What Prometheus wrote for a slot.
    pub(crate) fn of(all: &[Stored], slot: &str, evaluations: &[Evaluation]) -> Self {
        let mut written = Self::new(evaluations);
        let times: BTreeSet<_> = evaluations
            .iter()
            .skip(SILENT)
            .map(|one| one.at_ms)
            .collect();
        for one in all.iter().filter(|one| one.has("slot", slot)) {
            for (at_ms, value) in one
                .samples
                .iter()
                .filter(|(at_ms, _)| times.contains(at_ms))
            {
                written.add(one.labels.clone(), *at_ms, *value);
            }
        }
        written
    }

    fn add(&mut self, labels: BTreeMap<String, String>, at_ms: i64, value: f64) {
        if labels["__name__"].starts_with("ALERTS") {
            self.alerts.insert((labels, at_ms, value.to_bits()));
        } else {
            self.recorded.insert((labels, at_ms), value);
        }
    }

    /// How often an alert began to wait, to fire, or ended.
    pub(crate) fn transitions(&self) -> usize {
        let mut times: BTreeMap<i64, BTreeSet<&BTreeMap<String, String>>> = BTreeMap::new();
        for (_, at_ms) in self.recorded.keys() {
            times.entry(*at_ms).or_default();
        }
        for (labels, at_ms, _) in &self.alerts {
            if labels["__name__"] == "ALERTS" {
                times.entry(*at_ms).or_default().insert(labels);
            }
        }
        let steps = times.values().zip(times.values().skip(1));
        let changes = steps.map(|(old, new)| old.symmetric_difference(new).count());
        changes.sum()
    }
}

/// A store that remembers what rules write.
struct Noting<'a> {
    series: Series<'a>,
    notes: Vec<(Labels, i64, f64)>,
}

impl Query for Noting<'_> {
    fn instant(&self, expr: &Expression, at_ms: i64) -> Result<Value, String> {
        self.series.instant(expr, at_ms)
    }
}

impl Append for Noting<'_> {
    fn append(&mut self, labels: &Labels, at_ms: i64, value: SampleValue) -> Result<(), Refused> {
        if !value.is_stale() {
            self.notes
                .push((labels.clone(), at_ms, value.float().unwrap()));
        }
        self.series.append(labels, at_ms, value)
    }
}

/// Evaluates a slot's group as Prometheus did.
pub(crate) fn replay(
    rules: &Path,
    all: &[Stored],
    slot: &str,
    evaluations: &[Evaluation],
) -> Written {
    let settings = Settings::default();
    // Subqueries without a step and start times are as Prometheus 2.42 has them.
    let options = Options {
        start_timestamps: false,
        ..Options::default()
    };
    let mut group = group(rules, slot, &settings);
    let mut store = Store::new(StoreLimits::default());
    let trees = group.rules.iter().map(|rule| rule.written.expr.tree());
    let wanted = trees.flat_map(|tree| needs(tree, options.lookback_ms, 0).unwrap());
    store.set_needs(wanted.collect());
    let mut feed = Feed::new(all);
    let mut written = Written::new(evaluations);
    for (number, evaluation) in evaluations.iter().enumerate() {
        feed.until(evaluation.seen, &mut store);
        let mut source = Noting {
            series: Series::new(&mut store, &options),
            notes: Vec::new(),
        };
        let at_ms = evaluation.at_ms;
        let done = group.evaluate(&mut source, at_ms, &settings, &Pairs::new(), &|| 0);
        let errors: Vec<_> = group
            .rules
            .iter()
            .flat_map(|rule| &rule.last_error)
            .collect();
        assert!(done.failures + done.refused == 0, "{errors:?}");
        if number >= SILENT {
            for (labels, at_ms, value) in source.notes {
                let labels = labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
                written.add(labels.collect(), at_ms, value);
            }
        }
    }
    written
}

fn group(rules: &Path, slot: &str, settings: &Settings) -> Group {
    let file = RuleFile::load(rules, false).unwrap_or_else(|why| panic!("{why}"));
    let groups = RuleSet::new(vec![file], settings).groups;
    let wanted = format!("slot-{slot}");
    groups
        .into_iter()
        .find(|group| group.name == wanted)
        .unwrap()
}

/// Scrapes in order, each with its samples and the series that ended with it.
struct Feed {
    scrapes: std::vec::IntoIter<(i64, u64)>,
    next: Option<(i64, u64)>,
    samples: BTreeMap<i64, Vec<(Labels, f64)>>,
    present: BTreeSet<Labels>,
}

impl Feed {
    fn new(all: &[Stored]) -> Self {
        let mut samples: BTreeMap<i64, Vec<(Labels, f64)>> = BTreeMap::new();
        for one in all
            .iter()
            .filter(|one| one.has("job", "beside") && !one.labels.contains_key("slot"))
        {
            let labels = Labels::new(one.labels.clone());
            for (at_ms, value) in &one.samples {
                samples
                    .entry(*at_ms)
                    .or_default()
                    .push((labels.clone(), *value));
            }
        }
        let mut scrapes = scrapes(all).into_iter();
        Self {
            next: scrapes.next(),
            scrapes,
            samples,
            present: BTreeSet::new(),
        }
    }

    fn until(&mut self, seen: u64, store: &mut Store) {
        while let Some((at_ms, number)) = self.next
            && number <= seen
        {
            let samples = self.samples.remove(&at_ms).unwrap_or_default();
            let now: BTreeSet<_> = samples.iter().map(|(labels, _)| labels.clone()).collect();
            let ended = self
                .present
                .difference(&now)
                .map(|gone| (gone.clone(), STALE_NAN));
            for (labels, value) in samples.into_iter().chain(ended) {
                let point = Point {
                    at_ms,
                    start_ms: 0,
                    value: value.into(),
                };
                store.append(&labels, point).unwrap();
            }
            self.present = now;
            self.next = self.scrapes.next();
        }
    }
}
