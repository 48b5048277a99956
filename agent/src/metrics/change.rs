//! Which rare facts of the kernel change which series, so that rules that select them can be evaluated
//! when one happens. What is not in this table is frequent, or the agent's own: it changes between
//! two periodic evaluations without being told of.

use std::fmt;

use weir_ebpf::change::{Fact, Facts};
use weir_promql::matcher::Matcher;

use super::{
    Labels, Metric, TCP_CONNECTIONS, TCP_RETRANSMITS, TCP_RETRANSMITS_SPURIOUS,
    TCP_ZERO_WINDOW_TIME,
};

/// One series of every service, and the fact that changes it.
#[derive(Debug)]
pub struct Change {
    /// What it is a series of.
    pub metric: &'static Metric,
    /// Its labels besides the service's.
    pub labels: Labels,
    /// When this happens, it changes.
    pub fact: Fact,
}

/// As a selector writes it.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.metric.prometheus_name())?;
        for (at, (name, value)) in self.labels.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if at > 0 { ", " } else { "{" })?;
        }
        f.write_str(if self.labels.is_empty() { "" } else { "}" })
    }
}

const fn row(metric: &'static Metric, labels: Labels, fact: Fact) -> Change {
    Change {
        metric,
        labels,
        fact,
    }
}

macro_rules! failed {
    ($role:literal, $outcome:literal, $fact:ident) => {
        row(
            &TCP_CONNECTIONS,
            &[("role", $role), ("outcome", $outcome)],
            Fact::$fact,
        )
    };
}

/// All of them. Zero-window time goes on to grow after the fact, and a needless retransmission that is
/// reported after its episode is not told of: for these the periodic evaluation has the whole.
pub static CHANGES: &[Change] = &[
    row(&TCP_RETRANSMITS, &[("kind", "rto")], Fact::RetransmitRto),
    row(&TCP_RETRANSMITS, &[("kind", "fast")], Fact::RetransmitFast),
    row(&TCP_RETRANSMITS, &[("kind", "tlp")], Fact::RetransmitTlp),
    row(&TCP_RETRANSMITS, &[("kind", "syn")], Fact::RetransmitSyn),
    row(
        &TCP_RETRANSMITS,
        &[("kind", "synack")],
        Fact::RetransmitSynack,
    ),
    row(&TCP_RETRANSMITS_SPURIOUS, &[], Fact::Needless),
    row(&TCP_ZERO_WINDOW_TIME, &[], Fact::ZeroWindow),
    failed!("connected", "refused", Refused),
    failed!("connected", "timed_out", TimedOut),
    failed!("connected", "reset", Reset),
    failed!("connected", "unreachable", Unreachable),
    failed!("connected", "aborted", Aborted),
    failed!("accepted", "refused", Refused),
    failed!("accepted", "timed_out", TimedOut),
    failed!("accepted", "reset", Reset),
];

/// Facts that rest on the sockets' own counters, which have to be summed up anew to see them.
pub const OF_SOCKETS: Facts = Facts(1 << Fact::Needless as u32 | 1 << Fact::ZeroWindow as u32);

/// Facts that change a metric.
pub fn facts_of(metric: &Metric) -> Facts {
    let rows = CHANGES
        .iter()
        .filter(|row| std::ptr::eq(row.metric, metric));
    rows.map(|row| row.fact).collect()
}

/// Facts that change what a selector selects, of whatever service.
pub fn facts_selected(matchers: &[Matcher]) -> Facts {
    let rows = CHANGES.iter().filter(|row| is_selected(row, matchers));
    rows.map(|row| row.fact).collect()
}

/// Whether a service may have labels with which this series is selected.
fn is_selected(row: &Change, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| {
        if matcher.name == "__name__" {
            return matcher.matches(&row.metric.prometheus_name());
        }
        let label = row.labels.iter().find(|(name, _)| *name == matcher.name);
        label.is_none_or(|(_, value)| matcher.matches(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::ALL;
    use weir_promql::matcher::MatchOp;

    fn selected(pairs: &[(&str, MatchOp, &str)]) -> Vec<Fact> {
        let matchers = pairs.iter();
        let matchers = matchers.map(|(name, op, value)| Matcher::new(name, *op, value).unwrap());
        let facts = facts_selected(&matchers.collect::<Vec<_>>());
        let all = Fact::ALL.into_iter();
        all.filter(|fact| facts.has(*fact)).collect()
    }

    const RETRANSMITS: (&str, MatchOp, &str) =
        ("__name__", MatchOp::Equal, "weir_tcp_retransmits_total");

    #[test]
    fn every_fact_changes_a_metric_of_the_table_with_its_labels() {
        for fact in Fact::ALL {
            assert!(CHANGES.iter().any(|row| row.fact == fact), "{fact:?}");
        }
        for row in CHANGES {
            let names: Vec<_> = row.labels.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, row.metric.labels, "{}", row.metric.name);
            assert!(ALL.iter().any(|metric| std::ptr::eq(*metric, row.metric)));
        }
    }

    #[test]
    fn a_selector_asks_for_the_facts_that_change_what_it_selects() {
        assert_eq!(selected(&[RETRANSMITS]), &Fact::ALL[..5]);
        let service = ("service", MatchOp::Equal, "nginx");
        let kind = ("kind", MatchOp::Regex, "rto|tlp");
        assert_eq!(
            selected(&[RETRANSMITS, kind, service]),
            [Fact::RetransmitRto, Fact::RetransmitTlp]
        );
        let zero = (
            "__name__",
            MatchOp::Equal,
            "weir_tcp_zero_window_time_seconds_total",
        );
        assert_eq!(selected(&[zero]), [Fact::ZeroWindow]);
        assert_eq!(selected(&[]), Fact::ALL);
    }

    #[test]
    fn what_is_frequent_asks_for_nothing() {
        let connections = ("__name__", MatchOp::Equal, "weir_tcp_connections_total");
        let opened = ("outcome", MatchOp::Equal, "opened");
        assert_eq!(selected(&[connections, opened]), []);
        let sends = ("__name__", MatchOp::Regex, "weir_tcp_(send|acked).*");
        assert_eq!(selected(&[sends]), []);
    }
}
