//! What evaluating rules costs: Weir's engine beside Prometheus and vmalert, all at once, with the
//! same 1,000 rules over the same 50,000 series. Each engine runs twice, with rules and without:
//! the difference is the evaluation.

mod peer;

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use self::peer::{Peers, Role};
use super::{
    gauge::{Cpu, Memory},
    report::Report,
};
use crate::{
    command::{note, run as run_command, step},
    workspace::{cargo, target},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Between samples and between evaluations; ranges of rules are 20 of them
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    /// Before counting: starts, first samples
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=900))]
    warm: u64,
    /// Of counting
    #[arg(long, default_value_t = 180, value_parser = clap::value_parser!(u64).range(5..=900))]
    seconds: u64,
}

/// Weir's share of what the others take.
const SHARE: f64 = 0.1;
/// Most that a store of 5,000 series and ten minutes may take, in MB.
const STORE_MB: f64 = 10.0;
const MB: f64 = (1 << 20) as f64;

/// Processor time in milliseconds and resident bytes of one process, over the time of counting.
#[derive(Clone, Copy, Default)]
struct Cost {
    cpu_ms: f64,
    rss: f64,
}

impl Cost {
    fn over(self, less: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms - less.cpu_ms,
            rss: self.rss - less.rss,
        }
    }

    fn and(self, more: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms + more.cpu_ms,
            rss: self.rss + more.rss,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let example = build()?;
    step!(
        "1,000 rules, 50,000 series, every {} s: {} s to warm up, {} s counted",
        args.interval,
        args.warm,
        args.seconds
    );
    let mut peers = Peers::start(&example, args.interval)?;
    pass(&mut peers, args.warm)?;
    let before = peers.read(Cpu::of)?;
    let began = Instant::now();
    // Memory of a process with a garbage collector depends on when one looks.
    let mut memory: Vec<Vec<(Role, Memory)>> = Vec::new();
    while began.elapsed() < Duration::from_secs(args.seconds) {
        pass(&mut peers, 5)?;
        memory.push(peers.read(Memory::of)?);
    }
    let took = began.elapsed();
    let after = peers.read(Cpu::of)?;
    let cost = |role: Role| -> Cost {
        let cpu = |list: &[(Role, Cpu)]| {
            let found = list.iter().find(|(which, _)| *which == role);
            found.map_or(0, |(_, cpu)| cpu.total_ns)
        };
        let rss = memory.iter().flatten().filter(|(which, _)| *which == role);
        let rss: Vec<_> = rss.map(|(_, memory)| memory.rss as f64).collect();
        Cost {
            cpu_ms: cpu(&after).saturating_sub(cpu(&before)) as f64 / 1e6,
            rss: rss.iter().sum::<f64>() / rss.len().max(1) as f64,
        }
    };
    let evaluations = took.as_secs_f64() / args.interval as f64;
    let mut report = report(cost, evaluations);
    peers.check(&mut report, evaluations)?;
    drop(peers);
    size(&example, &mut report)?;
    Ok(report)
}

/// What Weir's store takes for ten minutes of 5,000 series.
fn size(example: &Path, report: &mut Report) -> Result<()> {
    let output = Command::new(example).arg("size").output();
    let output = output.context("asking how large the store is")?;
    let said: Value = serde_json::from_slice(&output.stdout).context("it says no size")?;
    let mb = |key: &str| said[key].as_f64().unwrap_or(f64::INFINITY) / MB;
    let name = "store of 5,000 series, 10 minutes every 10 s";
    report.judge(
        format!("{name}, by its own count"),
        "MB",
        &[mb("bytes")],
        STORE_MB,
    );
    report.judge(
        format!("{name}, resident"),
        "MB",
        &[mb("resident")],
        STORE_MB,
    );
    report.notes.push(format!(
        "the store of 5,000 series holds {} samples, after half an hour of appending",
        said["samples"]
    ));
    Ok(())
}

/// Waits, and ends early if a process does.
fn pass(peers: &mut Peers, seconds: u64) -> Result<()> {
    for _ in 0..seconds {
        thread::sleep(Duration::from_secs(1));
        if let Some(who) = peers.ended()? {
            bail!("{who} ended");
        }
    }
    Ok(())
}

fn report(cost: impl Fn(Role) -> Cost, evaluations: f64) -> Report {
    let weir = cost(Role::Weir).over(cost(Role::WeirBare));
    let prometheus = cost(Role::Prometheus).over(cost(Role::PrometheusBare));
    let storage = cost(Role::Victoria).over(cost(Role::VictoriaBare));
    let vmalert = cost(Role::Vmalert).and(storage);
    let mut report = Report::new("rule evaluation: 1,000 rules over 50,000 series");
    let mut add = |name: &str, cost: Cost| {
        let per = cost.cpu_ms / evaluations;
        report.add(format!("{name}, processor time an interval"), "ms", &[per]);
        report.add(format!("{name}, memory"), "MB", &[cost.rss / MB]);
    };
    for role in Role::ALL {
        add(role.name(), cost(role));
    }
    add("Weir: rules alone", weir);
    add("Prometheus: rules alone", prometheus);
    add("vmalert and what it asks: rules alone", vmalert);
    let (whole, other) = (cost(Role::Weir), cost(Role::Prometheus));
    let process = cost(Role::Vmalert);
    let asked = process.and(cost(Role::Victoria));
    for (name, ours, theirs) in [
        ("rules alone: Weir / Prometheus", weir, prometheus),
        ("rules alone: Weir / vmalert and asked", weir, vmalert),
        ("rules alone: Weir / vmalert process", weir, process),
        ("whole: Weir / Prometheus", whole, other),
        ("whole: Weir / vmalert and asked", whole, asked),
    ] {
        let share = |ours: f64, theirs: f64| {
            let share = if theirs > 0.0 {
                ours / theirs
            } else {
                f64::INFINITY
            };
            [share]
        };
        let (time, memory) = (format!("{name}, time"), format!("{name}, memory"));
        report.judge(&time, "ratio", &share(ours.cpu_ms, theirs.cpu_ms), SHARE);
        report.judge(&memory, "ratio", &share(ours.rss, theirs.rss), SHARE);
    }
    report.notes.extend(
        [
            "rules alone: the process with rules less the same process without, in the same run",
            "Weir: its real store and rule set in a process of its own that makes the series itself; the others scrape and parse them, which the difference leaves out and the whole does not",
            "vmalert and what it asks: vmalert's process and what the VictoriaMetrics grows by that it asks and writes to; vmalert's process alone evaluates no expression and keeps no sample",
            "Weir keeps windows only for rules: without rules its process holds last values",
        ]
        .map(str::to_owned),
    );
    report
}

/// Builds the example that is measured, and gives its path.
fn build() -> Result<PathBuf> {
    step!("build (release): Weir's store and rules, and the exporter");
    run_command(
        cargo()
            .args(["build", "--release", "--quiet", "--package", "weir"])
            .args(["--example", "rules"]),
    )?;
    let example = target()?.join("release/examples/rules");
    note!("{}", example.display());
    Ok(example)
}
