//! What evaluating rules costs: Weir's engine beside Prometheus and vmalert, all at once, with the
//! same 1,000 rules over the same 50,000 series. Each engine runs twice, with rules and without:
//! the difference is the evaluation.

mod peer;

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

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
    Ok(report)
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
    let mut judge = |name: &str, ours: f64, theirs: f64| {
        let share = if theirs > 0.0 {
            ours / theirs
        } else {
            f64::INFINITY
        };
        report.judge(name, "ratio", &[share], SHARE);
    };
    let (whole, bare) = (cost(Role::Weir), cost(Role::Prometheus));
    let asked = cost(Role::Vmalert).and(cost(Role::Victoria));
    judge(
        "rules alone, time: Weir / Prometheus",
        weir.cpu_ms,
        prometheus.cpu_ms,
    );
    judge(
        "rules alone, time: Weir / vmalert and asked",
        weir.cpu_ms,
        vmalert.cpu_ms,
    );
    judge(
        "rules alone, time: Weir / vmalert process",
        weir.cpu_ms,
        cost(Role::Vmalert).cpu_ms,
    );
    judge("whole, time: Weir / Prometheus", whole.cpu_ms, bare.cpu_ms);
    judge("whole, memory: Weir / Prometheus", whole.rss, bare.rss);
    judge(
        "whole, memory: Weir / vmalert and asked",
        whole.rss,
        asked.rss,
    );
    judge(
        "whole, memory: Weir / vmalert process",
        whole.rss,
        cost(Role::Vmalert).rss,
    );
    report.notes.extend(
        [
            "rules alone: the process with rules less the same process without, in the same run; of memory this is mostly the collector's chance, so the whole is judged",
            "Weir: its real store and rule set in a process of its own that makes the series itself; the others scrape and parse them, which the difference leaves out and the whole does not",
            "vmalert and what it asks: vmalert's process and what the VictoriaMetrics grows by that it asks and writes to",
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
