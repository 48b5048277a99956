//! Adds the places of each service up and turns the sums into families.

use std::collections::HashMap;
use std::sync::Arc;

use weir_ebpf::change::Facts;
use weir_ebpf::hist::{SIZE_BUCKETS, SIZE_FIRST, TIME_BUCKETS, TIME_FIRST};
use weir_ebpf::layout::{Flow, Live, Sizes, Stats, Times};

use crate::metrics::change;
use crate::metrics::{self, Family, Histogram, Labels, Metric, Point, Subject, Value};

const NS_PER_S: f64 = 1e9;

/// Points that a service has.
pub(super) const POINTS: usize = 6 + 5 + 2 * 7 + 1 + 8;

/// Sums of each service at one reading, and what no reading may fall below.
#[derive(Default)]
pub(super) struct Sums {
    now: HashMap<Arc<Subject>, Sum>,
    /// What places counted that were taken back while their service goes on.
    retired: HashMap<Arc<Subject>, Box<Stats>>,
    /// The flow last handed out: a connection that closed between two readings of one snapshot is
    /// missing from it, and a counter must not go back for that.
    last: HashMap<Arc<Subject>, Flow>,
}

#[derive(Clone)]
struct Sum {
    stats: Box<Stats>,
    flow: Flow,
    open: u64,
}

impl Sums {
    /// Begins a reading.
    pub(super) fn begin(&mut self) {
        self.now.clear();
        for (subject, stats) in &self.retired {
            let sum = Sum {
                stats: stats.clone(),
                flow: stats.closed,
                open: 0,
            };
            self.now.insert(subject.clone(), sum);
        }
    }

    /// Adds a place.
    pub(super) fn add(&mut self, subject: Arc<Subject>, stats: &Stats, live: &Live) {
        let sum = self.now.entry(subject).or_insert_with(|| Sum {
            stats: Box::new(Stats::ZERO),
            flow: Flow::default(),
            open: 0,
        });
        sum.stats.add(stats);
        sum.flow.add(&stats.closed);
        sum.flow.add(&live.flow);
        sum.open += live.open;
    }

    /// Keeps what a place counted that is taken back, as long as its service is there.
    pub(super) fn retire(&mut self, subject: Arc<Subject>, stats: &Stats, goes_on: bool) {
        if goes_on {
            self.retired
                .entry(subject)
                .or_insert_with(|| Box::new(Stats::ZERO))
                .add(stats);
        } else {
            self.retired.remove(&subject);
            self.last.remove(&subject);
        }
    }

    /// Follows subjects that are labelled anew. What several have become one adds up.
    pub(super) fn rename(&mut self, became: &HashMap<Arc<Subject>, Arc<Subject>>) {
        if became.is_empty() {
            return;
        }
        // Whose counters go on under other labels begins anew in the eyes of any receiver.
        self.last.clear();
        for (subject, stats) in std::mem::take(&mut self.retired) {
            if let Some(subject) = became.get(&subject) {
                self.retire(subject.clone(), &stats, true);
            }
        }
    }

    /// Families of all services. `tick` is the length of the kernel's tick in seconds.
    pub(super) fn families(&mut self, tick: f64) -> Vec<Family> {
        let mut out = Families::default();
        for (subject, sum) in &self.now {
            let last = self.last.entry(subject.clone()).or_default();
            let flow = not_below(&sum.flow, last);
            *last = flow;
            out.service(subject, sum, &flow, tick);
        }
        self.last
            .retain(|subject, _| self.now.contains_key(subject));
        out.0
    }

    /// Adds the families of one service that facts change. `stats` are those of all its places, `open`
    /// is what its open connections add up to; without it, what rests on them is left out.
    pub(super) fn changed(
        &mut self,
        subject: &Arc<Subject>,
        mut stats: Box<Stats>,
        open: Option<&Flow>,
        facts: Facts,
        out: &mut Families,
    ) {
        if let Some(retired) = self.retired.get(subject) {
            stats.add(retired);
        }
        let moves = |metric| change::facts_of(metric).shares(facts);
        if moves(&metrics::TCP_RETRANSMITS) {
            out.retransmits(subject, &stats);
        }
        if moves(&metrics::TCP_CONNECTIONS) {
            out.connections(subject, &stats);
        }
        let Some(open) = open else { return };
        let mut flow = stats.closed;
        flow.add(open);
        let last = self.last.entry(subject.clone()).or_default();
        *last = not_below(&flow, last);
        if moves(&metrics::TCP_RETRANSMITS_SPURIOUS) {
            out.needless(subject, last, &stats);
        }
        if moves(&metrics::TCP_ZERO_WINDOW_TIME) {
            out.zero_window(subject, last);
        }
    }
}

