//! What a store takes that keeps ten minutes of 5,000 series, a sample every ten seconds.

use serde_json::json;
use weir_promql::labels::Labels;
use weir_promql::matcher::{MatchOp, Matcher};
use weir_promql::store::{Need, Store, StoreLimits};
use weir_promql::value::Point;

use crate::course;

const SERIES: usize = 5_000;
const STEP_MS: i64 = 10_000;
const WINDOW_MS: i64 = 600_000;

/// Prints bytes as the store counts them and by which the process grew, after half an hour.
pub(crate) fn measure() {
    let before = resident();
    let mut store = Store::new(StoreLimits::default());
    store.set_needs(vec![Need {
        matchers: vec![Matcher::new("__name__", MatchOp::Regex, ".+").unwrap()],
        window_ms: WINDOW_MS,
    }]);
    for step in 0..180_u32 {
        for series in course::series().take(SERIES) {
            let name = ("__name__", series.name());
            let labels = Labels::new(std::iter::once(name).chain(series.labels()));
            let point = Point {
                at_ms: i64::from(step) * STEP_MS,
                start_ms: 0,
                value: series.value(step.into()).into(),
            };
            store.append(&labels, point).unwrap();
        }
    }
    let grown = resident().saturating_sub(before);
    let stats = store.stats();
    println!(
        "{}",
        json!({ "series": stats.series, "samples": stats.samples, "bytes": stats.bytes, "resident": grown })
    );
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kb * 1024
}
