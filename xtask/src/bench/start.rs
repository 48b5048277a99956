//! How long a start takes until metrics are there.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, bail};

use super::{
    agent::Agent,
    gauge::{Cpu, Memory},
    report::Report,
    sample::{Samples, label},
};
use crate::command::step;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Starts
    #[arg(long, default_value_t = 20)]
    starts: u32,
}

/// Most from `exec` to the first answered scrape, in milliseconds.
const READY_MS: f64 = 86.0;
const MB: f64 = (1 << 20) as f64;

/// Points in the agent's log, and what was done until then.
const PHASES: [(&str, &str); 2] = [
    ("attached", "probes loaded and attached"),
    ("watching", "open sockets taken over"),
];

pub(crate) fn run(args: &Args, binary: &Path) -> Result<Report> {
    step!("{} starts", args.starts);
    let mut ready = Vec::new();
    let (mut memory, mut cpu) = (Vec::new(), Vec::new());
    let mut phases = vec![Vec::new(); PHASES.len()];
    for _ in 0..args.starts {
        let mut agent = Agent::start(binary, "")?;
        let (samples, took) = agent.first_scrape()?;
        all_attached(&samples)?;
        ready.push(took.as_secs_f64() * 1e3);
        cpu.push(Cpu::of(agent.pid())?.total_ns as f64 / 1e6);
        memory.push(Memory::of(agent.pid())?.rss as f64 / MB);
        let said = agent.said(&PHASES.map(|(text, _)| text));
        for (values, at) in phases.iter_mut().zip(said) {
            values.extend(at.map(|at| at.as_secs_f64() * 1e3));
        }
    }
    let mut report = Report::new("from exec to the first answered scrape, all probes attached");
    for ((_, name), values) in PHASES.iter().zip(&phases) {
        report.add(*name, "ms", values);
    }
    report.judge("first scrape answered", "ms", &ready, READY_MS);
    let least = ready.iter().copied().fold(f64::INFINITY, f64::min);
    report.add("the fastest", "ms", &[least]);
    report.add(
        "the slowest",
        "ms",
        &[ready.iter().copied().fold(0.0, f64::max)],
    );
    // On a machine that is not idle this tells more than the time by the clock.
    report.add("processor time until then", "ms", &cpu);
    report.add("RSS then", "MB", &memory);
    Ok(report)
}

/// Each probe runs on one of its rungs.
fn all_attached(samples: &Samples) -> Result<()> {
    let mut probes = BTreeMap::<&str, f64>::new();
    for (labels, attached) in samples.of("weir_probe_attached") {
        let probe = label(labels, "probe").unwrap_or_default();
        *probes.entry(probe).or_default() += attached;
    }
    let missing: Vec<_> = probes
        .iter()
        .filter(|(_, rungs)| **rungs == 0.0)
        .map(|(probe, _)| *probe)
        .collect();
    if probes.is_empty() || !missing.is_empty() {
        bail!("probes are not attached: {}", missing.join(", "));
    }
    Ok(())
}
