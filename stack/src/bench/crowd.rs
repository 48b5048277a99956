//! The crowd's own figures: how well the model agrees with hls.js on the same network trace, and
//! what many players cost and how late their parts come.
//!
//! The origin runs as its own process. For agreement each of two players, the model and hls.js in
//! Chromium, has a link of its own with the same rate at the same moment.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

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
    /// Players of the second part; 0 leaves it out
    #[arg(long, default_value_t = 200)]
    players: usize,
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
    let mut agreement = Vec::new();
    if let Some(script) = &args.hls_js {
        let browser = Browser::start(None, script).await?;
        // The first page compiles hls.js and warms Chromium's caches; it is not measured.
        let warm = Trace {
            name: "warm-up",
            seconds: 5.0,
            steps: &[(0.0, 50e6)],
        };
        compare(&args, &browser, &warm, &folder).await?;
        for trace in TRACES
            .iter()
            .filter(|trace| args.trace.as_ref().is_none_or(|name| name == trace.name))
        {
            agreement.push(compare(&args, &browser, trace, &folder).await?);
        }
    }
    let many = if args.players > 0 {
        many(&args, &folder).await?
    } else {
        Value::Null
    };
    println!("{}", json!({ "agreement": agreement, "players": many }));
    Ok(ExitCode::SUCCESS)
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
async fn compare(args: &Args, browser: &Browser, trace: &Trace, folder: &Path) -> Result<Value> {
    let (shared, path) = begin(folder, trace.name)?;
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
    Ok(agreement::judge(trace.name, &text))
}

/// Many players without a link between: what they cost and how late parts are.
async fn many(args: &Args, folder: &Path) -> Result<Value> {
    let (shared, _) = begin(folder, "players")?;
    let (_valve, gate) = watch::channel(true);
    let (began, cpu_before) = (Instant::now(), cpu_seconds()?);
    let mut players = tokio::task::JoinSet::new();
    for number in 0..args.players {
        let name: Arc<str> = format!("p-{number:05}").into();
        let plan = viewer::Plan {
            url: args.stream.clone(),
            acts: Vec::new(),
            leave_at: args.seconds,
            settings: Settings::default(),
        };
        let session = shared.open(&name, Role::Player, "crowd", args.stream.as_str(), 0.0);
        players.spawn(viewer::watch(session, gate.clone(), plan));
        // Two seconds for all of them: a crowd that comes, not one that is there.
        tokio::time::sleep(Duration::from_secs_f64(2.0 / args.players as f64)).await;
    }
    while players.join_next().await.is_some() {}
    let cores = (cpu_seconds()? - cpu_before) / began.elapsed().as_secs_f64();
    let totals = shared.truth.close();
    let mut sums = Value::Null;
    shared.sum(|summary| sums = summary.to_json());
    ensure!(
        totals.lost == 0,
        "{} lines of the truth were lost",
        totals.lost
    );
    let of = |name: &str| sums["counts"][name].as_f64().unwrap_or_default();
    Ok(json!({
        "players": args.players,
        "cores": cores,
        "late_parts_percent": 100.0 * of("late_parts") / of("parts").max(1.0),
        "summary": sums,
    }))
}

/// Processor time of this process so far.
fn cpu_seconds() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").context("reading /proc/self/stat")?;
    // Fields 14 and 15, counted behind the name, which may hold anything but ends with the last ')'.
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: f64 = after
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "ticks a second are few")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(ticks / per_second)
}
