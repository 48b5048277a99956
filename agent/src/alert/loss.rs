//! What the agent did not see: which losses concern which metrics, and when each was last suffered.
//! A rule whose window holds one judges by less than there was, and says so.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use super::page::rfc3339;
use crate::metrics::{self, Family, Kind, Point, Value};

/// Annotation of a page whose rule did not see everything.
pub const INCOMPLETE: &str = "weir_incomplete";

/// Something that keeps facts from being counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Loss {
    /// Records of processes that were new.
    Owners,
    /// Records that could not be read.
    Malformed,
    /// Measurements that could not be ended, by fact.
    Samples(String),
    /// Entries that a full kernel map refused.
    Map(String),
    /// Runs of a kernel program that the kernel skipped.
    Skipped(String),
    /// A probe that does not run.
    Probe(String),
    /// Samples that found no room among the rules' series.
    Store,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    total: f64,
    last_ms: Option<i64>,
}

/// All losses so far. Bounded by the kinds that there are.
#[derive(Debug, Default)]
pub struct Losses(BTreeMap<Loss, Known>);

impl Losses {
    /// Looks for losses in a snapshot.
    pub fn note(&mut self, families: &[Family], at_ms: i64) {
        let mut running: BTreeMap<&str, f64> = BTreeMap::new();
        for family in families {
            for point in &family.points {
                let number = match point.value {
                    Value::Int(value) => value as f64,
                    Value::Float(value) => value,
                    Value::Histogram(_) => continue,
                };
                if std::ptr::eq(family.metric, &metrics::PROBE_ATTACHED) {
                    *running.entry(label(point, "probe")).or_default() += number;
                } else if let Some(loss) = counted(family, point) {
                    self.grow(loss, number, at_ms);
                }
            }
        }
        for (probe, rungs) in running {
            if rungs == 0.0 {
                let known = self.0.entry(Loss::Probe(probe.to_owned())).or_default();
                known.last_ms = Some(at_ms);
            }
        }
    }

    fn grow(&mut self, loss: Loss, total: f64, at_ms: i64) {
        if total == 0.0 {
            return;
        }
        let known = self.0.entry(loss).or_default();
        if total > known.total {
            *known = Known {
                total,
                last_ms: Some(at_ms),
            };
        }
    }

    /// Follows a clock that was set.
    pub fn shift(&mut self, by_ms: i64) {
        for known in self.0.values_mut() {
            known.last_ms = known.last_ms.map(|last| last.saturating_add(by_ms));
        }
    }

    /// What a rule that selects these metrics did not see after `since_ms`, in words; none if it saw
    /// everything. Without names, it may select any.
    pub fn told(&self, inputs: Option<&[String]>, since_ms: i64) -> Option<String> {
        let is_recent = |known: &Known| known.last_ms.is_some_and(|last| last > since_ms);
        let concerns =
            |loss: &Loss| inputs.is_none_or(|names| names.iter().any(|name| loss.concerns(name)));
        let all = self.0.iter();
        let found = all.filter(|(loss, known)| is_recent(known) && concerns(loss));
        let said = found.map(|(loss, known)| {
            let at = rfc3339(known.last_ms.unwrap_or(since_ms));
            format!("{}, last at {at}", loss.told())
        });
        let said: Vec<_> = said.collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

fn counted(family: &Family, point: &Point) -> Option<Loss> {
    let is = |metric: &'static metrics::Metric| std::ptr::eq(family.metric, metric);
    let of = |name: &str| label(point, name).to_owned();
    if is(&metrics::RECORDS_LOST) {
        // A change that is lost is found by the next snapshot.
        return (of("kind") == "owner").then_some(Loss::Owners);
    }
    if is(&metrics::RULE_REFUSED) {
        return (of("reason") == "full").then_some(Loss::Store);
    }
    match () {
        () if is(&metrics::RECORDS_MALFORMED) => Some(Loss::Malformed),
        () if is(&metrics::SAMPLES_LOST) => Some(Loss::Samples(of("fact"))),
        () if is(&metrics::MAP_INSERT_FAILURES) => Some(Loss::Map(of("map"))),
        () if is(&metrics::PROBE_MISSED) => Some(Loss::Skipped(of("probe"))),
        () => None,
    }
}

fn label<'a>(point: &'a Point, wanted: &str) -> &'a str {
    let own = point.labels.iter().map(|(name, value)| (*name, *value));
    let subject = &point.subject.labels;
    let mut all = own.chain(subject.iter().map(|(name, value)| (*name, value.as_str())));
    all.find(|(name, _)| *name == wanted)
        .map_or("", |(_, value)| value)
}