fn not_below(now: &Flow, last: &Flow) -> Flow {
    Flow {
        sent: now.sent.max(last.sent),
        received: now.received.max(last.received),
        acked: now.acked.max(last.acked),
        busy: now.busy.max(last.busy),
        rwnd_limited: now.rwnd_limited.max(last.rwnd_limited),
        sndbuf_limited: now.sndbuf_limited.max(last.sndbuf_limited),
        dsacks: now.dsacks.max(last.dsacks),
        zero_window_ns: now.zero_window_ns.max(last.zero_window_ns),
    }
}

/// Labels of the retransmit counters, in the order of `weir_ebpf::tcp::Retransmit`.
const KINDS: [Labels; 5] = [
    &[("kind", "rto")],
    &[("kind", "fast")],
    &[("kind", "tlp")],
    &[("kind", "syn")],
    &[("kind", "synack")],
];

/// Labels of the connection counters, in the order of `weir_ebpf::tcp::Role` and `Outcome`. What
/// cannot be is left out: a listener's child is established or reset.
macro_rules! outcomes {
    ($role:literal: $($outcome:literal),*) => { [$( &[("role", $role), ("outcome", $outcome)] ),*] };
}
const CONNECTED: [Labels; 7] = outcomes!("connected": "opened", "closed", "refused", "timed_out", "reset", "unreachable", "aborted");
const ACCEPTED: [Labels; 7] = outcomes!("accepted": "opened", "closed", "refused", "timed_out", "reset", "unreachable", "aborted");

/// Families that grow by points.
#[derive(Default)]
pub(super) struct Families(pub(super) Vec<Family>);

impl Families {
    fn push(
        &mut self,
        metric: &'static Metric,
        subject: &Arc<Subject>,
        labels: Labels,
        value: Value,
    ) {
        let point = Point {
            subject: subject.clone(),
            labels,
            value,
        };
        match self
            .0
            .iter_mut()
            .find(|family| std::ptr::eq(family.metric, metric))
        {
            Some(family) => family.points.push(point),
            None => self.0.push(Family {
                metric,
                points: vec![point],
            }),
        }
    }

    fn service(&mut self, subject: &Arc<Subject>, sum: &Sum, flow: &Flow, tick: f64) {
        let stats = &sum.stats;
        for (metric, times) in [
            (&metrics::TCP_SEND_DURATION, &stats.send),
            (&metrics::TCP_DELIVERY_DURATION, &stats.delivery),
            (&metrics::TCP_RTT, &stats.rtt),
            (&metrics::TCP_CONNECTION_DURATION, &stats.life),
            (&metrics::SCHED_DELAY, &stats.sched),
        ] {
            self.push(metric, subject, &[], Value::Histogram(of_times(times)));
        }
        self.push(
            &metrics::TCP_SEND_QUEUE,
            subject,
            &[],
            Value::Histogram(of_sizes(&stats.queue)),
        );
        self.retransmits(subject, stats);
        self.connections(subject, stats);
        self.push(&metrics::TCP_OPEN, subject, &[], Value::Int(sum.open));
        self.flow(subject, flow, tick);
        self.needless(subject, flow, stats);
        self.zero_window(subject, flow);
    }

    fn retransmits(&mut self, subject: &Arc<Subject>, stats: &Stats) {
        for (labels, segments) in KINDS.into_iter().zip(stats.retransmits) {
            self.push(
                &metrics::TCP_RETRANSMITS,
                subject,
                labels,
                Value::Int(segments),
            );
        }
    }

