//! The agent about itself: probes, records, maps, exports, memory.

use std::sync::Arc;

use weir_ebpf::layout::{Bounded, Lost, RECORDS};

use super::{Collector, Inner, load};
use crate::kernel::probes::PROBES;
use crate::metrics::{self, Family, Labels, Metric, Point, Subject, Value};

const NS_PER_S: f64 = 1e9;

/// All families that are not about a service.
pub(super) fn families(collector: &Collector, inner: &mut Inner) -> Vec<Family> {
    let mut out = vec![attached(inner)];
    out.extend(programs(inner));
    out.extend(kernel_counts(inner));
    out.extend(maps(inner));
    out.extend(agent(collector, inner));
    out.extend(exports(collector));
    let alerts = collector.alerts.get();
    out.extend(alerts.into_iter().flat_map(|alerts| alerts.families()));
    out
}

/// The number of points of this export, itself included.
pub(super) fn series(points: u64) -> Family {
    one(&metrics::SERIES, Value::Int(points))
}

fn one(metric: &'static Metric, value: Value) -> Family {
    labelled(metric, [(&[] as Labels, value)])
}

fn labelled(metric: &'static Metric, points: impl IntoIterator<Item = (Labels, Value)>) -> Family {
    let nobody = Arc::new(Subject::default());
    let point = |(labels, value)| Point {
        subject: nobody.clone(),
        labels,
        value,
    };
    Family {
        metric,
        points: points.into_iter().map(point).collect(),
    }
}

