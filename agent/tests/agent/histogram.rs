//! One series is the same in every form: classic and native for Prometheus, exponential by OTLP.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value as Text;
use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as model;
use prost::Message as _;
use serde_json::Value as Json;
use weir::metrics::{
    Metric, TCP_CONNECTION_DURATION, TCP_DELIVERY_DURATION, TCP_RTT, TCP_SEND_DURATION,
    TCP_SEND_QUEUE,
};

use crate::receiver::Receiver;
use crate::running::Agent;
use crate::scraper::{Scraper, newer};
use crate::series::Series;
use crate::traffic::{Names, Serve, Server};

const SERVICE: &str = "fault-hist";
const METRICS: [&Metric; 5] = [
    &TCP_SEND_DURATION,
    &TCP_DELIVERY_DURATION,
    &TCP_RTT,
    &TCP_CONNECTION_DURATION,
    &TCP_SEND_QUEUE,
];
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// A histogram with cumulative buckets, bounds included.
#[derive(Clone, Debug, Default, PartialEq)]
struct Classic {
    count: u64,
    sum: f64,
    buckets: Vec<(f64, u64)>,
}

/// One with exponential buckets: index, by OpenTelemetry, and count of those that are not empty.
#[derive(Clone, Debug, Default, PartialEq)]
struct Native {
    count: u64,
    sum: f64,
    scale: i32,
    zero_threshold: f64,
    zero_count: u64,
    buckets: BTreeMap<i32, u64>,
}

impl Native {
    /// What the classic form must be at these bounds.
    fn classic(&self, bounds: impl Iterator<Item = f64>) -> Classic {
        let upper = |index: &i32| (f64::from(index + 1) / f64::from(1 << self.scale)).exp2();
        let below = |bound: f64| {
            let buckets = self.buckets.iter();
            let within = buckets.filter(|(index, _)| upper(index) <= bound * (1.0 + 1e-12));
            self.zero_count + within.map(|(_, count)| count).sum::<u64>()
        };
        Classic {
            count: self.count,
            sum: self.sum,
            buckets: bounds.map(|bound| (bound, below(bound))).collect(),
        }
    }
}

fn whole(number: f64) -> u64 {
    let rounded = number as u64;
    assert!((rounded as f64 - number).abs() == 0.0, "{number}");
    rounded
}

/// From a scrape as text.
fn of_text(series: &Series, metric: &Metric) -> Classic {
    let name = metric.prometheus_name();
    let labels = [("service", SERVICE)];
    let bucket = format!("{name}_bucket");
    let buckets = series.of(&bucket, &labels);
    Classic {
        count: whole(series.one(&format!("{name}_count"), &labels)),
        sum: series.one(&format!("{name}_sum"), &labels),
        buckets: buckets
            .map(|(labels, count)| (labels["le"].parse().unwrap(), whole(count)))
            .collect(),
    }
}

/// From a scrape as protobuf, in both forms.
fn of_protobuf(mut body: &[u8], metric: &Metric) -> (Classic, Native) {
    let found = loop {
        let family = model::MetricFamily::decode_length_delimited(&mut body).unwrap();
        if family.name == metric.prometheus_name() {
            break family;
        }
    };
    let is_ours = |labels: &[model::LabelPair]| {
        labels
            .iter()
            .any(|label| label.name == "service" && label.value == SERVICE)
    };
    let point = found.metric.iter().find(|point| is_ours(&point.label));
    let histogram = point.unwrap().histogram.clone().unwrap();
    let mut buckets = histogram.bucket.iter();
    let buckets = buckets
        .by_ref()
        .map(|b| (b.upper_bound, b.cumulative_count));
    let mut classic: Vec<_> = buckets.collect();
    if classic.last().is_none_or(|(bound, _)| bound.is_finite()) {
        classic.push((f64::INFINITY, histogram.sample_count));
    }
    let mut native = Native {
        count: histogram.sample_count,
        sum: histogram.sample_sum,
        scale: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: histogram.zero_count,
        buckets: BTreeMap::new(),
    };
    let (mut index, mut count) = (0, 0);
    let mut deltas = histogram.positive_delta.iter();
    for span in &histogram.positive_span {
        index += span.offset;
        for delta in deltas.by_ref().take(span.length as usize) {
            count += delta;
            if count > 0 {
                // Prometheus numbers buckets by their upper bound, OpenTelemetry by the lower one.
                native.buckets.insert(index - 1, count.try_into().unwrap());
            }
            index += 1;
        }
    }
    assert!(deltas.next().is_none());
    let classic = Classic {
        count: histogram.sample_count,
        sum: histogram.sample_sum,
        buckets: classic,
    };
    (classic, native)
}

/// From the last OTLP export.
fn of_otlp(receiver: &Receiver, metric: &Metric) -> Native {
    let is_ours = |point: &&ExponentialHistogramDataPoint| {
        point.attributes.iter().any(|pair| {
            let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
            pair.key == "service" && *value.unwrap() == Text::StringValue(SERVICE.to_owned())
        })
    };
    let requests = receiver.received();
    let point = requests
        .iter()
        .rev()
        .flat_map(|request| &request.resource_metrics)
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics)
        .filter(|found| found.name == metric.name)
        .find_map(|found| match found.data.as_ref().unwrap() {
            Data::ExponentialHistogram(data) => data.data_points.iter().find(is_ours),
            other => panic!("{other:?}"),
        })
        .unwrap();
    let positive = point.positive.clone().unwrap_or_default();
    let counts = positive.bucket_counts.iter().zip(positive.offset..);
    Native {
        count: point.count,
        sum: point.sum.unwrap(),
        scale: point.scale,
        zero_threshold: point.zero_threshold,
        zero_count: point.zero_count,
        buckets: counts
            .filter(|(count, _)| **count > 0)
            .map(|(count, index)| (index, *count))
            .collect(),
    }
}

