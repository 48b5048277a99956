//! Alerts across a restart: every timestamp is kept, whatever its length.

use serde::{Deserialize, Serialize};

use super::{Alert, Alerts, OUTAGE_TOLERANCE_MS, State};

/// The alerts of a rule as they are stored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Saved {
    /// When they were as they are here, in milliseconds since 1970.
    pub at_ms: i64,
    /// All of them, resolved ones included.
    pub alerts: Vec<Alert>,
}

impl Alerts {
    /// The alerts, to be stored.
    pub fn save(&self, at_ms: i64) -> Saved {
        Saved {
            at_ms,
            alerts: self.iter().cloned().collect(),
        }
    }

    /// Goes on where a former run ended.
    ///
    /// The time of the outage does not count as time in which the expression held: a pending alert
    /// needs it again. After more than an hour it starts anew, as in Prometheus. Until `warm_at_ms`
    /// an alert that the expression does not give stays as it is.
    pub fn restore(saved: Saved, now_ms: i64, warm_at_ms: i64) -> Self {
        let outage_ms = now_ms.saturating_sub(saved.at_ms).max(0);
        let mut alerts = Self {
            warm_at_ms: Some(warm_at_ms),
            ..Self::default()
        };
        for mut alert in saved.alerts {
            if alert.state == State::Pending {
                if outage_ms > OUTAGE_TOLERANCE_MS {
                    continue;
                }
                alert.active_at_ms = alert.active_at_ms.saturating_add(outage_ms);
            }
            alert.restored = alert.state != State::Inactive;
            alerts.by_labels.insert(alert.labels.clone(), alert);
        }
        alerts
    }
}

/// Labels as a map of texts.
pub mod as_map {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};
    use weir_promql::labels::Labels;

    /// Writes them.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(labels.iter())
    }

    /// Reads them.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Labels::new(map))
    }
}

/// A number bit by bit: JSON has no NaN and no infinity.
pub(super) mod as_bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        value: &f64,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}