impl Loss {
    /// Whether series of this name may lack something. A name that is not in the table is what a
    /// rule recorded, of whatever.
    fn concerns(&self, name: &str) -> bool {
        let metrics_of = |what: &str| match what {
            what if what.starts_with("send") || what.starts_with("tcp_send") => {
                &["weir_tcp_send"][..]
            }
            "delivery" => &["weir_tcp_delivery"],
            what if what.starts_with("sched") => &["weir_sched"],
            what if what.starts_with("tcp_retransmit") => &["weir_tcp_retransmits"],
            what if what.starts_with("tcp_congestion") => &["weir_tcp_retransmits_spurious"],
            _ => &["weir_tcp", "weir_sched"],
        };
        let prefixes = match self {
            Self::Store => return true,
            _ if !NAMES.contains_key(name) => return true,
            Self::Samples(what) | Self::Skipped(what) | Self::Probe(what) => metrics_of(what),
            Self::Owners | Self::Malformed | Self::Map(_) => metrics_of(""),
        };
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    fn told(&self) -> String {
        match self {
            Self::Owners => "records of new processes were lost".to_owned(),
            Self::Malformed => "records could not be read".to_owned(),
            Self::Samples(fact) => format!("measurements of {fact} were lost"),
            Self::Map(map) => format!("the kernel map {map} was full"),
            Self::Skipped(program) => format!("runs of {program} were skipped"),
            Self::Probe(probe) => format!("the probe {probe} does not run"),
            Self::Store => "series found no room (alert.store_bytes)".to_owned(),
        }
    }
}

/// The names of all series of the table, and whether they tell of services.
static NAMES: LazyLock<HashMap<String, bool>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for metric in metrics::ALL {
        let name = metric.prometheus_name();
        if matches!(metric.kind, Kind::TimeHistogram | Kind::SizeHistogram) {
            let parts = ["_bucket", "_count", "_sum"].map(|part| format!("{name}{part}"));
            names.extend(parts.map(|name| (name, metric.per_service)));
        }
        names.insert(name, metric.per_service);
    }
    names
});

/// Whether series of this name tell of the agent and not of services.
pub fn is_about_agent(name: &str) -> bool {
    NAMES.get(name) == Some(&false)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::{Labels, Metric, Subject};

    fn family(metric: &'static Metric, labels: Labels, value: u64) -> Family {
        let point = Point {
            subject: Arc::new(Subject::default()),
            labels,
            value: Value::Int(value),
        };
        Family {
            metric,
            points: vec![point],
        }
    }

    fn told(losses: &Losses, name: &str, since_ms: i64) -> Option<String> {
        losses.told(Some(&[name.to_owned()]), since_ms)
    }

    #[test]
    fn a_loss_concerns_the_rules_whose_window_and_metrics_it_touches() {
        let mut losses = Losses::default();
        let lost = |n| [family(&metrics::SAMPLES_LOST, &[("fact", "sched")], n)];
        losses.note(&lost(0), 1_000);
        assert_eq!(losses.told(None, 0), None);
        losses.note(&lost(2), 2_000);
        losses.note(&lost(2), 3_000);
        let said = told(&losses, "weir_sched_delay_seconds_bucket", 1_999).unwrap();
        assert_eq!(
            said,
            "measurements of sched were lost, last at 1970-01-01T00:00:02.000Z"
        );
        assert_eq!(
            told(&losses, "weir_sched_delay_seconds_bucket", 2_000),
            None
        );
        assert_eq!(told(&losses, "weir_tcp_retransmits_total", 0), None);
        assert_eq!(told(&losses, "weir_overhead_ratio", 0), None);
        assert!(told(&losses, "service:recorded:rate5m", 0).is_some());
        assert!(losses.told(None, 0).is_some());
        losses.shift(-1_000);
        assert_eq!(losses.told(None, 1_000), None);
    }

    #[test]
    fn what_is_found_again_by_the_next_snapshot_is_no_loss() {
        let mut losses = Losses::default();
        let lost = |kind: Labels| [family(&metrics::RECORDS_LOST, kind, 5)];
        losses.note(&lost(&[("kind", "change")]), 1_000);
        assert_eq!(losses.told(None, 0), None);
        losses.note(&lost(&[("kind", "owner")]), 1_000);
        assert!(told(&losses, "weir_tcp_connections_open", 0).is_some());
        assert_eq!(told(&losses, "weir_records_lost_total", 0), None);
    }

    #[test]
    fn a_probe_without_any_rung_is_missing_as_long_as_that_lasts() {
        let mut losses = Losses::default();
        let attached = |raw: u64| {
            [
                family(
                    &metrics::PROBE_ATTACHED,
                    &[("probe", "tcp_send"), ("rung", "a")],
                    0,
                ),
                family(
                    &metrics::PROBE_ATTACHED,
                    &[("probe", "tcp_send"), ("rung", "b")],
                    raw,
                ),
            ]
        };
        losses.note(&attached(1), 1_000);
        assert_eq!(losses.told(None, 0), None);
        losses.note(&attached(0), 2_000);
        losses.note(&attached(0), 9_000);
        assert!(told(&losses, "weir_tcp_send_duration_seconds", 8_000).is_some());
        assert_eq!(told(&losses, "weir_tcp_rtt_seconds", 0), None);
        losses.note(&attached(1), 10_000);
        assert_eq!(losses.told(None, 9_000), None);
    }

    #[test]
    fn a_full_store_concerns_every_rule() {
        let mut losses = Losses::default();
        losses.note(
            &[family(&metrics::RULE_REFUSED, &[("reason", "full")], 1)],
            5,
        );
        assert!(told(&losses, "weir_overhead_ratio", 0).is_some());
    }
}
