//! Data points written straight into the request's bytes.
//!
//! A point is by far the most frequent thing in a request, and opentelemetry-proto's structs want
//! two heap strings per attribute of each. For 50,000 points they took 25 ms, this takes 3 ms, and
//! gzip 10 ms after either; an export comes every few seconds. Field numbers are those of `metrics.proto` and never change; that the
//! bytes are the same as the structs' is tested (`agent/tests/otlp/wire.rs`).

use prost::encoding::{
    WireType, double, encode_key, encode_varint, encoded_len_varint, fixed64, key_len, sfixed64,
    sint32, uint64,
};

use crate::metrics::{Histogram, Value};

/// Field of the attributes in `NumberDataPoint`.
pub(super) const NUMBER_ATTRIBUTES: u32 = 7;
/// Field of the attributes in `ExponentialHistogramDataPoint`.
pub(super) const HISTOGRAM_ATTRIBUTES: u32 = 1;
/// Field of the points in `Gauge`, `Sum` and `ExponentialHistogram`.
const DATA_POINTS: u32 = 1;

/// What a point carries besides its value.
pub(super) struct Head<'a> {
    /// Encoded attributes of the subject, under the field number of the point's kind.
    pub(super) subject: &'a [u8],
    pub(super) labels: &'a [(&'static str, &'static str)],
    /// 0 leaves it out.
    pub(super) start_unix_ns: u64,
    pub(super) at_unix_ns: u64,
}

/// Opens an embedded message of `length` bytes.
pub(super) fn open(out: &mut Vec<u8>, tag: u32, length: usize) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

/// Bytes of an embedded message with its key and length.
pub(super) fn embedded_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

/// Appends one attribute, a `KeyValue` with a string.
pub(super) fn attribute(out: &mut Vec<u8>, tag: u32, name: &str, value: &str) {
    let any = embedded_len(1, value.len());
    open(out, tag, embedded_len(1, name.len()) + embedded_len(2, any));
    open(out, 1, name.len());
    out.extend_from_slice(name.as_bytes());
    open(out, 2, any);
    open(out, 1, value.len());
    out.extend_from_slice(value.as_bytes());
}

fn attribute_len(tag: u32, name: &str, value: &str) -> usize {
    let any = embedded_len(1, value.len());
    embedded_len(tag, embedded_len(1, name.len()) + embedded_len(2, any))
}

/// Appends a point of a gauge, a sum or an exponential histogram.
pub(super) fn point(out: &mut Vec<u8>, head: &Head<'_>, value: &Value) {
    match value {
        Value::Int(n) => {
            // The wire has a signed number; 2^63 of anything is out of reach.
            let n = i64::try_from(*n).unwrap_or(i64::MAX);
            number(out, head, sfixed64::encoded_len(6, &n), |out| {
                sfixed64::encode(6, &n, out);
            });
        }
        Value::Float(x) => number(out, head, double::encoded_len(4, x), |out| {
            double::encode(4, x, out);
        }),
        Value::Histogram(histogram) => exponential(out, head, histogram),
    }
}

/// Fields in the order of their numbers, but the value, which prost writes by its least number.
fn number(out: &mut Vec<u8>, head: &Head<'_>, value_len: usize, value: impl FnOnce(&mut Vec<u8>)) {
    let length = times_len(head) + value_len + attributes_len(head, NUMBER_ATTRIBUTES);
    open(out, DATA_POINTS, length);
    times(out, head);
    value(out);
    attributes(out, head, NUMBER_ATTRIBUTES);
}

fn exponential(out: &mut Vec<u8>, head: &Head<'_>, histogram: &Histogram) {
    let buckets = buckets_len(histogram);
    let count = histogram.count();
    let length = attributes_len(head, HISTOGRAM_ATTRIBUTES)
        + times_len(head)
        + present(count != 0, fixed64::encoded_len(4, &count))
        + double::encoded_len(5, &histogram.sum)
        + present(
            histogram.scale != 0,
            sint32::encoded_len(6, &histogram.scale),
        )
        + present(
            histogram.zero_count != 0,
            fixed64::encoded_len(7, &histogram.zero_count),
        )
        + present(!histogram.counts.is_empty(), embedded_len(8, buckets))
        + present(
            histogram.zero_threshold != 0.0,
            double::encoded_len(14, &histogram.zero_threshold),
        );
    open(out, DATA_POINTS, length);
    attributes(out, head, HISTOGRAM_ATTRIBUTES);
    times(out, head);
    fixed64_unless_0(out, 4, count);
    double::encode(5, &histogram.sum, out);
    if histogram.scale != 0 {
        sint32::encode(6, &histogram.scale, out);
    }
    fixed64_unless_0(out, 7, histogram.zero_count);
    if !histogram.counts.is_empty() {
        open(out, 8, buckets);
        if histogram.first != 0 {
            sint32::encode(1, &histogram.first, out);
        }
        uint64::encode_packed(2, &histogram.counts, out);
    }
    if histogram.zero_threshold != 0.0 {
        double::encode(14, &histogram.zero_threshold, out);
    }
}

fn buckets_len(histogram: &Histogram) -> usize {
    present(
        histogram.first != 0,
        sint32::encoded_len(1, &histogram.first),
    ) + uint64::encoded_len_packed(2, &histogram.counts)
}

fn attributes(out: &mut Vec<u8>, head: &Head<'_>, tag: u32) {
    out.extend_from_slice(head.subject);
    for (name, value) in head.labels {
        attribute(out, tag, name, value);
    }
}

fn attributes_len(head: &Head<'_>, tag: u32) -> usize {
    let labels = head.labels.iter();
    head.subject.len()
        + labels
            .map(|(name, value)| attribute_len(tag, name, value))
            .sum::<usize>()
}

fn times(out: &mut Vec<u8>, head: &Head<'_>) {
    fixed64_unless_0(out, 2, head.start_unix_ns);
    fixed64_unless_0(out, 3, head.at_unix_ns);
}

fn times_len(head: &Head<'_>) -> usize {
    present(head.start_unix_ns != 0, 9) + present(head.at_unix_ns != 0, 9)
}

/// Protobuf leaves out what has its default value.
fn fixed64_unless_0(out: &mut Vec<u8>, tag: u32, n: u64) {
    if n != 0 {
        fixed64::encode(tag, &n, out);
    }
}

fn present(is_present: bool, length: usize) -> usize {
    if is_present { length } else { 0 }
}
