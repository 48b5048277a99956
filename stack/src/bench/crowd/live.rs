//! hls.js in Chromium with nothing between it and the origin: how soon the first frame shows, and
//! how far behind the live edge it plays.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Args, begin, end, page};
use crate::crowd::browser::Browser;
use crate::crowd::session::Shared;

/// Length of one session, seconds.
const WATCH_S: f64 = 8.0;

/// A page that is not measured: it compiles hls.js and warms Chromium's caches.
pub(super) async fn warm_up(args: &Args, browser: &Browser, folder: &Path) -> Result<()> {
    let (shared, _) = begin(folder, "warm-up")?;
    watch(args, browser, &shared).await?;
    shared.truth.close();
    Ok(())
}

/// Starts as often as asked for, each in a browser context of its own.
pub(super) async fn measure(args: &Args, browser: &Browser, folder: &Path) -> Result<Value> {
    let mut starts = Vec::new();
    for number in 1..=args.starts {
        let (shared, path) = begin(folder, &format!("live-{number}"))?;
        watch(args, browser, &shared).await?;
        starts.push(Start::read(&end(&shared, &path)?));
    }
    Ok(sum_up(&starts))
}

async fn watch(args: &Args, browser: &Browser, shared: &Shared) -> Result<()> {
    let page = browser.open_page().await?;
    page::watch(
        browser,
        page,
        shared,
        "chromium",
        args.stream.clone(),
        WATCH_S,
    )
    .await;
    Ok(())
}

/// What one session came to.
#[derive(Debug, Default, PartialEq)]
struct Start {
    first_frame_ms: Option<f64>,
    /// One a second, from the first frame on.
    latencies_s: Vec<f64>,
    stalls: usize,
}

impl Start {
    fn read(truth: &str) -> Self {
        let mut start = Self::default();
        let lines = truth.lines();
        for line in lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            match line["kind"].as_str() {
                Some("startup") => start.first_frame_ms = line["ms"].as_f64(),
                Some("stall_begin") => start.stalls += 1,
                Some("level") => start.latencies_s.extend(line["latency_s"].as_f64()),
                _ => {}
            }
        }
        start
    }
}

fn sum_up(starts: &[Start]) -> Value {
    let frames = starts.iter().filter_map(|start| start.first_frame_ms);
    let latencies = starts.iter().flat_map(|start| &start.latencies_s);
    json!({
        "starts": starts.len(),
        "first_frame_ms": spread(frames),
        "live_latency_s": spread(latencies.copied()),
        "stalls": starts.iter().map(|start| start.stalls).sum::<usize>(),
    })
}

/// Nearest-rank percentiles.
fn spread(values: impl Iterator<Item = f64>) -> Value {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1)
    };
    json!({ "count": sorted.len(), "median": at(50), "p90": at(90), "worst": sorted.last() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_s_truth_says_when_it_began_and_how_far_behind_it_was() {
        let truth = r#"{"kind":"startup","ms":300.5,"latency_s":0.7}
{"kind":"level","latency_s":0.8}
{"kind":"stall_begin","playhead_s":1.0}
{"kind":"level","latency_s":null}
{"kind":"level","latency_s":0.9}
{"kind":"last","#;
        let start = Start::read(truth);
        let expected = Start {
            first_frame_ms: Some(300.5),
            latencies_s: vec![0.8, 0.9],
            stalls: 1,
        };
        assert_eq!(start, expected);
        let sum = sum_up(&[start, Start::default()]);
        assert_eq!((&sum["starts"], &sum["stalls"]), (&json!(2), &json!(1)));
        assert_eq!(
            sum["first_frame_ms"]["count"], 1,
            "who shows nothing has no time"
        );
        assert_eq!(
            sum["live_latency_s"],
            json!({ "count": 2, "median": 0.8, "p90": 0.9, "worst": 0.9 })
        );
    }
}
