//! What the log and the notifier count, as metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::log::Counts as LogCounts;
use super::notify::Counts;
use crate::metrics::{self, Family, Metric, Point, Subject, Value};

mod rule;

pub use rule::Rules;

const NS_PER_S: f64 = 1e9;

/// The counts of alerting; shared by those who raise them.
#[derive(Debug, Default)]
pub struct Alerts {
    /// Raised by the log.
    pub log: Arc<LogCounts>,
    /// Raised by the notifier.
    pub receivers: Counts,
    /// Raised by the evaluation.
    pub rules: Arc<Rules>,
}

impl Alerts {
    /// All families, in the order of the table.
    pub fn families(&self) -> Vec<Family> {
        let mut families = self.of_receivers();
        families.insert(
            0,
            one(&metrics::ALERT_TRANSITIONS, int(&self.log.transitions)),
        );
        families.extend(self.of_log());
        families.extend(self.rules.families());
        families
    }

    fn of_receivers(&self) -> Vec<Family> {
        let (mut pages, mut requests) = (Vec::new(), Vec::new());
        let (mut delays, mut failing) = (Vec::new(), Vec::new());
        for receiver in self.receivers.receivers() {
            let name = || ("receiver", receiver.name.clone());
            let outcome = |outcome: &str| vec![("outcome", outcome.to_owned()), name()];
            pages.push((outcome("delivered"), int(&receiver.delivered)));
            pages.push((outcome("repeated"), int(&receiver.repeated)));
            pages.push((outcome("refused"), int(&receiver.refused)));
            requests.push((outcome("sent"), int(&receiver.sent)));
            requests.push((outcome("failed"), int(&receiver.failed)));
            let delay_ns = receiver.delay_ns.load(Ordering::Relaxed);
            delays.push((vec![name()], Value::Float(delay_ns as f64 / NS_PER_S)));
            let is_failing = receiver.is_failing.load(Ordering::Relaxed);
            failing.push((vec![name()], Value::Int(is_failing.into())));
        }
        vec![
            family(&metrics::ALERT_PAGES, pages),
            family(&metrics::ALERT_REQUESTS, requests),
            family(&metrics::ALERT_DELAY, delays),
            family(&metrics::ALERT_FAILING, failing),
        ]
    }

    fn of_log(&self) -> Vec<Family> {
        let log = &self.log;
        let labelled = |key: &'static str, pairs: &[(&str, &AtomicU64)]| {
            let point = |(value, count): &(&str, &AtomicU64)| {
                (vec![(key, (*value).to_owned())], int(count))
            };
            pairs.iter().map(point).collect::<Vec<_>>()
        };
        vec![
            one(&metrics::ALERT_WAITING, int(&log.waiting)),
            family(
                &metrics::ALERT_DROPPED,
                labelled(
                    "reason",
                    &[("full", &log.dropped_full), ("old", &log.dropped_old)],
                ),
            ),
            one(&metrics::ALERT_LOG_SIZE, int(&log.bytes)),
            one(&metrics::ALERT_LOG_DURABLE, int(&log.durable)),
            family(
                &metrics::ALERT_LOG_FAILURES,
                labelled(
                    "kind",
                    &[
                        ("write", &log.write_failures),
                        ("corrupt", &log.corrupt),
                        ("state", &log.states_refused),
                        ("released", &log.released),
                    ],
                ),
            ),
        ]
    }
}

fn int(count: &AtomicU64) -> Value {
    Value::Int(count.load(Ordering::Relaxed))
}

fn one(metric: &'static Metric, value: Value) -> Family {
    family(metric, vec![(Vec::new(), value)])
}

fn family(metric: &'static Metric, points: Vec<(Vec<(&'static str, String)>, Value)>) -> Family {
    let point = |(labels, value)| Point {
        subject: Arc::new(Subject { labels }),
        labels: &[],
        value,
    };
    Family {
        metric,
        points: points.into_iter().map(point).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::notify::Receiver;

    #[test]
    fn every_metric_of_alerting_is_measured_with_its_labels() {
        let alerts = Alerts::default();
        alerts
            .receivers
            .watch(std::iter::once(Arc::new(Receiver::new("webhook/ops"))));
        let families = alerts.families();
        let named = metrics::ALL.iter().filter(|metric| {
            let starts = |with: &&str| metric.name.starts_with(*with);
            ["weir.alert.", "weir.rule"].iter().any(starts)
        });
        let expected: Vec<_> = named.map(|metric| metric.name).collect();
        let found: Vec<_> = families.iter().map(|family| family.metric.name).collect();
        assert_eq!(found, expected);
        for family in families {
            assert!(!family.points.is_empty(), "{}", family.metric.name);
            for point in family.points {
                let labels: Vec<_> = point.subject.labels.iter().map(|(name, _)| *name).collect();
                assert_eq!(labels, family.metric.labels, "{}", family.metric.name);
            }
        }
    }
}