/// Real traffic of one service, which is over when this returns.
fn make_traffic(agent: &mut Agent) {
    let server = Server::start(Serve::Read);
    let names = Names::new();
    names.run(SERVICE, &server, "send 30 20 3000");
    names.run(SERVICE, &server, "send 3 4 3000000");
    let closed = [
        ("service", SERVICE),
        ("outcome", "closed"),
        ("role", "connected"),
    ];
    agent.until("the last connection is closed", |agent| {
        agent.scrape().sum("weir_tcp_connections_total", &closed) >= 33.0
    });
}

#[test]
fn classic_native_and_otlp_are_equal_in_every_bucket() {
    let receiver = Receiver::start(vec![]);
    let mut agent = Agent::start(&format!(
        "[otlp]\nendpoint = 'http://{}'\nprotocol = 'http'\ngzip = false\ninterval_seconds = 0.5",
        receiver.address
    ));
    make_traffic(&mut agent);
    let seen = receiver.requests();
    agent.until("two more exports", |_| receiver.requests() >= seen + 4);
    let (text, protobuf) = (agent.scrape(), agent.get(PROTOBUF));
    for metric in METRICS {
        let name = metric.name;
        let classic = of_text(&text, metric);
        let (beside, native) = of_protobuf(&protobuf, metric);
        assert!(classic.count > 0, "{name} is empty");
        assert_eq!(beside, classic, "{name}: protobuf and text");
        assert_eq!(
            of_otlp(&receiver, metric),
            native,
            "{name}: OTLP and native"
        );
        let total = native.zero_count + native.buckets.values().sum::<u64>();
        assert_eq!(total, native.count, "{name}");
        let bounds = classic.buckets.iter().map(|(bound, _)| *bound);
        assert_eq!(
            native.classic(bounds),
            classic,
            "{name}: native and classic"
        );
        for (bound, _) in &classic.buckets {
            assert!(
                bound.is_infinite() || bound.log2().fract() == 0.0,
                "{name}: le {bound}"
            );
        }
        assert_eq!(classic.buckets.last().unwrap().1, classic.count, "{name}");
    }
    let sends = of_text(&text, &TCP_SEND_DURATION).count;
    assert_eq!(sends, 30 * 20 + 3 * 4, "every send once");
}

#[test]
fn promtool_has_nothing_to_say() {
    let mut agent = Agent::start("");
    make_traffic(&mut agent);
    let text = agent.text();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("metrics");
    std::fs::write(&file, text).unwrap();
    let promtool = std::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::fs::File::open(&file).unwrap())
        .output();
    let Ok(output) = promtool else {
        eprintln!("SKIP promtool is missing (Debian: prometheus)");
        return;
    };
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

fn number(json: &Json) -> f64 {
    json.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_real_prometheus_stores_both_forms_alike() {
    const JOBS: [(&str, &str); 2] = [
        ("text", "  scrape_protocols: [PrometheusText0.0.4]\n"),
        (
            "protobuf",
            "  scrape_protocols: [PrometheusProto]\n  scrape_classic_histograms: true\n",
        ),
    ];
    let Some(binary) = newer() else { return };
    let mut agent = Agent::start("");
    make_traffic(&mut agent);
    let flags = ["--enable-feature=native-histograms"];
    let prometheus = Scraper::start(binary, agent.address, &JOBS, &flags).await;
    let (_, native) = of_protobuf(&agent.get(PROTOBUF), &TCP_SEND_DURATION);
    let name = TCP_SEND_DURATION.prometheus_name();
    let query = format!("{name}{{job='protobuf',service='{SERVICE}'}}");
    let found = prometheus.query(&query).await;
    let stored = &found[0]["histogram"][1];
    assert_eq!(whole(number(&stored["count"])), native.count);
    assert_eq!(number(&stored["sum"]), native.sum);
    let buckets = stored["buckets"].as_array().unwrap().iter();
    let upper = |index: i32| (f64::from(index + 1) / f64::from(1 << native.scale)).exp2();
    let mut stored: Vec<_> = buckets
        .map(|b| (number(&b[2]), whole(number(&b[3]))))
        .collect();
    if native.zero_count > 0 {
        assert_eq!(stored.remove(0).1, native.zero_count);
    }
    assert_eq!(stored.len(), native.buckets.len());
    for ((bound, count), (index, expected)) in stored.into_iter().zip(&native.buckets) {
        assert!((bound / upper(*index) - 1.0).abs() < 1e-9, "{bound}");
        assert_eq!(count, *expected);
    }
    let ours = of_text(&agent.scrape(), &TCP_SEND_DURATION);
    for (job, _) in JOBS {
        let query = format!("{name}_bucket{{job='{job}',service='{SERVICE}'}}");
        let found = prometheus.query(&query).await;
        let bucket = |series: &Json| {
            (
                number(&series["metric"]["le"]),
                whole(number(&series["value"][1])),
            )
        };
        let mut buckets: Vec<_> = found.iter().map(bucket).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(buckets, ours.buckets, "{job}");
    }
}
