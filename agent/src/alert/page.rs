//! The alert as it is sent: what the rules decide and every receiver gets.
//!
//! Two forms leave the node: an item of Alertmanager's `POST /api/v2/alerts` ([`alertmanager`]) and
//! the webhook payload, version 4 ([`webhook`]).

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use chrono::{DateTime, SecondsFormat};
use fnv::FnvHasher;
use serde::{Deserialize, Serialize};

pub mod alertmanager;
pub mod webhook;

/// Names and values, sorted by name: labels or annotations.
pub type Pairs = BTreeMap<String, String>;

/// One alert at one instant: it fires, or it is resolved. Times are milliseconds since the Unix
/// epoch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Page {
    /// What makes it this alert, `alertname` included. An empty value counts as no label.
    pub labels: Pairs,
    /// What is said about it; may change while it fires.
    #[serde(default)]
    pub annotations: Pairs,
    /// Fires or resolved.
    pub status: Status,
    /// When the rules said so: the timestamp of the evaluation.
    pub at_ms: i64,
    /// Since when it fires (Prometheus's `FiredAt`).
    pub starts_at_ms: i64,
    /// Resolved: since when. Firing: until when it stands unless it is said again; Prometheus takes
    /// the evaluation's time plus four times the longer of interval and resend delay.
    pub ends_at_ms: i64,
    /// Where its expression can be seen.
    #[serde(default)]
    pub generator_url: String,
}

/// Whether an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Firing,
    /// It did.
    Resolved,
}

impl Page {
    /// The labels' hash as Alertmanager prints it, which tells alerts apart.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.labels)
    }

    /// The value of the label `alertname`, or nothing.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }

    /// Whether it fires.
    pub fn is_firing(&self) -> bool {
        self.status == Status::Firing
    }

    /// How long a firing page stands from when it was said.
    pub fn stands_ms(&self) -> i64 {
        self.ends_at_ms.saturating_sub(self.at_ms).max(0)
    }
}

/// 64-bit FNV-1a over the sorted labels, each name and value followed by the byte 255: what
/// `LabelSet.Fingerprint` of prometheus/common computes, and so the `fingerprint` of Alertmanager's
/// API and webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Of labels; those without a value do not count.
    pub fn of(labels: &Pairs) -> Self {
        let mut hash = FnvHasher::default();
        for (name, value) in labels.iter().filter(|(_, value)| !value.is_empty()) {
            for part in [name, value] {
                hash.write(part.as_bytes());
                hash.write(&[u8::MAX]);
            }
        }
        Self(hash.finish())
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// RFC 3339 with milliseconds, in UTC. What no calendar has becomes the epoch.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    DateTime::from_timestamp_millis(unix_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Pairs with a value, as both formats want them.
fn filled(pairs: &Pairs) -> BTreeMap<&str, &str> {
    let filled = pairs.iter().filter(|(_, value)| !value.is_empty());
    filled
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A page of the alert `name` for the service `service`.
    pub(crate) fn page(name: &str, service: &str, status: Status) -> Page {
        let pairs = |list: &[(&str, &str)]| {
            let owned = list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            owned.collect::<Pairs>()
        };
        Page {
            labels: pairs(&[("alertname", name), ("service", service), ("empty", "")]),
            annotations: pairs(&[("summary", "it stalls")]),
            status,
            at_ms: 1_000_000,
            starts_at_ms: 1_000_000,
            ends_at_ms: 1_240_000,
            generator_url: "http://node/graph?g0.expr=up".to_owned(),
        }
    }

    #[test]
    fn the_fingerprint_is_alertmanagers() {
        // Values of prometheus/common's own signature_test.go and of FNV-1a's definition.
        assert_eq!(Fingerprint::of(&Pairs::new()).0, 14_695_981_039_346_656_037);
        let fireman = Pairs::from([
            ("name".to_owned(), "garland, briggs".to_owned()),
            ("fear".to_owned(), "love is not enough".to_owned()),
        ]);
        assert_eq!(Fingerprint::of(&fireman).0, 5_799_056_148_416_392_346);
    }

    #[test]
    fn a_label_without_a_value_is_no_label() {
        let mut page = page("A", "web", Status::Firing);
        let with = page.fingerprint();
        page.labels.remove("empty");
        assert_eq!(page.fingerprint(), with);
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_page_survives_its_own_json() {
        let page = page("A", "web", Status::Resolved);
        let text = serde_json::to_string(&page).unwrap();
        assert_eq!(serde_json::from_str::<Page>(&text).unwrap(), page);
    }
}
