//! Sums and distributions of a run, as JSON and as a table for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::truth::{Event, Reason, Role};

/// What happened altogether.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    counts: BTreeMap<&'static str, u64>,
    reasons: BTreeMap<String, u64>,
    spreads: BTreeMap<&'static str, Spread>,
}

/// A distribution of times, kept in microseconds to three digits.
#[derive(Debug)]
pub(crate) struct Spread(Histogram<u64>);

impl Default for Spread {
    fn default() -> Self {
        // Three digits are within what the crate takes; the range grows by itself.
        Self(Histogram::new(3).expect("three significant digits are valid"))
    }
}

impl Spread {
    /// Adds one time.
    pub(crate) fn add_ms(&mut self, ms: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "`as` saturates; negative counts as none"
        )]
        let us = (ms * 1e3) as u64;
        // It grows by itself up to what memory holds; hours fit easily.
        let _fits = self.0.record(us.min(1 << 40));
    }

    /// Adds all of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        // Both grow by themselves, so everything fits.
        let _fits = self.0.add(&other.0);
    }

    fn line(&self) -> Line {
        let ms = |share: f64| thousandth(self.0.value_at_quantile(share));
        Line {
            count: self.0.len(),
            min_ms: thousandth(self.0.min()),
            p50_ms: ms(0.5),
            p90_ms: ms(0.9),
            p99_ms: ms(0.99),
            max_ms: thousandth(self.0.max()),
        }
    }
}

/// A distribution in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Line {
    pub(crate) count: u64,
    pub(crate) min_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds of a run fit 53 bits"
)]
fn thousandth(us: u64) -> f64 {
    us as f64 / 1e3
}

impl Summary {
    /// Adds what a line of the truth tells.
    pub(crate) fn add(&mut self, role: Role, event: &Event) {
        match event {
            Event::Start { late_ms, .. } => {
                self.count(
                    match role {
                        Role::Player => "players",
                        Role::Chatter => "chatters",
                        Role::Gamer => "gamers",
                    },
                    1,
                );
                self.spread("arrival_late").add_ms(*late_ms);
            }
            Event::Startup { ms, latency_s, .. } => {
                self.spread("startup").add_ms(*ms);
                if let Some(latency_s) = latency_s {
                    self.spread("latency_at_start").add_ms(latency_s * 1e3);
                }
            }
            Event::Level {
                latency_s: Some(latency_s),
                ..
            } => self.spread("latency").add_ms(latency_s * 1e3),
            Event::StallEnd { duration_ms, .. } => self.spread("stall").add_ms(*duration_ms),
            Event::LatePart { late_ms, .. } => self.spread("part_lateness").add_ms(*late_ms),
            Event::Gap { ms, .. } => self.spread("gap").add_ms(*ms),
            Event::Seeked { ms } => self.spread("seek").add_ms(*ms),
            Event::Failure { reason, .. } => self.reason("failure", *reason),
            Event::Disconnect { reason, .. } => self.reason("disconnect", *reason),
            Event::End {
                stalls,
                switches,
                parts,
                late_parts,
                bytes,
                sent,
                received,
                ..
            } => {
                self.count("ended", 1);
                self.count("stalls", u64::from(*stalls));
                self.count("switches", u64::from(*switches));
                self.count("parts", *parts);
                self.count("late_parts", *late_parts);
                self.count("bytes", *bytes);
                self.count("sent", *sent);
                self.count("received", *received);
            }
            _ => {}
        }
    }

    /// A distribution by name, made if need be.
    pub(crate) fn spread(&mut self, name: &'static str) -> &mut Spread {
        self.spreads.entry(name).or_default()
    }

    /// Adds to a counter.
    pub(crate) fn count(&mut self, name: &'static str, more: u64) {
        *self.counts.entry(name).or_default() += more;
    }

    fn reason(&mut self, what: &str, reason: Reason) {
        let reason = format!("{reason:?}");
        *self
            .reasons
            .entry(format!("{what} {}", reason.to_lowercase()))
            .or_default() += 1;
    }

    /// As one JSON object: `counts`, `reasons`, `times_ms`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let times: BTreeMap<_, _> = self
            .spreads
            .iter()
            .map(|(name, spread)| (*name, spread.line()))
            .collect();
        serde_json::json!({ "counts": self.counts, "reasons": self.reasons, "times_ms": times })
    }

    /// For people.
    pub(crate) fn to_table(&self) -> String {
        let mut table = String::new();
        // Writing to a string cannot fail.
        for (name, count) in self.counts.iter().filter(|(_, count)| **count > 0) {
            let _ = writeln!(table, "{name:<24}{count:>12}");
        }
        for (name, count) in &self.reasons {
            let _ = writeln!(table, "{name:<24}{count:>12}");
        }
        if !self.spreads.is_empty() {
            let _ = writeln!(
                table,
                "{:<24}{:>12}{:>12}{:>12}{:>12}{:>12}",
                "ms", "count", "p50", "p90", "p99", "max"
            );
        }
        for (name, spread) in &self.spreads {
            let Line {
                count,
                p50_ms,
                p90_ms,
                p99_ms,
                max_ms,
                ..
            } = spread.line();
            let _ = writeln!(
                table,
                "{name:<24}{count:>12}{p50_ms:>12.1}{p90_ms:>12.1}{p99_ms:>12.1}{max_ms:>12.1}"
            );
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_truth_add_up() {
        let mut summary = Summary::default();
        for ms in [100.0, 200.0, 300.0] {
            summary.add(
                Role::Player,
                &Event::Startup {
                    ms,
                    latency_s: None,
                    rung_bps: 1,
                },
            );
        }
        summary.add(
            Role::Player,
            &Event::Failure {
                what: "x".into(),
                reason: Reason::Refused,
                detail: String::new(),
            },
        );
        let json = summary.to_json();
        assert_eq!(json["times_ms"]["startup"]["count"], 3);
        let median = json["times_ms"]["startup"]["p50_ms"].as_f64().unwrap();
        assert!((median - 200.0).abs() < 0.5, "{median}");
        assert_eq!(json["reasons"]["failure refused"], 1);
        assert!(summary.to_table().contains("startup"));
    }
}
