//! What exports of many series cost. The agent's own encoders are measured, in a process of their
//! own: `agent/examples/export.rs`.

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::report::Report;
use crate::{
    command::{output, step},
    workspace::cargo,
};

/// Most for a scrape, by the clock, and for an OTLP export, in processor time; in milliseconds.
const SCRAPE_MS: f64 = 100.0;
const OTLP_MS: f64 = 50.0;

/// What the example prints, a line each.
#[derive(Deserialize)]
struct Line {
    /// What was made.
    name: String,
    /// Milliseconds of each run.
    took_ms: Vec<f64>,
    /// Bytes made.
    bytes: u64,
    /// Series in it.
    series: u64,
}

pub(crate) fn run() -> Result<Report> {
    step!("build (release): the encoders with synthetic series");
    let mut example = cargo();
    example.args(["run", "--release", "--quiet", "--package", "weir"]);
    example.args(["--example", "export"]);
    let text = output(&mut example)?;
    let mut report = Report::new("exports of synthetic series, processor time");
    for line in text.lines() {
        let line: Line = serde_json::from_str(line).context("reading what the example says")?;
        let most = if line.name.starts_with("OTLP") {
            OTLP_MS
        } else {
            SCRAPE_MS
        };
        report.judge(&line.name, "ms", &line.took_ms, most);
        report.notes.push(format!(
            "{}: {} series, {} bytes",
            line.name, line.series, line.bytes
        ));
    }
    Ok(report)
}
