//! Why a service's streams suffer, as far as the kernel's counters tell: what a page carries beside
//! the rule's own words.
//!
//! The evidence is what was counted in the rule's window. Causes are ranked by the time that they
//! made somebody wait: measured where the kernel measures it, else the least that its timers allow.
//! What has no evidence is said to be unknown, never guessed.

pub mod ledger;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use weir_promql::labels::Labels;

use super::duration::shown;
use super::page::Pairs;
use crate::metrics::Subject;
use ledger::{Fact, Ledger, Totals};

/// Annotation with the causes, the greatest first.
pub const CAUSES: &str = "weir_causes";
/// Annotation with the services that suffer most, if the alert does not name one.
pub const SERVICES: &str = "weir_services";
/// Annotation with the groups of peers that suffer most, if the alert does not name one.
pub const PEER_GROUPS: &str = "weir_peer_groups";

/// Most of anything that is named.
const MOST: usize = 3;
/// Least timeout of a retransmission (`TCP_RTO_MIN`), seconds.
const LEAST_TIMEOUT_S: f64 = 0.2;
/// First timeout of a handshake (`TCP_TIMEOUT_INIT`, RFC 6298 section 2), seconds.
const HANDSHAKE_TIMEOUT_S: f64 = 1.0;
/// Waits below this are not worth a word, seconds.
const LEAST_WAIT_S: f64 = 0.01;
/// Round trips are long if they are so many times as long as before, and by so many seconds.
const LONGER: (f64, f64) = (2.0, 0.02);
/// Fewest round trips to be compared.
const ROUND_TRIPS: f64 = 10.0;
/// Threads wait for a processor if they do so for this part of the window.
const STARVED: f64 = 0.1;

/// Something that made somebody wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// One word, from a closed list.
    pub name: &'static str,
    /// The evidence, for people.
    pub told: String,
    /// How long it made wait, at least, over all connections.
    pub seconds: f64,
}

/// The causes that counts of a window speak for, the greatest first. `before` are the counts from
/// before the window, with which round trips are compared.
pub fn causes(counts: &Totals, before: &Totals, window_ms: i64) -> Vec<Cause> {
    let of = |fact: Fact| counts.get(fact);
    let mut causes = Vec::new();
    let mut add = |name, seconds: f64, told: &dyn Fn() -> String| {
        if seconds >= LEAST_WAIT_S {
            causes.push(Cause {
                name,
                told: told(),
                seconds,
            });
        }
    };
    let shut = of(Fact::ZeroWindow);
    add("receiver_window", shut, &|| {
        format!("peers' windows were shut for {shut:.1} s")
    });
    let timeouts = of(Fact::Rto);
    add("loss_timeout", timeouts * LEAST_TIMEOUT_S, &|| {
        format!("{} sent again after a timeout", segments(timeouts))
    });
    let repaired = of(Fact::Fast) + of(Fact::Tlp);
    let round_trip = counts.round_trip().or(before.round_trip());
    let wait = round_trip.unwrap_or(0.0).max(LEAST_WAIT_S);
    add("tail_loss", repaired * wait, &|| {
        let again = format!("{} sent again in time", segments(repaired));
        match of(Fact::Needless) {
            0.0 => again,
            needless => format!("{again}, {needless} needlessly"),
        }
    });
    let handshakes = of(Fact::Syn) + of(Fact::Synack);
    add("handshake_loss", handshakes * HANDSHAKE_TIMEOUT_S, &|| {
        format!("{} of handshakes sent again", segments(handshakes))
    });
    let failed = Fact::FAILED.map(|(fact, word)| (of(fact), word));
    let all: f64 = failed.iter().map(|(count, _)| count).sum();
    // Who is refused waits before trying again: as long as a handshake does.
    add("connections", all * HANDSHAKE_TIMEOUT_S, &|| {
        failures(&failed)
    });
    if let Some((seconds, told)) = path_delay(counts, before) {
        add("path_delay", seconds, &|| told.clone());
    }
    let waited = of(Fact::Sched);
    if waited >= STARVED * window_ms as f64 / 1e3 {
        add("cpu_starved", waited, &|| {
            format!("threads waited {waited:.1} s for a processor")
        });
    }
    causes.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    causes
}

