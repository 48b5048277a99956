use std::sync::Arc;

use prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as model;
use proptest::prelude::*;
use prost::Message as _;

use super::{Encoder, Format};
use crate::metrics::{
    self, Family, Histogram, Labels, Metric, Point, Snapshot, Subject, TCP_OPEN, TCP_RETRANSMITS,
    TCP_SEND_DURATION, TCP_SEND_QUEUE, Value,
};

fn point(service: &str, labels: Labels, value: Value) -> Point {
    let labels_of_subject = vec![("service", service.to_owned())];
    Point {
        subject: Arc::new(Subject {
            labels: labels_of_subject,
        }),
        labels,
        value,
    }
}

fn snapshot(families: Vec<(&'static Metric, Vec<Point>)>) -> Snapshot {
    let families = families
        .into_iter()
        .map(|(metric, points)| Family { metric, points });
    Snapshot {
        start_unix_ns: 1_500_000_000_250_000_000,
        at_unix_ns: 1_500_000_060_000_000_000,
        families: families.collect(),
    }
}

fn encode(snapshot: &Snapshot, format: Format) -> Vec<u8> {
    Encoder::new(snapshot.clone(), format, false)
        .flatten()
        .collect()
}

fn text(snapshot: &Snapshot, format: Format) -> String {
    String::from_utf8(encode(snapshot, format)).unwrap()
}

fn protobuf(snapshot: &Snapshot) -> Vec<model::MetricFamily> {
    let bytes = encode(snapshot, Format::Protobuf);
    let (mut rest, mut families) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        families.push(model::MetricFamily::decode_length_delimited(&mut rest).unwrap());
    }
    families
}

#[test]
fn a_counter_is_named_as_each_format_wants_it() {
    let points = vec![point("web", &[("kind", "rto")], Value::Int(u64::MAX))];
    let snapshot = snapshot(vec![(&TCP_RETRANSMITS, points)]);
    let help = TCP_RETRANSMITS.help;
    assert_eq!(
        text(&snapshot, Format::Text),
        format!(
            "# HELP weir_tcp_retransmits_total {help}\n# TYPE weir_tcp_retransmits_total counter\n\
             weir_tcp_retransmits_total{{service=\"web\",kind=\"rto\"}} 18446744073709551615\n"
        )
    );
    assert_eq!(
        text(&snapshot, Format::OpenMetrics),
        format!(
            "# HELP weir_tcp_retransmits {help}\n# TYPE weir_tcp_retransmits counter\n\
             weir_tcp_retransmits_total{{service=\"web\",kind=\"rto\"}} 18446744073709551615\n# EOF\n"
        )
    );
    let families = protobuf(&snapshot);
    assert_eq!(families[0].name, "weir_tcp_retransmits_total");
    assert_eq!(families[0].help, help, "as the table has it");
}

#[test]
fn units_stand_in_openmetrics_and_protobuf() {
    let histogram = Value::Histogram(Histogram {
        scale: 3,
        ..Histogram::default()
    });
    let snapshot = snapshot(vec![(
        &TCP_SEND_DURATION,
        vec![point("web", &[], histogram)],
    )]);
    assert!(!text(&snapshot, Format::Text).contains("# UNIT"));
    let openmetrics = text(&snapshot, Format::OpenMetrics);
    assert!(openmetrics.contains("# UNIT weir_tcp_send_duration_seconds seconds\n"));
    let families = protobuf(&snapshot);
    assert_eq!(families[0].name, "weir_tcp_send_duration_seconds");
    assert_eq!(families[0].unit, "seconds");
}

#[test]
fn special_characters_in_labels_are_escaped() {
    let points = vec![point("a\\b\"c\nd é {}=,", &[], Value::Int(1))];
    let snapshot = snapshot(vec![(&TCP_OPEN, points)]);
    let expected = "{service=\"a\\\\b\\\"c\\nd é {}=,\"} 1\n";
    assert!(text(&snapshot, Format::Text).ends_with(expected));
    let families = protobuf(&snapshot);
    assert_eq!(families[0].metric[0].label[0].value, "a\\b\"c\nd é {}=,");
}