    fn connections(&mut self, subject: &Arc<Subject>, stats: &Stats) {
        for (labels, of_role) in [CONNECTED, ACCEPTED].into_iter().zip(&stats.connections) {
            for (labels, connections) in labels.into_iter().zip(of_role) {
                self.push(
                    &metrics::TCP_CONNECTIONS,
                    subject,
                    labels,
                    Value::Int(*connections),
                );
            }
        }
    }

    fn needless(&mut self, subject: &Arc<Subject>, flow: &Flow, stats: &Stats) {
        let segments = Value::Int(flow.dsacks + stats.undone);
        self.push(&metrics::TCP_RETRANSMITS_SPURIOUS, subject, &[], segments);
    }

    fn zero_window(&mut self, subject: &Arc<Subject>, flow: &Flow) {
        let seconds = Value::Float(flow.zero_window_ns as f64 / NS_PER_S);
        self.push(&metrics::TCP_ZERO_WINDOW_TIME, subject, &[], seconds);
    }

    fn flow(&mut self, subject: &Arc<Subject>, flow: &Flow, tick: f64) {
        let seconds = |ticks: u64| Value::Float(ticks as f64 * tick);
        let values: [(&'static Metric, Labels, Value); 6] = [
            (
                &metrics::TCP_IO,
                &[("direction", "transmit")],
                Value::Int(flow.sent),
            ),
            (
                &metrics::TCP_IO,
                &[("direction", "receive")],
                Value::Int(flow.received),
            ),
            (&metrics::TCP_ACKED, &[], Value::Int(flow.acked)),
            (
                &metrics::TCP_LIMITED_TIME,
                &[("limit", "busy")],
                seconds(flow.busy),
            ),
            (
                &metrics::TCP_LIMITED_TIME,
                &[("limit", "receive_window")],
                seconds(flow.rwnd_limited),
            ),
            (
                &metrics::TCP_LIMITED_TIME,
                &[("limit", "send_buffer")],
                seconds(flow.sndbuf_limited),
            ),
        ];
        for (metric, labels, value) in values {
            self.push(metric, subject, labels, value);
        }
    }
}

/// Kernel buckets of times as an exponential histogram.
fn of_times(times: &Times) -> Histogram {
    const { assert!(times_fit()) };
    dense(
        &times.buckets,
        3,
        TIME_FIRST,
        times.sum_ns as f64 / NS_PER_S,
    )
}

const fn times_fit() -> bool {
    TIME_FIRST == -20 * 8 && TIME_BUCKETS == 27 * 8 + 2 && SIZE_FIRST == 8 && SIZE_BUCKETS == 22
}

/// Kernel buckets of sizes as an exponential histogram.
fn of_sizes(sizes: &Sizes) -> Histogram {
    dense(&sizes.buckets, 0, SIZE_FIRST, sizes.sum as f64)
}

/// Bucket 0 is the zero bucket, bucket 1 has the index `first`.
fn dense(buckets: &[u64], scale: i32, first: i32, sum: f64) -> Histogram {
    let counts = buckets.get(1..).unwrap_or_default();
    let begin = counts.iter().position(|n| *n != 0).unwrap_or(0);
    let end = counts
        .iter()
        .rposition(|n| *n != 0)
        .map_or(begin, |last| last + 1);
    Histogram {
        scale,
        zero_threshold: (f64::from(first) / f64::from(1 << scale)).exp2(),
        zero_count: buckets.first().copied().unwrap_or(0),
        first: first + i32::try_from(begin).unwrap_or(0),
        counts: counts.get(begin..end).unwrap_or_default().to_vec(),
        sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_ebpf::change::Fact;
    use weir_ebpf::hist::time_bucket;

    fn times(values_ns: &[u64]) -> Times {
        let mut times = Stats::ZERO.send;
        for ns in values_ns {
            times.buckets[time_bucket(*ns)] += 1;
            times.sum_ns += ns;
        }
        times
    }

    #[test]
    fn classic_bounds_hold_exactly_what_is_not_above_them() {
        let values = [
            0,
            953,
            954,
            1_000_000,
            500_000_000,
            500_000_001,
            1_000_000_000,
            200_000_000_000,
        ];
        let histogram = of_times(&times(&values));
        assert_eq!(histogram.count(), values.len() as u64);
        for (bound, count) in histogram.classic(-20, 7) {
            let expected = values
                .iter()
                .filter(|ns| **ns as f64 <= bound * 1e9)
                .count();
            assert_eq!(count, expected as u64, "le {bound}");
        }
    }

    #[test]
    fn an_empty_histogram_has_no_buckets() {
        let histogram = of_times(&times(&[]));
        assert_eq!((histogram.count(), histogram.counts.len()), (0, 0));
    }

    #[test]
    fn a_service_has_its_points() {
        let mut sums = Sums::default();
        sums.begin();
        sums.add(Arc::default(), &Stats::ZERO, &Live::default());
        let families = sums.families(0.004);
        let points: usize = families.iter().map(|family| family.points.len()).sum();
        assert_eq!(points, POINTS);
    }

    #[test]
    fn a_service_read_by_itself_has_the_numbers_of_a_snapshot_and_no_others() {
        let subject = Arc::new(Subject::default());
        let mut stats = Stats::ZERO;
        stats.retransmits = [1, 2, 3, 4, 5];
        stats.connections[0][2] = 6;
        (stats.undone, stats.closed.zero_window_ns) = (7, 8);
        let mut live = Live::default();
        (live.flow.dsacks, live.flow.zero_window_ns) = (9, 10);
        let mut sums = Sums::default();
        sums.retire(subject.clone(), &stats, true);
        sums.begin();
        sums.add(subject.clone(), &stats, &live);
        let all = sums.families(0.004);
        for fact in Fact::ALL {
            let (mut part, place) = (Families::default(), Box::new(stats));
            sums.changed(&subject, place, Some(&live.flow), fact.into(), &mut part);
            assert_eq!(part.0.len(), 1, "{fact:?}");
            let part = &part.0[0];
            let mut of_all = all.iter();
            let of_all = of_all.find(|family| std::ptr::eq(family.metric, part.metric));
            let values = |family: &Family| -> Vec<_> {
                let points = family.points.iter();
                points
                    .map(|point| (point.labels, point.value.clone()))
                    .collect()
            };
            assert_eq!(values(part), values(of_all.unwrap()), "{fact:?}");
        }
        let mut part = Families::default();
        let facts = Fact::ALL.into_iter().collect();
        sums.changed(&subject, Box::new(stats), None, facts, &mut part);
        assert_eq!(part.0.len(), 2, "what rests on open sockets is left out");
    }

    #[test]
    fn what_was_retired_follows_new_labels_and_adds_up() {
        let subject = |name: &str| {
            Arc::new(Subject {
                labels: vec![("service", name.to_owned())],
            })
        };
        let mut stats = Stats::ZERO;
        stats.retransmits[0] = 3;
        let mut sums = Sums::default();
        sums.retire(subject("a"), &stats, true);
        sums.retire(subject("b"), &stats, true);
        let became = [("a", "c"), ("b", "c")].map(|(old, new)| (subject(old), subject(new)));
        sums.rename(&HashMap::from(became));
        assert_eq!(sums.retired.len(), 1);
        assert_eq!(sums.retired[&subject("c")].retransmits[0], 6);
    }

    #[test]
    fn counters_never_go_back() {
        let subject = Arc::new(Subject::default());
        let mut sums = Sums::default();
        let acked = |sums: &mut Sums| {
            let families = sums.families(0.004);
            let family = families
                .iter()
                .find(|family| std::ptr::eq(family.metric, &metrics::TCP_ACKED));
            family.unwrap().points[0].value.clone()
        };
        let mut live = Live::default();
        live.flow.acked = 100;
        sums.begin();
        sums.add(subject.clone(), &Stats::ZERO, &live);
        assert_eq!(acked(&mut sums), Value::Int(100));
        // The connection closed after STATS was read and before the walk.
        sums.begin();
        sums.add(subject.clone(), &Stats::ZERO, &Live::default());
        assert_eq!(acked(&mut sums), Value::Int(100));
        let mut stats = Stats::ZERO;
        stats.closed.acked = 120;
        sums.begin();
        sums.add(subject, &stats, &Live::default());
        assert_eq!(acked(&mut sums), Value::Int(120));
    }
}
