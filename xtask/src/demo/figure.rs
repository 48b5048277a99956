//! What the table and the summary say, computed from two readings.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    time::Duration,
};

use serde::Serialize;
use serde_json::json;

use super::{crowd::Experience, scrape::Scrape};

/// Live figures are those of so many last readings.
const WINDOW: usize = 5;

/// A run's first reading and its last ones.
pub(super) struct Run {
    first: Scrape,
    recent: VecDeque<(Scrape, Option<Experience>)>,
}

/// One service between two readings. Durations in seconds; none without a sample.
#[derive(Serialize)]
pub(super) struct Figures {
    pub(super) service: String,
    pub(super) sends: f64,
    pub(super) sends_per_second: f64,
    pub(super) send_p50: Option<f64>,
    pub(super) send_p99: Option<f64>,
    pub(super) delivery_p50: Option<f64>,
    pub(super) delivery_p99: Option<f64>,
    pub(super) rtt_p50: Option<f64>,
    pub(super) retransmits: BTreeMap<String, f64>,
    pub(super) connections_open: f64,
    pub(super) connections_opened: f64,
    pub(super) connections_closed: f64,
    pub(super) bytes_acked: f64,
}

impl Run {
    pub(super) fn begin(first: Scrape) -> Self {
        Self {
            first,
            recent: VecDeque::new(),
        }
    }

    /// Adds a reading, and what the users said of themselves at that time.
    pub(super) fn add(&mut self, scrape: Scrape, experience: Option<Experience>) {
        if self.recent.len() > WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back((scrape, experience));
    }

    /// Figures of the last seconds, the busiest services first.
    pub(super) fn live(&self) -> Vec<Figures> {
        match (self.recent.front(), self.recent.back()) {
            (Some((from, _)), Some((to, _))) if self.recent.len() > 1 => between(from, to),
            _ => self.whole(),
        }
    }

    /// What the users went through: some seconds ago, now, and the seconds between.
    pub(super) fn experience(&self) -> Option<(&Experience, &Experience, f64)> {
        let (from, before) = self.recent.front()?;
        let (to, now) = self.recent.back()?;
        let seconds = (to.at - from.at).as_secs_f64().max(0.001);
        Some((before.as_ref()?, now.as_ref()?, seconds))
    }

    /// Figures of the whole run.
    pub(super) fn whole(&self) -> Vec<Figures> {
        between(&self.first, self.last())
    }

    /// Time since the first reading.
    pub(super) fn age(&self) -> Duration {
        self.last().at - self.first.at
    }

    /// The agent's own cost: share of a core and bytes of memory.
    pub(super) fn cost(&self) -> (f64, f64) {
        let used = |scrape: &Scrape| scrape.sum("weir_agent_cpu_time_seconds_total", &[]);
        let share = (used(self.last()) - used(&self.first)) / self.age().as_secs_f64().max(0.001);
        (share, self.last().sum("weir_agent_memory_bytes", &[]))
    }

    /// The whole run for machines. `kernel` is the kernel's own count of
    /// retransmits in the demo's namespaces around the last reading; older kernels
    /// count with it those that `failed` in the sender's own queue.
    pub(super) fn summary(
        &self,
        url: &str,
        kernel: RangeInclusive<u64>,
        failed: u64,
    ) -> serde_json::Value {
        let (cpu, memory) = self.cost();
        json!({
            "seconds": self.age().as_secs_f64(),
            "metrics_url": url,
            "services": self.whole(),
            "truth": self.recent.back().and_then(|(_, experience)| experience.as_ref()),
            "records_lost": self.last().sum("weir_records_lost_total", &[]),
            "agent": { "cpu_cores": cpu, "memory_bytes": memory },
            "kernel_retransmits": { "at_least": kernel.start(), "at_most": kernel.end(), "failed": failed },
        })
    }

    fn last(&self) -> &Scrape {
        self.recent.back().map_or(&self.first, |(scrape, _)| scrape)
    }
}

fn between(from: &Scrape, to: &Scrape) -> Vec<Figures> {
    let mut figures: Vec<Figures> = to
        .services()
        .iter()
        .map(|service| of_service(from, to, service))
        .collect();
    figures.sort_by(|a, b| b.sends.total_cmp(&a.sends));
    figures
}