#[test]
fn numbers_are_written_as_prometheus_reads_them() {
    for (value, expected) in [
        (0.0, " 0.0\n"),
        (1.5e-9, " 1.5e-9\n"),
        (f64::INFINITY, " +Inf\n"),
        (f64::NEG_INFINITY, " -Inf\n"),
        (f64::NAN, " NaN\n"),
    ] {
        let points = vec![point("web", &[], Value::Float(value))];
        let text = text(&snapshot(vec![(&TCP_OPEN, points)]), Format::Text);
        assert!(text.ends_with(expected), "{text}");
    }
}

#[test]
fn families_without_points_are_left_out() {
    let snapshot = snapshot(vec![(&TCP_OPEN, vec![])]);
    assert_eq!(text(&snapshot, Format::Text), "");
    assert_eq!(text(&snapshot, Format::OpenMetrics), "# EOF\n");
    assert!(protobuf(&snapshot).is_empty());
}

#[test]
fn a_large_family_is_one_message_and_one_head() {
    let points: Vec<_> = (0..5_000)
        .map(|i| point(&format!("service-{i}"), &[], Value::Int(i)))
        .collect();
    let snapshot = snapshot(vec![
        (&TCP_OPEN, points.clone()),
        (&TCP_RETRANSMITS, points),
    ]);
    let families = protobuf(&snapshot);
    assert_eq!(families.len(), 2);
    for family in &families {
        assert_eq!(family.metric.len(), 5_000);
        assert_eq!(family.metric[4_999].label[0].value, "service-4999");
    }
    let text = text(&snapshot, Format::Text);
    assert_eq!(text.matches("# TYPE").count(), 2);
    assert_eq!(text.lines().count(), 10_004);
}

#[test]
fn gzip_holds_the_same_bytes_in_small_pieces() {
    let points = (0..20_000)
        .map(|i| point(&format!("service-{i}"), &[], Value::Int(i)))
        .collect();
    let snapshot = snapshot(vec![(&TCP_OPEN, points)]);
    for format in Format::ALL {
        let plain = encode(&snapshot, format);
        let pieces: Vec<_> = Encoder::new(snapshot.clone(), format, true).collect();
        assert!(
            pieces
                .iter()
                .all(|piece| !piece.is_empty() && piece.len() < 128 * 1024)
        );
        let compressed = pieces.concat();
        let mut unpacked = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(compressed.as_slice());
        std::io::Read::read_to_end(&mut decoder, &mut unpacked).unwrap();
        assert_eq!(unpacked, plain);
        let pieces: Vec<_> = Encoder::new(snapshot.clone(), format, false).collect();
        assert!(pieces.len() > 10 && pieces.iter().all(|piece| piece.len() < 128 * 1024));
    }
}

fn histograms(scale: i32, low: i32, high: i32) -> impl Strategy<Value = Histogram> {
    let (low, high) = (low << scale, high << scale);
    let counts = prop_oneof![3 => Just(0), 1 => 1_u64..1_000_000];
    (
        low..=high,
        prop::collection::vec(counts, 0..250),
        0_u64..1_000,
        0.0_f64..1e12,
    )
        .prop_map(move |(first, mut counts, zero_count, sum)| {
            counts.truncate(usize::try_from(high - first).unwrap() + 1);
            let zero_threshold = f64::from(low >> scale).exp2();
            Histogram {
                scale,
                zero_threshold,
                zero_count,
                first,
                counts,
                sum,
            }
        })
}

/// Count by OpenTelemetry index, from the spans and deltas that Prometheus defines.
fn unroll(histogram: &model::Histogram) -> Vec<(i32, u64)> {
    let mut deltas = histogram.positive_delta.iter();
    let (mut index, mut count, mut buckets) = (0, 0_i64, Vec::new());
    for span in &histogram.positive_span {
        index += span.offset;
        for _ in 0..span.length {
            count += deltas.next().unwrap();
            buckets.push((index - 1, u64::try_from(count).unwrap()));
            index += 1;
        }
    }
    assert!(deltas.next().is_none());
    buckets.retain(|(_, count)| *count > 0);
    buckets
}

