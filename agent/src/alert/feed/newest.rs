//! The newest value of a counter, which snapshots and events both bring.
//!
//! Between the kernel and the store one may overtake the other, and what was read first would look
//! like a counter that began anew. So a value lower than the known one is passed over, unless two
//! snapshots in turn have it: then it did begin anew.

use crate::metrics::{Kind, Metric, Value};

/// Of one point; nothing is kept of what is no counter.
#[derive(Debug, Default)]
pub(super) struct Newest {
    value: Option<Value>,
    at_ms: i64,
    by_event: bool,
    /// What groups that wait for events were last told.
    told: Option<Value>,
}

/// What an event found.
pub(super) struct News {
    /// The value that counts now.
    pub(super) value: Value,
    /// The one before, and the time at which it was read; none if there was none.
    pub(super) before: Option<(Value, i64)>,
}

impl Newest {
    /// The value that counts as of a snapshot.
    pub(super) fn of_snapshot<'a>(
        &'a mut self,
        metric: &Metric,
        value: &'a Value,
        at_ms: i64,
    ) -> &'a Value {
        if metric.kind != Kind::Counter {
            return value;
        }
        self.at_ms = at_ms;
        let is_overtaken = self.by_event && self.is_above(value);
        self.by_event = false;
        if is_overtaken {
            return self.value.as_ref().unwrap_or(value);
        }
        self.value.insert(value.clone())
    }

    /// What an event changed; none if nothing since events were last told of it.
    pub(super) fn of_event(&mut self, value: &Value, at_ms: i64) -> Option<News> {
        let value = match &self.value {
            Some(newest) if self.is_above(value) => newest.clone(),
            _ => value.clone(),
        };
        let is_told = match &self.told {
            Some(told) => *told == value,
            None => is_zero(&value),
        };
        if is_told {
            return None;
        }
        self.told = Some(value.clone());
        self.by_event = true;
        let before = self.value.replace(value.clone());
        let before = before.map(|before| (before, self.at_ms));
        self.at_ms = at_ms;
        Some(News { value, before })
    }

    /// Follows a clock that was set.
    pub(super) fn shift(&mut self, by_ms: i64) {
        self.at_ms = self.at_ms.saturating_add(by_ms);
    }

    fn is_above(&self, value: &Value) -> bool {
        match (&self.value, value) {
            (Some(Value::Int(newest)), Value::Int(value)) => newest > value,
            (Some(Value::Float(newest)), Value::Float(value)) => newest > value,
            _ => false,
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Int(value) => *value == 0,
        Value::Float(value) => *value == 0.0,
        Value::Histogram(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::TCP_RETRANSMITS;
    use proptest::prelude::*;

    fn snapshot(newest: &mut Newest, value: u64) -> Value {
        let value = Value::Int(value);
        newest.of_snapshot(&TCP_RETRANSMITS, &value, 1).clone()
    }

    fn event(newest: &mut Newest, value: u64) -> Option<Value> {
        let news = newest.of_event(&Value::Int(value), 2);
        news.map(|news| news.value)
    }

    #[test]
    fn a_snapshot_that_an_event_overtook_does_not_take_it_back() {
        let mut newest = Newest::default();
        assert_eq!(snapshot(&mut newest, 5), Value::Int(5));
        assert_eq!(event(&mut newest, 7), Some(Value::Int(7)));
        assert_eq!(snapshot(&mut newest, 6), Value::Int(7), "read before");
        assert_eq!(snapshot(&mut newest, 6), Value::Int(6), "it began anew");
    }

    #[test]
    fn an_event_that_a_snapshot_overtook_is_told_with_the_snapshots_value() {
        let mut newest = Newest::default();
        snapshot(&mut newest, 9);
        assert_eq!(event(&mut newest, 8), Some(Value::Int(9)));
        assert_eq!(event(&mut newest, 9), None, "this was told");
        assert_eq!(
            snapshot(&mut newest, 3),
            Value::Int(9),
            "an event came between"
        );
        assert_eq!(snapshot(&mut newest, 3), Value::Int(3), "two in turn");
    }

    #[test]
    fn what_has_not_changed_is_no_news() {
        let mut newest = Newest::default();
        assert_eq!(event(&mut newest, 0), None, "it never happened");
        assert_eq!(event(&mut newest, 1), Some(Value::Int(1)));
        assert_eq!(event(&mut newest, 1), None);
    }

    proptest! {
        /// Readings of a counter that only grows, each brought late by a snapshot or an event.
        #[test]
        fn whatever_overtakes_what_a_growing_counter_never_goes_back(
            readings in proptest::collection::vec((any::<bool>(), 0_u64..3), 1..200),
        ) {
            let (mut newest, mut now, mut seen, mut last_snapshot) = (Newest::default(), 3, 0, 0);
            for (is_event, late) in readings {
                now += 1;
                let reading = now - late;
                let found = if is_event {
                    event(&mut newest, reading)
                } else {
                    // One snapshot is read after the one before was brought.
                    let reading = reading.max(last_snapshot);
                    last_snapshot = now;
                    Some(snapshot(&mut newest, reading))
                };
                if let Some(Value::Int(found)) = found {
                    prop_assert!(found >= seen, "{found} after {seen}");
                    seen = found;
                }
            }
        }
    }
}
