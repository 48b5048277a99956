//! The crowd's own figures: how soon hls.js in Chromium shows a live stream, how well the model
//! agrees with it on the same network trace, and what many players cost and how late their parts
//! come. The origin runs as its own process.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::crowd::browser::Browser;
use crate::crowd::session::Shared;
use crate::crowd::summary::Summary;
use crate::truth;

mod agreement;
mod link;
mod live;
mod many;
mod page;
mod pair;
mod transfer;

use agreement::Comparison;
use link::{TRACES, Trace};

/// Arguments of `weir-stack bench crowd`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Multivariant playlist of a running origin
    #[arg(long)]
    stream: Url,
    /// The file hls.min.js; without it neither Chromium nor agreement is measured
    #[arg(long)]
    hls_js: Option<PathBuf>,
    /// Times that Chromium begins to watch with nothing between it and the origin; 0 leaves it out
    #[arg(long, default_value_t = 10)]
    starts: u32,
    /// Only this trace: steady, dip, outage, slow, sawtooth
    #[arg(long)]
    trace: Option<String>,
    /// Runs of each trace; 0 leaves agreement out
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Ends each trace after so many seconds
    #[arg(long)]
    cut: Option<f64>,
    /// A second hls.js instead of the model: how far two of the same agree
    #[arg(long)]
    twin: bool,
    /// Players of the second part; 0 leaves it out
    #[arg(long, default_value_t = 200)]
    players: usize,
    /// Process of the origin, to say what it cost in the second part
    #[arg(long)]
    origin_pid: Option<u32>,
    /// Length of the second part
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Keep the truth of all runs in this folder
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Measures and prints one JSON object.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let folder = tempfile::tempdir().context("making a folder for the truth")?;
    let folder = args
        .keep
        .clone()
        .unwrap_or_else(|| folder.path().to_owned());
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let (mut live, mut agreement) = (Value::Null, Value::Null);
    if let Some(script) = &args.hls_js {
        let browser = Browser::start(None, script).await?;
        live::warm_up(&args, &browser, &folder).await?;
        if args.starts > 0 {
            live = live::measure(&args, &browser, &folder).await?;
        }
        if args.runs > 0 {
            agreement = agree(&args, &browser, &folder).await?;
        }
    }
    let many = if args.players > 0 {
        tokio::task::block_in_place(|| many::measure(&args, &folder))?
    } else {
        Value::Null
    };
    println!(
        "{}",
        json!({ "live": live, "agreement": agreement, "players": many })
    );
    Ok(ExitCode::SUCCESS)
}

/// All traces, each as often as asked for.
async fn agree(args: &Args, browser: &Browser, folder: &Path) -> Result<Value> {
    let traces: Vec<&Trace> = TRACES
        .iter()
        .filter(|trace| args.trace.as_ref().is_none_or(|name| name == trace.name))
        .collect();
    ensure!(!traces.is_empty(), "--trace: no trace has that name");
    let mut comparisons = Vec::new();
    for run in 1..=args.runs {
        for trace in &traces {
            let comparison = pair::compare(args, browser, trace, run, folder).await?;
            tracing::info!(run, "{}", comparison.to_json());
            comparisons.push(comparison);
        }
    }
    let runs: Vec<Value> = comparisons.iter().map(Comparison::to_json).collect();
    Ok(json!({ "summary": agreement::sum_up(&comparisons), "runs": runs }))
}

/// The handles of one run.
fn begin(folder: &Path, name: &str) -> Result<(Shared, PathBuf)> {
    let path = folder.join(format!("{name}.jsonl"));
    let truth = truth::create(&path)?;
    Ok((
        Shared {
            truth,
            summary: Arc::new(Mutex::new(Summary::default())),
            stop: CancellationToken::new(),
        },
        path,
    ))
}

/// Ends a run and reads what its truth says.
fn end(shared: &Shared, path: &Path) -> Result<String> {
    shared.truth.close();
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}
