//! Two sessions of one truth, compared: stalls one to one, startup; and what many comparisons
//! come to.

use serde_json::{Value, json};

/// Stalls nearer than this are one, shorter ones none (ms): low latency stalls in trains.
const MERGE_MS: f64 = 250.0;
const SHORTEST_MS: f64 = 100.0;
/// How far apart beginnings and ends of the same stall may be, ms.
const WITHIN_MS: f64 = 300.0;
/// What hls.js reports when it has tripped over itself: an exception of its own, or an append while
/// another was running. A model of what it means to do cannot foretell these.
const OWN_ERRORS: [&str; 2] = ["internalException", "bufferAppendError"];
/// How far apart startups may be, ms.
const STARTUP_WITHIN_MS: f64 = 200.0;

/// What one session did, in milliseconds of CLOCK_MONOTONIC.
#[derive(Debug, Default)]
struct Course {
    startup_ms: Option<f64>,
    stalls: Vec<(f64, f64)>,
    open: Option<f64>,
    switches: u64,
    /// Errors of the player's own making.
    own_errors: u64,
    ended: f64,
}

/// One run of both players on the same trace. Differences are the model's less hls.js's, ms.
#[derive(Debug)]
pub(super) struct Comparison {
    trace: String,
    model: Course,
    real: Course,
    /// Of each stall that both have: beginning and end.
    pairs: Vec<(f64, f64)>,
    startup: Option<f64>,
}

impl Comparison {
    /// Compares `model` and `chromium` in the lines of a truth.
    pub(super) fn new(trace: &str, truth: &str) -> Self {
        let began = truth
            .lines()
            .filter_map(parse)
            .next()
            .map_or(0.0, |line| time_ms(&line));
        let [mut model, mut real] =
            ["model", "chromium"].map(|name| Course::read(truth, name, began));
        model.stalls = merge(&model.stalls);
        real.stalls = merge(&real.stalls);
        let startups = model.startup_ms.zip(real.startup_ms);
        Self {
            trace: trace.to_owned(),
            pairs: pair(&model.stalls, &real.stalls),
            startup: startups.map(|(model, real)| model - real),
            model,
            real,
        }
    }

    /// Stalls that both have, at the same time.
    fn within(&self) -> usize {
        let near = |(begin, end): &&(f64, f64)| begin.abs() <= WITHIN_MS && end.abs() <= WITHIN_MS;
        self.pairs.iter().filter(near).count()
    }

    /// Each stall of one is a stall of the other at the same time, and both start alike.
    fn agrees(&self) -> bool {
        let stalls = self.within();
        stalls == self.model.stalls.len()
            && stalls == self.real.stalls.len()
            && self
                .startup
                .is_some_and(|difference| difference.abs() <= STARTUP_WITHIN_MS)
    }

    pub(super) fn to_json(&self) -> Value {
        let Self { model, real, .. } = self;
        json!({
            "trace": self.trace,
            "agrees": self.agrees(),
            "startup_ms": { "model": model.startup_ms, "hls_js": real.startup_ms, "difference": self.startup },
            "stalls_ms": { "model": model.stalls, "hls_js": real.stalls },
            "stalls_paired": self.pairs.len(),
            "stalls_within_300_ms": self.within(),
            "switches": { "model": model.switches, "hls_js": real.switches },
            "hls_js_own_errors": real.own_errors,
        })
    }
}

/// What all comparisons come to; beside it, what those come to in which hls.js did not trip.
pub(super) fn sum_up(comparisons: &[Comparison]) -> Value {
    let all: Vec<&Comparison> = comparisons.iter().collect();
    let untripped = all.iter().filter(|one| one.real.own_errors == 0);
    let mut sum = sum_of(&all);
    sum["without_hls_js_own_errors"] = sum_of(&untripped.copied().collect::<Vec<_>>());
    sum
}

/// Counts, and how far apart the two players were.
fn sum_of(comparisons: &[&Comparison]) -> Value {
    let count = |of: fn(&Comparison) -> usize| comparisons.iter().map(|one| of(one)).sum::<usize>();
    let pairs = || comparisons.iter().flat_map(|one| &one.pairs);
    json!({
        "runs": comparisons.len(),
        "runs_that_agree": count(|one| usize::from(one.agrees())),
        "stalls": { "model": count(|one| one.model.stalls.len()), "hls_js": count(|one| one.real.stalls.len()) },
        "stalls_paired": count(|one| one.pairs.len()),
        "stalls_within_300_ms": count(Comparison::within),
        "startup_off_ms": spread(comparisons.iter().filter_map(|one| one.startup)),
        "stall_begin_off_ms": spread(pairs().map(|(begin, _)| *begin)),
        "stall_end_off_ms": spread(pairs().map(|(_, end)| *end)),
    })
}

/// Median and largest of absolute values.
fn spread(differences: impl Iterator<Item = f64>) -> Value {
    let mut sizes: Vec<f64> = differences.map(f64::abs).collect();
    sizes.sort_by(f64::total_cmp);
    json!({ "count": sizes.len(), "median": sizes.get(sizes.len() / 2), "worst": sizes.last() })
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
                Some("failure") if OWN_ERRORS.iter().any(|name| line["what"] == *name) => {
                    course.own_errors += 1;
                }
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
        let comparison = Comparison::new("t", &truth);
        assert_eq!(comparison.within(), 1);
        assert!(comparison.agrees());
        let later = truth.replace("\"mono_ns\":2200000000", "\"mono_ns\":2400000000");
        let apart = Comparison::new("t", &later);
        assert_eq!((apart.pairs.len(), apart.within()), (1, 0));
        let sum = sum_up(&[comparison, apart]);
        assert_eq!(
            (
                &sum["runs"],
                &sum["runs_that_agree"],
                &sum["stalls"]["model"]
            ),
            (&json!(2), &json!(1), &json!(2))
        );
        assert_eq!(
            sum["stall_end_off_ms"],
            json!({ "count": 2, "median": 400.0, "worst": 400.0 })
        );
        assert_eq!(sum["startup_off_ms"]["worst"], 0.0);
    }

    #[test]
    fn runs_in_which_hls_js_tripped_are_summed_up_apart_too() {
        let sound = "{\"mono_ns\":1,\"session\":\"model\",\"kind\":\"startup\",\"ms\":5}\n\
                     {\"mono_ns\":1,\"session\":\"chromium\",\"kind\":\"startup\",\"ms\":5}\n";
        let tripped = format!(
            "{sound}{{\"mono_ns\":9,\"session\":\"chromium\",\"kind\":\"failure\",\"what\":\"bufferAppendError\"}}\n"
        );
        let sum = sum_up(&[Comparison::new("t", sound), Comparison::new("t", &tripped)]);
        assert_eq!(sum["runs"], 2);
        assert_eq!(sum["without_hls_js_own_errors"]["runs"], 1);
    }

    #[test]
    fn a_stall_that_only_one_player_has_is_no_agreement() {
        let truth = "{\"mono_ns\":1,\"session\":\"model\",\"kind\":\"startup\",\"ms\":5}\n\
                     {\"mono_ns\":1,\"session\":\"chromium\",\"kind\":\"startup\",\"ms\":5}\n";
        assert!(Comparison::new("t", truth).agrees());
        let stalled = format!(
            "{truth}{{\"mono_ns\":1,\"session\":\"model\",\"kind\":\"stall_begin\"}}\n\
             {{\"mono_ns\":900000000,\"session\":\"model\",\"kind\":\"end\"}}\n"
        );
        assert!(!Comparison::new("t", &stalled).agrees());
    }
}
