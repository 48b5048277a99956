//! METRICS.md, from the metric table and the probe table.

use std::fmt::Write as _;

use crate::kernel::probes::PROBES;
use crate::metrics::{ALL, Kind, Metric};

/// The reference of metrics in Markdown.
pub fn metrics() -> String {
    let mut out = String::from(
        "# Metrics\n\nWritten by `cargo xtask docs` from the agent's own tables; do not edit.\n\n\
         Names in OpenTelemetry's form and, by its standard mapping, in Prometheus's. Histograms \
         are exponential at scale 3 (times; classic buckets are the powers of two from 2^-20 s to \
         2^7 s) or 0 (sizes; 2^8 to 2^28 bytes): OTLP and Prometheus's native histograms carry \
         every bucket, classic histograms the powers of two, with the same counts and sums.\n\n\
         Metrics of services carry the label `service`, `peer_group` where peer groups are \
         configured, and on Kubernetes `namespace`; `pod` and `container` if wanted.\n",
    );
    for (title, wanted) in [("Services", true), ("The agent itself", false)] {
        let _ = write!(
            out,
            "\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
        );
        for metric in ALL.iter().filter(|metric| metric.per_service == wanted) {
            row(&mut out, metric);
        }
    }
    probes(&mut out);
    out
}

fn row(out: &mut String, metric: &Metric) {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::TimeHistogram | Kind::SizeHistogram => "histogram",
    };
    let labels: Vec<_> = metric
        .labels
        .iter()
        .map(|label| format!("`{label}`"))
        .collect();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "| `{}`<br>`{}` | {kind}, {} | {} | {} |",
        metric.name,
        metric.prometheus_name(),
        metric.unit.ucum(),
        labels.join(", "),
        metric.help
    );
}

fn probes(out: &mut String) {
    out.push_str(
        "\n## Probes\n\nEach tries its rungs from left to right; `weir_probe_attached` and \
         `weir doctor` tell which one runs.\n\n| probe | facts | rungs | since |\n|---|---|---|---|\n",
    );
    for probe in PROBES {
        let rungs: Vec<_> = probe
            .rungs
            .iter()
            .map(|rung| match rung.blind {
                "" => format!("`{}`", rung.name),
                blind => format!("`{}` (does not see {blind})", rung.name),
            })
            .collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            probe.name,
            probe.fact,
            rungs.join(" → "),
            probe.since
        );
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_metric_is_in_the_reference() {
        let text = super::metrics();
        for metric in crate::metrics::ALL {
            assert!(text.contains(&metric.prometheus_name()), "{}", metric.name);
        }
    }
}
