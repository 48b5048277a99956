//! Many model players on one core, with nothing between them and the origin: what they cost and
//! how late parts come.
//!
//! All players run in one thread bound to one core; the origin has the others (or shares it where
//! there is only one). A part is late when it came more than its own length behind the quickest
//! part of the same player, counted from the moment at which it could have been made; only parts
//! at the live edge count. What delays them may be the origin, the kernel or the players' core.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::crowd::playback::Settings;
use crate::crowd::session::Shared;
use crate::crowd::viewer;
use crate::truth::Role;

use super::{Args, begin};

pub(super) fn measure(args: &Args, folder: &Path) -> Result<Value> {
    let (shared, _) = begin(folder, "players")?;
    let playing = shared.clone();
    let (before, origin_before) = (cpu_seconds("self")?, origin_seconds(args)?);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let crowd = std::thread::Builder::new()
            .name("crowd".to_owned())
            .spawn_scoped(scope, || play(args, &playing))
            .context("starting the crowd's thread")?;
        crowd
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the crowd's thread panicked")))
    })?;
    let lasted_s = began.elapsed().as_secs_f64();
    let cores = (cpu_seconds("self")? - before) / lasted_s;
    let origin_cores = origin_seconds(args)?
        .zip(origin_before)
        .map(|(after, before)| (after - before) / lasted_s);
    let totals = shared.truth.close();
    ensure!(
        totals.lost == 0,
        "{} lines of the truth were lost",
        totals.lost
    );
    let mut sums = Value::Null;
    shared.sum(|summary| sums = summary.to_json());
    let of = |name: &str| sums["counts"][name].as_f64().unwrap_or_default();
    Ok(json!({
        "players": args.players,
        "cores": cores,
        "origin_cores": origin_cores,
        "parts_at_edge": of("parts"),
        "late_parts_percent": 100.0 * of("late_parts") / of("parts").max(1.0),
        "summary": sums,
    }))
}

/// Plays on one core.
fn play(args: &Args, shared: &Shared) -> Result<()> {
    let allowed = sched_getaffinity(None).context("asking which cores there are")?;
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu));
    let mut one = CpuSet::new();
    one.set(last.context("there is no core")?);
    sched_setaffinity(None, &one).context("sched_setaffinity to one core")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the players' runtime")?;
    runtime.block_on(play_all(args, shared));
    Ok(())
}

async fn play_all(args: &Args, shared: &Shared) {
    let (_valve, gate) = watch::channel(true);
    let mut players = tokio::task::JoinSet::new();
    // Two seconds for all of them: a crowd that comes, not one that is there.
    #[expect(clippy::cast_precision_loss, reason = "players are few")]
    let pause = Duration::from_secs_f64(2.0 / args.players as f64);
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
        tokio::time::sleep(pause).await;
    }
    while players.join_next().await.is_some() {}
}

fn origin_seconds(args: &Args) -> Result<Option<f64>> {
    args.origin_pid
        .map(|pid| cpu_seconds(&pid.to_string()))
        .transpose()
}

/// Processor time of a process so far.
fn cpu_seconds(process: &str) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
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
