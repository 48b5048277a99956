//! Players, chat users and gamers: open-loop load that writes down what really happened.
//!
//! Who comes when and does what follows from seed and scene alone ([`arrival`], [`scene`]). The
//! models ([`player`], [`playback`], [`abr`], [`track`]) do no I/O and read no clock; what drives
//! them is [`viewer`]. Everything goes into one [`crate::truth`] file and one [`summary`].

mod abr;
mod arrival;
pub(crate) mod browser;
mod chatter;
mod clock;
mod control;
mod gamer;
mod net;
pub(crate) mod playback;
mod player;
mod playlist;
mod scene;
pub(crate) mod session;
pub(crate) mod summary;
mod tally;
mod track;
mod troupe;
pub(crate) mod viewer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::sync::mpsc;
use url::Url;

use crate::truth::{self, Event, SCHEMA};
use browser::Browser;
use scene::Scene;
use session::Shared;
use summary::Summary;
use troupe::Troupe;

/// Most users of one sort in one process: each takes a socket or more.
const USERS: usize = 50_000;
/// Orders that may wait.
const ORDERS: usize = 16;

/// Arguments of `weir-stack crowd`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// idol, flash-sale, esports, or a TOML file
    #[arg(long, default_value = "esports")]
    scene: String,
    /// Modelled players of --stream
    #[arg(long, default_value_t = 0)]
    players: usize,
    /// Real players of --stream: hls.js in headless Chromium
    #[arg(long, default_value_t = 0)]
    browser: usize,
    /// The file hls.min.js of the npm package hls.js, for --browser; `weir-stack media` fetches it and
    /// says where it is
    #[arg(long)]
    hls_js: Option<PathBuf>,
    /// Chromium, if it is not in the path
    #[arg(long)]
    chromium: Option<PathBuf>,
    /// Configuration of hls.js beyond its defaults, as JSON
    #[arg(long, default_value = "{}")]
    hls_config: String,
    /// Chat users of --chat
    #[arg(long, default_value_t = 0)]
    chatters: usize,
    /// Gamers of --game
    #[arg(long, default_value_t = 0)]
    gamers: usize,
    /// Multivariant playlist, such as http://127.0.0.1:8080/live/demo/master.m3u8
    #[arg(long)]
    stream: Option<Url>,
    /// Chat service, such as ws://127.0.0.1:9482; the room is the scene's if the address has none
    #[arg(long)]
    chat: Option<Url>,
    /// Matchmaker, such as http://127.0.0.1:9483
    #[arg(long)]
    game: Option<Url>,
    /// Decides about arrivals and all behaviour
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The run ends after this long
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// Where the truth goes, as JSON lines (see stack/TRUTH.md)
    #[arg(long)]
    truth: PathBuf,
    /// Print the summary as JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the crowd; writes the truth, prints the summary.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let scene = Scene::load(&args.scene)?;
    check(&args)?;
    let truth = truth::create(&args.truth)?;
    truth.put(
        None,
        Event::Run {
            schema: SCHEMA,
            writer: "crowd",
            seed: args.seed,
            name: args.scene.clone(),
        },
    );
    let stop = crate::daemon::stop_token()?;
    let shared = Shared {
        truth,
        summary: Arc::new(Mutex::new(Summary::default())),
        stop,
    };
    let (orders, taken) = mpsc::channel(ORDERS);
    let (comers, come) = mpsc::channel(ORDERS);
    std::thread::Builder::new()
        .name("orders".to_owned())
        .spawn(move || control::listen(std::io::stdin().lock(), &orders))
        .context("starting the thread that reads orders")?;
    let obedience = tokio::spawn(control::obey(shared.clone(), taken, come));
    let browser = start_browser(&args).await?;
    let troupe = Troupe {
        scene,
        args: &args,
        shared: shared.clone(),
        comers,
        browser,
    };
    let end = tokio::time::sleep(Duration::from_secs_f64(args.seconds));
    let stopper = shared.stop.clone();
    let timer = tokio::spawn(async move {
        end.await;
        stopper.cancel();
    });
    troupe.perform().await;
    for task in [obedience, timer] {
        task.abort();
    }
    finish(&args, &shared)
}

async fn start_browser(args: &Args) -> Result<Option<(Arc<Browser>, serde_json::Value)>> {
    if args.browser == 0 {
        return Ok(None);
    }
    let script = args
        .hls_js
        .as_ref()
        .context("--browser needs --hls-js FILE, the file hls.min.js of the npm package hls.js")?;
    let config = serde_json::from_str(&args.hls_config)
        .with_context(|| format!("--hls-config {}", args.hls_config))?;
    let browser = Browser::start(args.chromium.as_deref(), script).await?;
    Ok(Some((Arc::new(browser), config)))
}

fn check(args: &Args) -> Result<()> {
    for (users, count, flag, url) in [
        ("players", args.players, "stream", &args.stream),
        ("browser", args.browser, "stream", &args.stream),
        ("chatters", args.chatters, "chat", &args.chat),
        ("gamers", args.gamers, "game", &args.game),
    ] {
        if count > USERS {
            bail!("--{users} may be {USERS} at most");
        }
        if count > 0 && url.is_none() {
            bail!("--{users} {count} needs --{flag} URL");
        }
        if let Some(url) = url
            && !matches!(url.scheme(), "http" | "ws")
        {
            bail!("--{flag} {url}: only http and ws addresses are known");
        }
    }
    if !(0.0..=86_400.0).contains(&args.seconds) {
        bail!("--seconds must lie between 0 and 86400");
    }
    Ok(())
}

fn finish(args: &Args, shared: &Shared) -> Result<ExitCode> {
    let totals = shared.truth.close();
    let mut summary = shared
        .summary
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    summary.count("truth_lines", totals.lines);
    summary.count("truth_lost", totals.lost);
    if args.json {
        println!(
            "{}",
            serde_json::to_string(&summary.to_json()).context("writing the summary")?
        );
    } else {
        print!("{}", summary.to_table());
    }
    if totals.lost > 0 {
        eprintln!(
            "error: {} lines of the truth were lost; {} is not whole",
            totals.lost,
            args.truth.display()
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
