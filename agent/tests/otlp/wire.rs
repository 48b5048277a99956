//! The bytes of requests, read back with opentelemetry-proto.

use std::io::Read as _;
use std::sync::Arc;

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use proptest::prelude::*;
use prost::Message as _;
use weir::export::otlp::{Otlp, Protocol, bodies, measure};
use weir::metrics::{self, Family, Histogram, Kind, Labels, Point, Snapshot, Subject, Value};

use super::model;

fn plain() -> Otlp {
    Otlp {
        protocol: Protocol::Http,
        gzip: false,
        ..Otlp::default()
    }
}

fn points(metrics: &[Metric]) -> usize {
    let count = |metric: &Metric| match metric.data.as_ref().unwrap() {
        Data::Gauge(data) => data.data_points.len(),
        Data::Sum(data) => data.data_points.len(),
        Data::ExponentialHistogram(data) => data.data_points.len(),
        other => panic!("{other:?}"),
    };
    metrics.iter().map(count).sum()
}

fn metrics_of(request: ExportMetricsServiceRequest) -> Vec<Metric> {
    let [resource] = request.resource_metrics.try_into().unwrap();
    let [scope] = resource.scope_metrics.try_into().unwrap();
    assert_eq!(scope.scope.unwrap().name, "weir");
    scope.metrics
}

/// Encodes, decodes, and compares with the structs; each request must also be, to the byte, what
/// prost makes of it.
fn check(snapshot: &Snapshot) {
    let mut parts = Vec::new();
    for body in bodies(&plain(), snapshot).unwrap() {
        assert!(body.len() < 4 << 20, "{} bytes", body.len());
        let request = ExportMetricsServiceRequest::decode(body.clone()).unwrap();
        assert!(request.encode_to_vec() == body, "prost writes other bytes");
        let metrics = metrics_of(request);
        let points = points(&metrics);
        assert!((1..=2_000).contains(&points), "{points} points");
        parts.extend(metrics);
    }
    let expected: Vec<_> = snapshot
        .families
        .iter()
        .filter(|family| !family.points.is_empty())
        .map(|family| model::metric(snapshot, family))
        .collect();
    let got = model::joined(parts);
    assert!(got == expected, "got {got:#?}\nexpected {expected:#?}");
}

fn labels() -> impl Strategy<Value = Labels> {
    prop_oneof![
        Just(&[] as Labels),
        Just(&[("kind", "rto")] as Labels),
        Just(&[("role", "accepted"), ("outcome", "")] as Labels),
    ]
}

fn value(kind: Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Counter | Kind::Gauge => prop_oneof![
            any::<u64>().prop_map(Value::Int),
            Just(Value::Int(0)),
            // All but NaN, which is not equal to itself.
            any::<f64>()
                .prop_filter("comparable", |x| !x.is_nan())
                .prop_map(Value::Float),
        ]
        .boxed(),
        Kind::TimeHistogram | Kind::SizeHistogram => (
            -4..=8_i32,
            prop_oneof![Just(0.0), Just(256.0), 0.0..1.0],
            0..3_u64,
            prop_oneof![Just(0), -200..=200_i32],
            prop::collection::vec(prop_oneof![Just(0), 0..1_u64 << 50], 0..40),
            -1e9..1e9,
        )
            .prop_map(|(scale, zero_threshold, zero_count, first, counts, sum)| {
                Value::Histogram(Histogram {
                    scale,
                    zero_threshold,
                    zero_count,
                    first,
                    counts,
                    sum,
                })
            })
            .boxed(),
    }
}

fn subject() -> impl Strategy<Value = Arc<Subject>> {
    let names = ["container", "namespace", "service"];
    prop::collection::vec(".{0,200}", 0..=3).prop_map(move |values| {
        let labels = names.into_iter().zip(values).collect();
        Arc::new(Subject { labels })
    })
}

