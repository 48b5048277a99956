//! The series, their values in the course of time, and the rules that read them: 50 metrics of
//! 1,000 series, 20 rules for each metric.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Metrics; every fifth is a gauge, the others are counters.
const METRICS: usize = 50;
const SERVICES: usize = 50;
const GROUPS: usize = 5;

/// Series of one metric and service: both directions, both kinds, all groups.
const NEAR: usize = GROUPS * 4;

/// One series: its number tells all.
#[derive(Clone, Copy)]
pub(crate) struct Series(u32);

fn name(metric: usize) -> String {
    if is_counter(metric) {
        format!("bench_m{metric:02}_total")
    } else {
        format!("bench_m{metric:02}")
    }
}

fn is_counter(metric: usize) -> bool {
    !metric.is_multiple_of(5)
}

/// All series, always in the same order.
pub(crate) fn series() -> impl Iterator<Item = Series> {
    let all = METRICS * SERVICES * NEAR;
    (0..u32::try_from(all).unwrap()).map(Series)
}

impl Series {
    fn number(self) -> usize {
        self.0 as usize
    }

    fn metric(self) -> usize {
        self.number() / (SERVICES * NEAR)
    }

    /// The metric's name.
    pub(crate) fn name(self) -> String {
        name(self.metric())
    }

    /// Label names and values, in order of names.
    pub(crate) fn labels(self) -> [(&'static str, String); 4] {
        let rest = self.number() % NEAR;
        let is_received = (rest / GROUPS).is_multiple_of(2);
        let direction = if is_received { "receive" } else { "transmit" };
        let kind = if rest < NEAR / 2 { "fast" } else { "rto" };
        let service = self.number() / NEAR % SERVICES;
        [
            ("direction", direction.to_owned()),
            ("kind", kind.to_owned()),
            ("peer_group", format!("group-{}", rest % GROUPS)),
            ("service", format!("service-{service}")),
        ]
    }

    /// Its value in an interval. A third stands still, as most series of a node do.
    pub(crate) fn value(self, interval: u64) -> f64 {
        let wave = (interval.wrapping_mul(7) + u64::from(self.0) * 13) % 100;
        match (is_counter(self.metric()), self.number() % 3) {
            (_, 0) => (self.number() % 1_000) as f64,
            (true, step) => (interval % 1_000_000 * step as u64 * 1_500 + wave) as f64,
            (false, _) => wave as f64 / 8.0,
        }
    }
}

/// The number of the interval that runs now.
pub(crate) fn interval_now(interval: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs() / interval.as_secs()
}

/// The rules: for each metric two recorded sums and an alert over all its series, one over half of
/// them, and 16 alerts over the 20 series of one service, of which four fire. Ranges are 20 intervals.
pub(crate) fn rules(interval: Duration) -> String {
    let (every, long) = (interval.as_secs(), interval.as_secs() * 20);
    let mut out = "groups:\n".to_owned();
    for metric in 0..METRICS {
        let name = name(metric);
        let read = |matchers: &str| {
            if is_counter(metric) {
                format!("rate({name}{matchers}[{long}s])")
            } else {
                format!("{name}{matchers}")
            }
        };
        let _ = writeln!(out, "- name: m{metric}\n  interval: {every}s\n  rules:");
        for label in ["service", "peer_group"] {
            let all = read("");
            let _ = writeln!(out, "  - record: {label}:bench_m{metric:02}:sum");
            let _ = writeln!(out, "    expr: sum by ({label}) ({all})");
        }
        let (all, half) = (read(""), read("{direction=\"transmit\"}"));
        alert(&mut out, "All", &format!("max by (service) ({all}) > 1e12"));
        alert(&mut out, "Half", &format!("sum by (kind) ({half}) > 1e12"));
        for rule in 0..16 {
            let service = (metric + rule * 3) % SERVICES;
            let one = read(&format!("{{service=\"service-{service}\"}}"));
            let most = if rule % 4 == 0 { "0" } else { "1e12" };
            let expr = format!("sum by (service, peer_group) ({one}) > {most}");
            alert(&mut out, &format!("One{rule}"), &expr);
        }
    }
    out
}

fn alert(out: &mut String, name: &str, expr: &str) {
    let _ = writeln!(out, "  - alert: {name}\n    expr: {expr}\n    for: 1m");
    let _ = writeln!(out, "    labels: {{severity: warning}}");
    let _ = writeln!(
        out,
        "    annotations: {{summary: '{{{{ $labels.service }}}} is at {{{{ $value | humanize }}}}'}}"
    );
}
