//! The crowd's own figures: how well the model agrees with hls.js on the same network trace, and
//! what many players cost and how late their parts come.
//!
//! The origin runs as its own process. For agreement each of two players, the model and hls.js in
//! Chromium, has a link of its own with the same rate at the same moment.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::crowd::browser::{self, Browser};
use crate::crowd::playback::Settings;
use crate::crowd::session::Shared;
use crate::crowd::summary::Summary;
use crate::crowd::viewer;
use crate::truth::{self, Role};

mod agreement;
mod link;
mod many;

use agreement::Comparison;
use link::{Link, TRACES, Trace};

/// Arguments of `weir-stack bench crowd`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Multivariant playlist of a running origin
    #[arg(long)]
    stream: Url,
    /// The file hls.min.js; without it agreement is not measured
    #[arg(long)]
    hls_js: Option<PathBuf>,
    /// Only this trace: steady, dip, outage, slow, sawtooth
    #[arg(long)]
    trace: Option<String>,
    /// Runs of each trace
    #[arg(long, default_value_t = 5)]
    runs: u32,
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
    let agreement = match &args.hls_js {
        Some(script) => agree(&args, script, &folder).await?,
        None => Value::Null,
    };
    let many = if args.players > 0 {
        tokio::task::block_in_place(|| many::measure(&args, &folder))?
    } else {
        Value::Null
    };
    println!("{}", json!({ "agreement": agreement, "players": many }));
    Ok(ExitCode::SUCCESS)
}

/// All traces, each as often as asked for.
async fn agree(args: &Args, script: &Path, folder: &Path) -> Result<Value> {
    let traces: Vec<&Trace> = TRACES
        .iter()
        .filter(|trace| args.trace.as_ref().is_none_or(|name| name == trace.name))
        .collect();
    ensure!(!traces.is_empty(), "--trace: no trace has that name");
    let browser = Browser::start(None, script).await?;
    // The first page compiles hls.js and warms Chromium's caches; it is not measured.
    let warm = Trace {
        name: "warm-up",
        seconds: 5.0,
        steps: &[(0.0, 50e6)],
    };
    compare(args, &browser, &warm, 0, folder).await?;
    let mut comparisons = Vec::new();
    for run in 1..=args.runs {
        for trace in &traces {
            let comparison = compare(args, &browser, trace, run, folder).await?;
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

/// Both players on links of the same trace at the same time.
async fn compare(
    args: &Args,
    browser: &Browser,
    trace: &Trace,
    run: u32,
    folder: &Path,
) -> Result<Comparison> {
    let (shared, path) = begin(folder, &format!("{}-{run}", trace.name))?;
    let page = browser.open_page().await?;
    let links = [
        Link::start(&args.stream, trace).await?,
        Link::start(&args.stream, trace).await?,
    ];
    let [model_url, real_url] = [links[0].url(), links[1].url()];
    let (_valve, gate) = watch::channel(true);
    let (model, real) = (Arc::from("model"), Arc::from("chromium"));
    let model_plan = viewer::Plan {
        url: model_url.clone(),
        acts: Vec::new(),
        leave_at: trace.seconds,
        settings: Settings::default(),
    };
    let real_plan = browser::Plan {
        url: real_url.clone(),
        acts: Vec::new(),
        leave_at: trace.seconds,
        config: json!({}),
    };
    let model_session = shared.open(&model, Role::Player, "crowd", model_url.as_str(), 0.0);
    let real_session = shared.open(&real, Role::Player, "chromium", real_url.as_str(), 0.0);
    tokio::join!(
        viewer::watch(model_session, gate, model_plan),
        browser.watch(page, &real_session, &real_plan)
    );
    shared.truth.close();
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Comparison::new(trace.name, &text))
}