/// A family whose label values are known at run time only.
fn named(
    metric: &'static Metric,
    points: impl IntoIterator<Item = (Vec<(&'static str, String)>, Value)>,
) -> Family {
    let point = |(mut labels, value): (Vec<_>, _)| {
        labels.sort_unstable();
        Point {
            subject: Arc::new(Subject { labels }),
            labels: &[],
            value,
        }
    };
    Family {
        metric,
        points: points.into_iter().map(point).collect(),
    }
}

fn attached(inner: &Inner) -> Family {
    let points = inner.kernel.attached().iter().flat_map(|probe| {
        let rungs = PROBES
            .iter()
            .filter(|row| row.name == probe.probe)
            .flat_map(|row| row.rungs);
        rungs.map(|rung| {
            let runs = probe.rung == Some(rung.name) && !probe.shed;
            let labels = vec![
                ("probe", probe.probe.to_owned()),
                ("rung", rung.name.to_owned()),
            ];
            (labels, Value::Int(u64::from(runs)))
        })
    });
    named(&metrics::PROBE_ATTACHED, points)
}

fn programs(inner: &Inner) -> Vec<Family> {
    let mut runs = Vec::new();
    let mut times = Vec::new();
    let mut missed = Vec::new();
    for (name, fd) in inner.kernel.programs() {
        let object = inner.names.resolver.kernel_object(fd);
        let labels = || vec![("probe", name.to_owned())];
        runs.push((labels(), Value::Int(object.runs)));
        times.push((labels(), Value::Float(object.run_ns as f64 / NS_PER_S)));
        missed.push((labels(), Value::Int(object.missed)));
    }
    vec![
        named(&metrics::PROBE_RUNS, runs),
        named(&metrics::PROBE_RUN_TIME, times),
        named(&metrics::PROBE_MISSED, missed),
    ]
}

fn kernel_counts(inner: &mut Inner) -> Vec<Family> {
    let counts = inner.kernel.maps().counts();
    let refused = |map: Bounded| Value::Int(counts.refused[map as usize]);
    let lost = |fact: Lost| Value::Int(counts.lost[fact as usize]);
    vec![
        labelled(&metrics::RECORDS_SENT, by_kind(&counts.records_sent)),
        labelled(&metrics::RECORDS_LOST, by_kind(&counts.records_lost)),
        labelled(
            &metrics::MAP_INSERT_FAILURES,
            [
                (&[("map", "sockets")] as Labels, refused(Bounded::Sockets)),
                (&[("map", "owners")], refused(Bounded::Owners)),
                (&[("map", "processes")], refused(Bounded::Processes)),
                (&[("map", "listeners")], refused(Bounded::Listeners)),
            ],
        ),
        labelled(
            &metrics::SAMPLES_LOST,
            [
                (&[("fact", "send")] as Labels, lost(Lost::Send)),
                (&[("fact", "delivery")], lost(Lost::Delivery)),
                (&[("fact", "sched")], lost(Lost::Sched)),
            ],
        ),
    ]
}

/// Counts of records with their labels, in the order of `RecordKind`.
fn by_kind(counts: &[u64; RECORDS]) -> impl Iterator<Item = (Labels, Value)> {
    const KINDS: [Labels; RECORDS] = [&[("kind", "owner")], &[("kind", "change")]];
    KINDS.into_iter().zip(counts.map(Value::Int))
}

fn maps(inner: &mut Inner) -> Vec<Family> {
    let followed = inner.followed as u64;
    let maps = inner.kernel.maps();
    let (owners, processes) = (maps.owners().len() as u64, maps.processes().len() as u64);
    let described: Vec<_> = inner
        .kernel
        .map_descriptors()
        .into_iter()
        .map(|(name, fd)| (name, inner.names.resolver.kernel_object(fd)))
        .collect();
    let capacity = |name: &str| {
        let found = described.iter().find(|(map, _)| *map == name);
        Value::Int(found.map_or(0, |(_, object)| object.capacity))
    };
    let memory = described
        .iter()
        .map(|(name, object)| (vec![("map", (*name).to_owned())], Value::Int(object.memory)));
    vec![
        labelled(
            &metrics::MAP_ENTRIES,
            [
                (&[("map", "sockets")] as Labels, Value::Int(followed)),
                (&[("map", "owners")], Value::Int(owners)),
                (&[("map", "processes")], Value::Int(processes)),
            ],
        ),
        labelled(
            &metrics::MAP_CAPACITY,
            [
                (&[("map", "sockets")] as Labels, capacity("sockets")),
                (&[("map", "owners")], capacity("owners")),
                (&[("map", "processes")], capacity("processes")),
            ],
        ),
        named(&metrics::MAP_MEMORY, memory),
    ]
}

fn agent(collector: &Collector, inner: &Inner) -> Vec<Family> {
    let counts = &collector.counts;
    let usage = inner.names.resolver.own_usage();
    let release = inner.names.resolver.kernel_release();
    let build = vec![
        ("kernel", release),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    vec![
        one(
            &metrics::RECORDS_MALFORMED,
            Value::Int(load(&counts.malformed)),
        ),
        one(
            &metrics::READER_LAG,
            Value::Float(load(&counts.lag_ns) as f64 / NS_PER_S),
        ),
        one(
            &metrics::SERVICES,
            Value::Int(inner.names.services() as u64),
        ),
        one(&metrics::SERVICES_FOLDED, Value::Int(inner.names.folded)),
        one(
            &metrics::OVERHEAD,
            Value::Float(load(&counts.overhead_ppm) as f64 / 1e6),
        ),
        one(&metrics::SHED_LEVEL, Value::Int(load(&counts.shed))),
        one(
            &metrics::AGENT_CPU_TIME,
            Value::Float(usage.cpu_ns as f64 / NS_PER_S),
        ),
        one(&metrics::AGENT_MEMORY, Value::Int(usage.rss_bytes)),
        one(
            &metrics::AGENT_START_TIME,
            Value::Float(collector.start_unix_ns as f64 / NS_PER_S),
        ),
        named(&metrics::BUILD_INFO, [(build, Value::Int(1))]),
        labelled(
            &metrics::CONFIG_RELOADS,
            [
                (
                    &[("outcome", "applied")] as Labels,
                    Value::Int(load(&counts.reloads)),
                ),
                (
                    &[("outcome", "refused")],
                    Value::Int(load(&counts.reloads_refused)),
                ),
            ],
        ),
    ]
}

fn exports(collector: &Collector) -> Vec<Family> {
    let counts = &collector.exports;
    let seconds = |count| Value::Float(load(count) as f64 / NS_PER_S);
    vec![
        labelled(
            &metrics::SCRAPES,
            [
                (
                    &[("outcome", "answered")] as Labels,
                    Value::Int(load(&counts.scrapes)),
                ),
                (
                    &[("outcome", "refused")],
                    Value::Int(load(&counts.scrapes_refused)),
                ),
            ],
        ),
        one(&metrics::SCRAPE_TIME, seconds(&counts.scrape_ns)),
        labelled(
            &metrics::OTLP_REQUESTS,
            [
                (
                    &[("outcome", "sent")] as Labels,
                    Value::Int(load(&counts.otlp_sent)),
                ),
                (
                    &[("outcome", "failed")],
                    Value::Int(load(&counts.otlp_failed)),
                ),
            ],
        ),
        labelled(
            &metrics::OTLP_POINTS,
            [
                (
                    &[("outcome", "sent")] as Labels,
                    Value::Int(load(&counts.otlp_points)),
                ),
                (
                    &[("outcome", "dropped")],
                    Value::Int(load(&counts.otlp_dropped_points)),
                ),
            ],
        ),
        one(&metrics::OTLP_TIME, seconds(&counts.otlp_ns)),
        one(&metrics::OTLP_QUEUE, Value::Int(load(&counts.otlp_queue))),
    ]
}