fn failures(failed: &[(f64, &str)]) -> String {
    let parts = failed.iter().filter(|(count, _)| *count > 0.0);
    let parts: Vec<_> = parts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    format!("connections failed: {}", parts.join(", "))
}

fn segments(count: f64) -> String {
    let word = if count == 1.0 { "segment" } else { "segments" };
    format!("{count} {word}")
}

/// Round trips that take longer than before: what they took more, and how to say it.
fn path_delay(counts: &Totals, before: &Totals) -> Option<(f64, String)> {
    let enough = |totals: &Totals| totals.get(Fact::RoundTrips) >= ROUND_TRIPS;
    let (now, was) = (counts.round_trip()?, before.round_trip()?);
    let (times, seconds) = LONGER;
    let is_longer = enough(counts) && enough(before) && now > was * times && now > was + seconds;
    is_longer.then(|| {
        let told = format!(
            "round trips took {:.0} ms, before {:.0} ms",
            now * 1e3,
            was * 1e3
        );
        ((now - was) * counts.get(Fact::RoundTrips), told)
    })
}

/// What a page about an alert with these labels says, if it is about services that are known.
/// Counts are those of the `window_ms` before now.
pub fn annotations(ledger: &Ledger, alert: &Labels, window_ms: i64) -> Pairs {
    let mut all = (Totals::default(), Totals::default());
    let (mut services, mut groups) = (BTreeMap::new(), BTreeMap::new());
    let mut is_known = false;
    for (subject, counts, before) in ledger.of(alert, window_ms) {
        is_known = true;
        all.0.add(&counts);
        all.1.add(&before);
        let causes = causes(&counts, &before, window_ms);
        let seconds: f64 = causes.iter().map(|cause| cause.seconds).sum();
        for (label, sums) in [("service", &mut services), ("peer_group", &mut groups)] {
            if let Some(name) = label_of(subject, label) {
                *sums.entry(name.to_owned()).or_insert(0.0) += seconds;
            }
        }
    }
    let mut pairs = Pairs::new();
    if !is_known {
        return pairs;
    }
    let causes = causes(&all.0, &all.1, window_ms);
    pairs.insert(CAUSES.to_owned(), told(&causes, window_ms));
    for (label, key, sums) in [
        ("service", SERVICES, services),
        ("peer_group", PEER_GROUPS, groups),
    ] {
        if alert.get(label).is_empty()
            && let Some(text) = shares(&sums)
        {
            pairs.insert(key.to_owned(), text);
        }
    }
    pairs
}

fn told(causes: &[Cause], window_ms: i64) -> String {
    if causes.is_empty() {
        let window = shown(window_ms);
        return format!(
            "unknown: no loss, no shut window, no longer path and no failed connection in the last {window}"
        );
    }
    let one = |cause: &Cause| format!("{}: {}", cause.name, cause.told);
    let first: Vec<_> = causes.iter().take(MOST).map(one).collect();
    first.join("; ")
}

/// The greatest, with their parts of the whole; none if there is nothing to share.
fn shares(sums: &BTreeMap<String, f64>) -> Option<String> {
    let whole: f64 = sums.values().sum();
    let mut sorted: Vec<_> = sums.iter().filter(|(_, seconds)| **seconds > 0.0).collect();
    sorted.sort_by(|a, b| b.1.total_cmp(a.1));
    let share = |(name, seconds): &(&String, &f64)| {
        let percent = (100.0 * **seconds / whole).round();
        format!("{name} ({percent} %)")
    };
    let first: Vec<_> = sorted.iter().take(MOST).map(share).collect();
    (!first.is_empty()).then(|| first.join(", "))
}

fn label_of<'a>(subject: &'a Subject, label: &str) -> Option<&'a str> {
    let found = subject.labels.iter().find(|(name, _)| *name == label);
    found.map(|(_, value)| value.as_str())
}