/// All forms of one histogram say the same: count, sum and each bucket.
fn check(metric: &'static Metric, histogram: Histogram) {
    let (low, high) = metric.kind.classic_exponents().unwrap();
    let points = vec![point("web", &[], Value::Histogram(histogram.clone()))];
    let snapshot = snapshot(vec![(metric, points)]);
    let families = protobuf(&snapshot);
    let proto = families[0].metric[0].histogram.clone().unwrap();

    assert_eq!(proto.sample_count, histogram.count());
    assert!((proto.sample_sum - histogram.sum).abs() == 0.0);
    assert_eq!(
        (proto.schema, proto.zero_count),
        (histogram.scale, histogram.zero_count)
    );
    assert!((proto.zero_threshold - histogram.zero_threshold).abs() == 0.0);
    let given = histogram
        .counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > 0);
    let given: Vec<_> = given
        .map(|(i, n)| (histogram.first + i32::try_from(i).unwrap(), *n))
        .collect();
    let native = unroll(&proto);
    assert_eq!(native, given);

    // The classic buckets again, from the native ones.
    let per_octave = 1 << histogram.scale;
    let below = |exponent: i32| {
        let native = native
            .iter()
            .filter(|(index, _)| *index < exponent * per_octave);
        proto.zero_count + native.map(|(_, count)| count).sum::<u64>()
    };
    let mut classic: Vec<_> = (low..=high)
        .map(|e| (f64::from(e).exp2(), below(e)))
        .collect();
    classic.push((f64::INFINITY, proto.sample_count));
    let in_protobuf: Vec<_> = proto
        .bucket
        .iter()
        .map(|bucket| (bucket.upper_bound, bucket.cumulative_count))
        .collect();
    assert_eq!(in_protobuf, classic);

    for format in [Format::Text, Format::OpenMetrics] {
        let text = text(&snapshot, format);
        let field = |start: &str, line: &str| {
            let at = line.find(start)? + start.len();
            line[at..]
                .split(['"', ' ', '}'])
                .next()?
                .parse::<f64>()
                .ok()
        };
        let value = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let in_text: Vec<_> = samples
            .iter()
            .filter_map(|line| Some((field("le=\"", line)?, value(line).parse::<u64>().unwrap())))
            .collect();
        assert_eq!(in_text, classic);
        let [.., sum, count] = samples.as_slice() else {
            panic!("{text}")
        };
        assert!(sum.contains("_sum{") && count.contains("_count{"));
        assert!((value(sum).parse::<f64>().unwrap() - histogram.sum).abs() == 0.0);
        assert_eq!(value(count), histogram.count().to_string());
    }
}

proptest! {
    #[test]
    fn classic_and_native_form_of_a_time_agree(histogram in histograms(3, -20, 7)) {
        check(&TCP_SEND_DURATION, histogram);
    }

    #[test]
    fn classic_and_native_form_of_a_size_agree(histogram in histograms(0, 8, 28)) {
        check(&TCP_SEND_QUEUE, histogram);
    }
}

#[test]
fn a_native_histogram_tells_when_it_began() {
    let histogram = Value::Histogram(Histogram {
        scale: 3,
        ..Histogram::default()
    });
    let families = protobuf(&snapshot(vec![(
        &TCP_SEND_DURATION,
        vec![point("a", &[], histogram)],
    )]));
    let start = families[0].metric[0]
        .histogram
        .as_ref()
        .unwrap()
        .start_timestamp
        .unwrap();
    assert_eq!((start.seconds, start.nanos), (1_500_000_000, 250_000_000));
}

#[test]
fn every_metric_of_the_table_can_be_encoded() {
    let families = metrics::ALL.iter().map(|metric| {
        let value = match metric.kind.classic_exponents() {
            Some(_) => Value::Histogram(Histogram::default()),
            None => Value::Int(1),
        };
        (*metric, vec![point("web", &[], value)])
    });
    let snapshot = snapshot(families.collect());
    assert_eq!(protobuf(&snapshot).len(), metrics::ALL.len());
    let text = text(&snapshot, Format::Text);
    for metric in metrics::ALL {
        assert!(text.contains(&format!("# TYPE {} ", metric.prometheus_name())));
    }
}
