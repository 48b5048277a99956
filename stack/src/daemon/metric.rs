//! Metrics, made, registered and described by one call each: what `/metrics` shows and what the
//! reference says cannot differ.

use prometheus_client::collector::Collector;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Metric, Registry, Unit};

/// All metrics of a service.
#[derive(Debug, Default)]
pub(crate) struct Table {
    registry: Registry,
    rows: Vec<Row>,
}

/// What the reference says of one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// As Prometheus has it, with unit and ending.
    pub(crate) name: String,
    /// `counter`, `gauge`, `histogram`.
    pub(crate) kind: &'static str,
    /// Names of its labels.
    pub(crate) labels: &'static [&'static str],
    /// What it counts.
    pub(crate) help: &'static str,
}

impl Table {
    /// A metric without unit and labels.
    pub(crate) fn add<M: Metric + Clone + Default>(
        &mut self,
        name: &'static str,
        help: &'static str,
    ) -> M {
        self.put(name, help, None, &[], M::default())
    }

    /// A family of metrics, told apart by labels.
    pub(crate) fn by<M: Metric + Clone + Default>(
        &mut self,
        labels: &'static [&'static str],
        name: &'static str,
        help: &'static str,
    ) -> M {
        self.put(name, help, None, labels, M::default())
    }

    /// A metric of bytes.
    pub(crate) fn bytes<M: Metric + Clone + Default>(
        &mut self,
        name: &'static str,
        help: &'static str,
    ) -> M {
        self.put(name, help, Some(Unit::Bytes), &[], M::default())
    }

    /// A metric of seconds.
    pub(crate) fn seconds<M: Metric + Clone>(
        &mut self,
        name: &'static str,
        help: &'static str,
        metric: M,
    ) -> M {
        self.put(name, help, Some(Unit::Seconds), &[], metric)
    }

    /// Any metric.
    pub(crate) fn put<M: Metric + Clone>(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<Unit>,
        labels: &'static [&'static str],
        metric: M,
    ) -> M {
        let (kind, ending) = match metric.metric_type() {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Gauge => ("gauge", ""),
            MetricType::Histogram => ("histogram", ""),
            _ => ("other", ""),
        };
        let of = unit.as_ref().map_or("", Unit::as_str);
        let unit_ending = if of.is_empty() { "" } else { "_" };
        self.rows.push(Row {
            name: format!("{name}{unit_ending}{of}{ending}"),
            kind,
            labels,
            help,
        });
        match unit {
            Some(unit) => self
                .registry
                .register_with_unit(name, help, unit, metric.clone()),
            None => self.registry.register(name, help, metric.clone()),
        }
        metric
    }

    /// What there is, in the order of making.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// For `/metrics`, with what is collected when somebody asks.
    pub(super) fn into_registry(mut self, collector: Box<dyn Collector>) -> Registry {
        self.registry.register_collector(collector);
        self.registry
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::histogram::Histogram;

    use super::*;

    #[test]
    fn rows_have_the_names_that_prometheus_sees() {
        let mut table = Table::default();
        let count: Counter = table.add("a_things", "Things");
        let bytes: Counter = table.bytes("a_sent", "Bytes");
        table.seconds("a_wait", "Time", Histogram::new([1.0]));
        let by: Family<[(&'static str, &'static str); 1], Counter> =
            table.by(&["why"], "a_lost", "Lost");
        by.get_or_create(&[("why", "x")]).inc();
        count.inc();
        bytes.inc();
        let rows = table.rows().to_vec();
        let mut text = String::new();
        text::encode(&mut text, &table.registry).unwrap();
        for row in rows {
            let sample = match row.kind {
                "histogram" => format!("\n{}_count ", row.name),
                _ if row.labels.is_empty() => format!("\n{} ", row.name),
                _ => format!("\n{}{{{}=", row.name, row.labels[0]),
            };
            assert!(text.contains(&sample), "{sample:?} in {text}");
        }
    }
}
