//! Two sessions of one truth, compared: stalls one to one, startup, time stalled.

use serde_json::{Value, json};

/// Stalls nearer than this are one, shorter ones none (ms): low latency stalls in trains.
const MERGE_MS: f64 = 250.0;
const SHORTEST_MS: f64 = 100.0;
/// How far apart beginnings and ends of the same stall may be, ms.
const WITHIN_MS: f64 = 300.0;

/// What one session did, in milliseconds of CLOCK_MONOTONIC.
#[derive(Debug, Default)]
struct Course {
    startup_ms: Option<f64>,
    stalls: Vec<(f64, f64)>,
    open: Option<f64>,
    switches: u64,
    ended: f64,
}

/// Compares `model` and `chromium` in the lines of a truth.
pub(super) fn judge(trace: &str, truth: &str) -> Value {
    let began = truth
        .lines()
        .filter_map(parse)
        .next()
        .map_or(0.0, |line| time_ms(&line));
    let [model, real] = ["model", "chromium"].map(|name| Course::read(truth, name, began));
    let (model_stalls, real_stalls) = (merge(&model.stalls), merge(&real.stalls));
    let pairs = pair(&model_stalls, &real_stalls);
    let agree = pairs
        .iter()
        .filter(|(begin, end)| begin.abs() <= WITHIN_MS && end.abs() <= WITHIN_MS)
        .count();
    let startup = model
        .startup_ms
        .zip(real.startup_ms)
        .map(|(model, real)| model - real);
    json!({
        "trace": trace,
        "startup_ms": { "model": model.startup_ms, "hls_js": real.startup_ms, "difference": startup },
        "stalls_ms": { "model": model_stalls, "hls_js": real_stalls },
        "stalls_paired": pairs.len(),
        "stalls_within_300_ms": agree,
        "one_to_one": pairs.len() == model_stalls.len() && pairs.len() == real_stalls.len(),
        "switches": { "model": model.switches, "hls_js": real.switches },
    })
}

impl Course {
    fn read(truth: &str, session: &str, began: f64) -> Self {
        let mut course = Self::default();
        for line in truth
            .lines()
            .filter_map(parse)
            .filter(|line| line["session"] == session)
        {
            let at = time_ms(&line) - began;
            match line["kind"].as_str() {
                Some("startup") => course.startup_ms = line["ms"].as_f64(),
                Some("stall_begin") => course.open = Some(at),
                Some("stall_end") => course
                    .stalls
                    .extend(course.open.take().map(|open| (open, at))),
                Some("switch") => course.switches += 1,
                Some("end") => course.ended = at,
                _ => {}
            }
        }
        course
            .stalls
            .extend(course.open.map(|open| (open, course.ended)));
        course
    }
}

fn parse(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}

fn time_ms(line: &Value) -> f64 {
    line["mono_ns"].as_f64().unwrap_or_default() / 1e6
}

fn merge(stalls: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut merged: Vec<(f64, f64)> = Vec::new();
    for &(begin, end) in stalls {
        match merged.last_mut() {
            Some(last) if begin - last.1 < MERGE_MS => last.1 = end,
            _ => merged.push((begin, end)),
        }
    }
    merged.retain(|(begin, end)| end - begin >= SHORTEST_MS);
    merged
}

/// Stalls that overlap, each used once: differences of beginnings and of ends.
fn pair(model: &[(f64, f64)], real: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut free: Vec<_> = real.to_vec();
    let mut pairs = Vec::new();
    for (begin, end) in model {
        let place = free
            .iter()
            .position(|(other_begin, other_end)| other_begin <= end && begin <= other_end);
        if let Some(place) = place {
            let (other_begin, other_end) = free.remove(place);
            pairs.push((begin - other_begin, end - other_end));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trains_of_stalls_merge_and_specks_go() {
        let stalls = [
            (0.0, 90.0),
            (1000.0, 1200.0),
            (1300.0, 1500.0),
            (5000.0, 6000.0),
        ];
        assert_eq!(merge(&stalls), [(1000.0, 1500.0), (5000.0, 6000.0)]);
    }

    #[test]
    fn each_stall_finds_at_most_one_partner() {
        let pairs = pair(&[(0.0, 100.0), (200.0, 300.0)], &[(10.0, 290.0)]);
        assert_eq!(pairs, [(-10.0, -190.0)]);
    }

    #[test]
    fn sessions_are_read_from_the_truth() {
        let line = |kind: &str, session: &str, ms: u64| {
            format!(
                "{{\"mono_ns\":{},\"session\":\"{session}\",\"kind\":\"{kind}\",\"ms\":5}}\n",
                ms * 1_000_000
            )
        };
        let truth = [
            line("start", "model", 0),
            line("startup", "model", 5),
            line("stall_begin", "model", 1000),
            line("stall_end", "model", 2000),
            line("startup", "chromium", 8),
            line("stall_begin", "chromium", 1100),
            line("stall_end", "chromium", 2200),
        ]
        .concat();
        let verdict = judge("t", &truth);
        assert_eq!(
            (&verdict["stalls_within_300_ms"], &verdict["one_to_one"]),
            (&json!(1), &json!(true))
        );
    }
}
