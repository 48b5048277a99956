//! The agent's library in the test's own process, and its numbers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::collect::Collector;
use weir::config::Config;
use weir::metrics::{self, Histogram, Metric, Point, Snapshot, Source as _, Subject, Value};

/// A running agent; its probes go when it is dropped.
pub(crate) struct Agent {
    collector: Collector,
    /// Rung of each probe, `-` if it is off.
    rungs: Vec<(&'static str, &'static str)>,
}

impl Agent {
    /// An agent with the default configuration.
    pub(crate) fn new() -> Self {
        Self::with("").unwrap()
    }

    /// An agent with some keys of `[kernel]`; the error says what the kernel refused. It has room for
    /// all services of a busy machine: what others do must not push the peers into `other`.
    pub(crate) fn with(keys: &str) -> Result<Self, String> {
        let text = format!(
            "[kernel]\nmemory_bytes = 268435456\n{keys}\n[limits]\nmax_services = 100000\n"
        );
        let config = Config::parse(&text, "the test's").unwrap();
        let kernel = weir::start::kernel(&config).map_err(|why| format!("{why:#}"))?;
        let attached = kernel.attached().iter();
        let rungs = attached
            .map(|probe| (probe.probe, probe.rung.unwrap_or("-")))
            .collect();
        let collector = weir::start::collector(&config, kernel);
        collector.seed();
        Ok(Self { collector, rungs })
    }

    /// The collector itself.
    pub(crate) fn collector(&self) -> &Collector {
        &self.collector
    }

    /// The rung that a probe runs on.
    pub(crate) fn rung(&self, probe: &str) -> &'static str {
        let found = self.rungs.iter().find(|(name, _)| *name == probe);
        found.unwrap_or_else(|| panic!("no probe {probe}")).1
    }

    /// All numbers now.
    pub(crate) fn look(&self) -> Numbers {
        Numbers(self.collector.snapshot())
    }

    /// Looks until `done` holds, and gives what was seen then, or at the end of 10 seconds.
    pub(crate) fn look_until(&self, mut done: impl FnMut(&Numbers) -> bool) -> Numbers {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let numbers = self.look();
            if done(&numbers) || Instant::now() > end {
                return numbers;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// One snapshot.
pub(crate) struct Numbers(Snapshot);

/// Labels besides the service.
pub(crate) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Numbers {
    fn value(&self, metric: &Metric, service: &str, labels: Labels<'_>) -> Option<&Value> {
        let family = self
            .0
            .families
            .iter()
            .find(|family| family.metric == metric)?;
        let is_of = |subject: &Arc<Subject>| {
            let of = |(name, value): &(&str, String)| *name == "service" && value == service;
            service.is_empty() || subject.labels.iter().any(of)
        };
        let mut points = family.points.iter();
        let point = points.find(|point| is_of(&point.subject) && point.labels == labels)?;
        Some(&point.value)
    }

    /// What may tell why a service is missing: those that are there, and what found no room.
    pub(crate) fn services(&self) -> String {
        let of = |metric: &Metric| {
            let family = self
                .0
                .families
                .iter()
                .find(|family| family.metric == metric);
            let points = family
                .map(|family| family.points.as_slice())
                .unwrap_or_default();
            let text = |point: &Point| {
                format!(
                    "{:?}{:?}={:?} ",
                    point.subject.labels, point.labels, point.value
                )
            };
            points.iter().map(text).collect::<String>()
        };
        of(&metrics::TCP_OPEN) + &of(&metrics::MAP_INSERT_FAILURES) + &of(&metrics::PROBE_MISSED)
    }

    /// Runs of the probes' programs that the kernel skipped, over all programs.
    pub(crate) fn missed(&self) -> u64 {
        let families = self.0.families.iter();
        let missed = families.filter(|family| family.metric == &metrics::PROBE_MISSED);
        let values = missed
            .flat_map(|family| &family.points)
            .map(|point| &point.value);
        values
            .map(|value| match value {
                Value::Int(runs) => *runs,
                _ => 0,
            })
            .sum()
    }

    /// A whole number of a service; of the agent itself if the service is empty. 0 if there is none.
    pub(crate) fn int(&self, metric: &Metric, service: &str, labels: Labels<'_>) -> u64 {
        match self.value(metric, service, labels) {
            None => 0,
            Some(Value::Int(number)) => *number,
            other => panic!("{}: {other:?}", metric.name),
        }
    }

    /// Seconds of a service.
    pub(crate) fn seconds(&self, metric: &Metric, service: &str, labels: Labels<'_>) -> f64 {
        match self.value(metric, service, labels) {
            None => 0.0,
            Some(Value::Float(number)) => *number,
            other => panic!("{}: {other:?}", metric.name),
        }
    }

    /// A distribution of a service; empty if there is none.
    pub(crate) fn histogram(&self, metric: &Metric, service: &str) -> Histogram {
        match self.value(metric, service, &[]) {
            None => Histogram::default(),
            Some(Value::Histogram(histogram)) => histogram.clone(),
            other => panic!("{}: {other:?}", metric.name),
        }
    }
}

/// Index of the bucket that holds the quantile.
pub(crate) fn quantile(histogram: &Histogram, q: f64) -> i32 {
    let rank = (histogram.count() as f64 * q).ceil().max(1.0) as u64;
    let mut seen = histogram.zero_count;
    let mut index = histogram.first - 1;
    for count in &histogram.counts {
        if seen >= rank {
            break;
        }
        seen += count;
        index += 1;
    }
    index
}

/// Index of the bucket of a time: `(2^(i/8), 2^((i+1)/8)]` seconds.
pub(crate) fn bucket(seconds: f64) -> i32 {
    (seconds.log2() * 8.0).ceil() as i32 - 1
}

/// Upper bound of a bucket in seconds.
pub(crate) fn bound(index: i32) -> f64 {
    (f64::from(index + 1) / 8.0).exp2()
}