fn family(index: usize, subjects: Vec<Arc<Subject>>) -> impl Strategy<Value = Family> {
    let metric = metrics::ALL[index];
    let point = (prop::sample::select(subjects), labels(), value(metric.kind));
    let point = point.prop_map(|(subject, labels, value)| Point {
        subject,
        labels,
        value,
    });
    prop::collection::vec(point, 0..60).prop_map(move |points| Family { metric, points })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let subjects = prop::collection::vec(subject(), 1..8);
    let rows = prop::sample::subsequence((0..metrics::ALL.len()).collect::<Vec<_>>(), 0..6);
    (subjects, rows, any::<u64>(), any::<u64>()).prop_flat_map(|(subjects, rows, start, at)| {
        let families: Vec<_> = rows
            .into_iter()
            .map(|row| family(row, subjects.clone()))
            .collect();
        families.prop_map(move |families| Snapshot {
            start_unix_ns: start,
            at_unix_ns: at,
            families,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_snapshot_decodes_to_what_the_structs_hold(snapshot in snapshot()) {
        check(&snapshot);
    }
}

#[test]
fn a_busy_node_is_split_by_points() {
    let snapshot = model::node(2_000);
    assert_eq!(snapshot.points(), 50_000);
    check(&snapshot);
    let cost = measure(&plain(), &snapshot).unwrap();
    assert_eq!((cost.requests, cost.points), (25, 50_000));
}

#[test]
fn long_labels_are_split_by_size() {
    let mut snapshot = model::node(100);
    for (n, point) in snapshot
        .families
        .iter_mut()
        .flat_map(|f| &mut f.points)
        .enumerate()
    {
        let long = format!("{n}-{}", "x".repeat(10_000));
        point.subject = Arc::new(Subject {
            labels: vec![("service", long)],
        });
    }
    assert!(bodies(&plain(), &snapshot).unwrap().len() >= 6);
    check(&snapshot);
}

#[test]
fn a_point_that_fits_nowhere_does_not_stop_the_others() {
    let mut snapshot = model::node(2);
    let family = &mut snapshot.families[0];
    family.points[0].subject = Arc::new(Subject {
        labels: vec![("service", "x".repeat(5 << 20))],
    });
    let mut expected = snapshot.clone();
    expected.families[0].points.remove(0);
    let parts = bodies(&plain(), &snapshot).unwrap().into_iter();
    let parts =
        parts.flat_map(|body| metrics_of(ExportMetricsServiceRequest::decode(body).unwrap()));
    let expected_metrics = expected
        .families
        .iter()
        .map(|f| model::metric(&expected, f));
    assert!(model::joined(parts) == expected_metrics.collect::<Vec<_>>());
}

#[test]
fn nothing_to_say_is_not_said() {
    let mut snapshot = model::node(1);
    snapshot.families.iter_mut().for_each(|f| f.points.clear());
    assert!(bodies(&plain(), &snapshot).unwrap().is_empty());
}

#[test]
fn the_resource_says_who_sends() {
    let mut config = plain();
    let mine = [
        ("host.name", "node-7"),
        ("deployment.environment.name", "test"),
    ];
    config.resource = mine.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let body = bodies(&config, &model::node(1)).unwrap().remove(0);
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let resource = request.resource_metrics[0].resource.clone().unwrap();
    let attributes: Vec<_> = resource
        .attributes
        .into_iter()
        .map(|kv| match kv.value.unwrap().value {
            Some(Any::StringValue(value)) => (kv.key, value),
            other => panic!("{other:?}"),
        })
        .collect();
    let get = |name: &str| {
        let found = attributes.iter().find(|(key, _)| key == name);
        found.unwrap_or_else(|| panic!("no {name}")).1.as_str()
    };
    assert_eq!(get("service.name"), "weir");
    assert_eq!(get("service.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(get("os.type"), "linux");
    assert_eq!(get("host.name"), "node-7");
    assert_eq!(get("deployment.environment.name"), "test");
    assert!(!get("service.instance.id").is_empty());
    assert_eq!(attributes.len(), 6);
}

#[test]
fn grpc_frames_and_gzip_unpack_to_the_same_message() {
    let snapshot = model::node(3);
    let expected = bodies(&plain(), &snapshot).unwrap();
    for (protocol, gzip) in [
        (Protocol::Http, true),
        (Protocol::Grpc, false),
        (Protocol::Grpc, true),
    ] {
        let config = Otlp {
            protocol,
            gzip,
            ..Otlp::default()
        };
        let body = bodies(&config, &snapshot).unwrap().remove(0);
        let packed = match protocol {
            Protocol::Http => &body[..],
            Protocol::Grpc => {
                assert_eq!(body[0], u8::from(gzip));
                let length = u32::from_be_bytes(body[1..5].try_into().unwrap());
                assert_eq!(length as usize, body.len() - 5);
                &body[5..]
            }
        };
        let mut message = Vec::new();
        if gzip {
            GzDecoder::new(packed).read_to_end(&mut message).unwrap();
        } else {
            message.extend_from_slice(packed);
        }
        assert!(message == expected[0], "{protocol:?}, gzip {gzip}");
    }
}
