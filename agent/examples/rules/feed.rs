//! Weir's own store and rules, fed in real time as the agent feeds them. Prints a line of JSON after
//! each interval; processor time and memory are read from outside.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use weir::alert::demand::Demand;
use weir::alert::group::Settings;
use weir::alert::page::Pairs;
use weir::alert::set::{RuleSet, load};
use weir::alert::source::Series as Source;
use weir_promql::eval::Options;
use weir_promql::labels::Labels;
use weir_promql::storage::{SeriesId, Storage as _};
use weir_promql::store::{Store, StoreLimits};
use weir_promql::value::Point;

use crate::course::{self, Series};

/// What the store keeps at most.
const LIMITS: StoreLimits = StoreLimits {
    series: 100_000,
    samples: 10_000_000,
    bytes: 256 << 20,
    idle_ms: 600_000,
};

/// What came of the evaluations of one interval.
#[derive(Default)]
struct Tally {
    rules: usize,
    failures: u64,
    written: u64,
    refused: u64,
}

struct Engine {
    store: Store,
    set: RuleSet,
    settings: Settings,
    options: Options,
    /// All series, with their numbers in the store.
    series: Vec<(Series, SeriesId)>,
}

/// Feeds, and evaluates if there are rules, until the process is ended.
pub(crate) fn run(rules: Option<&Path>, interval: Duration) {
    let mut engine = Engine::new(rules);
    let mut fed = None;
    loop {
        let now = course::interval_now(interval);
        if fed != Some(now) {
            fed = Some(now);
            engine.append(now, interval);
            engine.store.expire(now_ms());
        }
        let tally = engine.evaluate();
        if tally.rules > 0 || rules.is_none() {
            engine.tell(&tally);
        }
        std::thread::sleep(engine.pause(now, interval));
    }
}

impl Engine {
    fn new(rules: Option<&Path>) -> Self {
        let (settings, options) = (Settings::default(), Options::default());
        let paths: Vec<_> = rules.iter().map(|path| path.to_path_buf()).collect();
        let files = load(&paths).unwrap();
        let set = RuleSet::new(files, &settings);
        let mut store = Store::new(LIMITS);
        store.set_needs(Demand::of(&set.groups, &[], options.lookback_ms).needs());
        let series = course::series().map(|one| (one, SeriesId(u32::MAX)));
        Self {
            store,
            set,
            settings,
            options,
            series: series.collect(),
        }
    }

    /// Samples are as of the interval's begin, as the agent's are as of a slot.
    fn append(&mut self, number: u64, interval: Duration) {
        let at_ms = i64::try_from(number * interval.as_secs() * 1_000).unwrap();
        for (series, id) in &mut self.series {
            let point = Point {
                at_ms,
                start_ms: 0,
                value: series.value(number).into(),
            };
            *id = if id.0 == u32::MAX {
                let name = ("__name__", series.name());
                let labels = Labels::new(std::iter::once(name).chain(series.labels()));
                self.store.append(&labels, point).unwrap()
            } else {
                let labels = self.store.labels(*id).clone();
                self.store.append_again(*id, &labels, point).unwrap()
            };
        }
    }

    /// Evaluates the groups whose time has come.
    fn evaluate(&mut self) -> Tally {
        let mut tally = Tally::default();
        let began = Instant::now();
        let clock = || u64::try_from(began.elapsed().as_nanos()).unwrap();
        for group in &mut self.set.groups {
            let Some(at_ms) = group.take_due(now_ms()) else {
                continue;
            };
            let mut source = Source::new(&mut self.store, &self.options);
            let done = group.evaluate(&mut source, at_ms, &self.settings, &Pairs::new(), &clock);
            tally.rules += group.rules.len();
            tally.failures += done.failures;
            tally.written += done.written;
            tally.refused += done.refused;
        }
        tally
    }

    fn tell(&self, tally: &Tally) {
        let rules = self.set.groups.iter().flat_map(|group| &group.rules);
        let alerts: usize = rules.map(|rule| rule.alerts.active().count()).sum();
        let stats = self.store.stats();
        println!(
            "{}",
            json!({
                "rules": tally.rules, "failures": tally.failures, "written": tally.written,
                "refused": tally.refused, "alerts": alerts, "series": stats.series,
                "samples": stats.samples, "bytes": stats.bytes,
            })
        );
    }

    /// Until the next group is due or the next samples come.
    fn pause(&self, interval: u64, length: Duration) -> Duration {
        let now = now_ms();
        let samples = i64::try_from((interval + 1) * length.as_secs() * 1_000).unwrap();
        let groups = self.set.groups.iter().map(|group| group.next_due(now));
        let next = groups.chain([samples]).min().unwrap_or(samples);
        Duration::from_millis(u64::try_from(next - now).unwrap_or(0).clamp(1, 60_000))
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_millis().try_into().unwrap()
}