fn of_service(from: &Scrape, to: &Scrape, service: &str) -> Figures {
    let by_service = [("service", service)];
    let growth = |name: &str, labels: &[(&str, &str)]| {
        let labels = [&by_service, labels].concat();
        to.sum(name, &labels) - from.sum(name, &labels)
    };
    let quantile = |name: &str, q: f64| {
        let (from, to) = (
            from.buckets(name, &by_service),
            to.buckets(name, &by_service),
        );
        quantile(&difference(&from, &to), q)
    };
    let (send, delivery) = (
        "weir_tcp_send_duration_seconds",
        "weir_tcp_delivery_duration_seconds",
    );
    let sends = growth("weir_tcp_send_duration_seconds_count", &[]);
    let before = from.sum_by("weir_tcp_retransmits_total", &by_service, "kind");
    let mut retransmits = to.sum_by("weir_tcp_retransmits_total", &by_service, "kind");
    for (kind, count) in &mut retransmits {
        *count -= before.get(kind).unwrap_or(&0.0);
    }
    Figures {
        service: service.to_owned(),
        sends,
        sends_per_second: sends / (to.at - from.at).as_secs_f64().max(0.001),
        send_p50: quantile(send, 0.50),
        send_p99: quantile(send, 0.99),
        delivery_p50: quantile(delivery, 0.50),
        delivery_p99: quantile(delivery, 0.99),
        rtt_p50: quantile("weir_tcp_rtt_seconds", 0.50),
        retransmits,
        connections_open: to.sum("weir_tcp_connections_open", &by_service),
        connections_opened: growth("weir_tcp_connections_total", &[("outcome", "opened")]),
        connections_closed: growth("weir_tcp_connections_total", &[("outcome", "closed")]),
        bytes_acked: growth("weir_tcp_acked_bytes_total", &[]),
    }
}

/// Growth of cumulative buckets; a bound that was not there before counts from 0.
fn difference(from: &[(f64, f64)], to: &[(f64, f64)]) -> Vec<(f64, f64)> {
    to.iter()
        .map(|&(bound, count)| {
            let before = from.iter().find(|(known, _)| *known == bound);
            (bound, count - before.map_or(0.0, |(_, count)| *count))
        })
        .collect()
}

/// A quantile of classic buckets, each a power of two: within the bucket it is
/// estimated as if the logarithm were spread evenly, so it may be off by half a
/// bucket. The exact buckets are finer; dashboards use those.
fn quantile(buckets: &[(f64, f64)], q: f64) -> Option<f64> {
    let total = buckets
        .last()
        .map(|(_, count)| *count)
        .filter(|total| *total > 0.0)?;
    let rank = q * total;
    let (mut lower, mut below) = (None, 0.0);
    for &(upper, count) in buckets {
        if count >= rank && count > below {
            if upper.is_infinite() {
                return lower;
            }
            let lower = lower.unwrap_or(upper / 2.0);
            return Some(lower * (upper / lower).powf((rank - below) / (count - below)));
        }
        (lower, below) = (Some(upper), count);
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let buckets = [
            (1.0, 0.0),
            (2.0, 50.0),
            (4.0, 100.0),
            (f64::INFINITY, 100.0),
        ];
        assert_eq!(quantile(&buckets, 0.5), Some(2.0));
        let p99 = quantile(&buckets, 0.99).unwrap();
        assert!(p99 > 2.0 && p99 <= 4.0, "{p99}");
    }

    #[test]
    fn a_quantile_above_the_last_bound_is_that_bound() {
        assert_eq!(
            quantile(&[(1.0, 1.0), (f64::INFINITY, 10.0)], 0.9),
            Some(1.0)
        );
    }

    #[test]
    fn without_samples_there_is_no_quantile() {
        assert_eq!(quantile(&[(1.0, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn figures_are_growth_and_not_totals() {
        let text = |count: u32| {
            format!(
                "weir_tcp_retransmits_total{{service=\"nginx\",kind=\"fast\"}} {count}\n\
                 weir_tcp_send_duration_seconds_count{{service=\"nginx\"}} {count}\n"
            )
        };
        let figures = between(&Scrape::parse(&text(10)), &Scrape::parse(&text(25)));
        assert_eq!(figures[0].sends, 15.0);
        assert_eq!(figures[0].retransmits["fast"], 15.0);
    }
}
