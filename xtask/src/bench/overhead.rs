//! What a send costs more with an observer.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, Result};

use super::{
    load::{self, Took},
    machine::{Statistics, processors, program_cost},
    observer::{Observer, Watching},
    report::Report,
    sample::{Samples, label},
};
use crate::command::{note, step};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rounds; in each, every observer is compared with nobody before and after
    #[arg(long, default_value_t = 15)]
    rounds: u32,
    /// Sends of 1 KB in each measurement
    #[arg(long, default_value_t = 200_000)]
    sends: u32,
    /// Only the observers whose name contains this; `weir` alone is the agent as it is by default
    #[arg(long)]
    only: Option<String>,
}

/// Most that a send of 1 KB may cost more, in nanoseconds, and what would be fine.
const ADDED: [(&str, f64); 2] = [("goal", 250.0), ("stretch", 150.0)];
/// Most of the throughput that may be lost with sends of 128 KB, in percent.
const LOSS: f64 = 2.0;
const SMALL: usize = 1 << 10;
const LARGE: usize = 128 << 10;

/// The load is far above what a budget would let pass, and the budget is not what is measured.
const NO_BUDGET: &str = "[overhead]\ncpu_percent = 0.0\n";
const SYSCALL: &str = "[overhead]\ncpu_percent = 0.0\n[kernel]\nsend_rung = \"syscall\"\n";
const NO_SCHED: &str = "[overhead]\ncpu_percent = 0.0\n[kernel]\ndisabled = [\"sched_delay\"]\n";
const NO_ACK: &str = "[overhead]\ncpu_percent = 0.0\n[kernel]\ndisabled = [\"tcp_ack\"]\n";
const NO_SEND: &str = "[overhead]\ncpu_percent = 0.0\n[kernel]\ndisabled = [\"tcp_send\"]\n";
const ONLY_SEND: &str =
    "[overhead]\ncpu_percent = 0.0\n[kernel]\ndisabled = [\"sched_delay\", \"tcp_ack\"]\n";

const WEIR: (&str, Observer) = ("weir", Observer::Weir(NO_BUDGET));
const ALL: [(&str, Observer); 7] = [
    WEIR,
    ("weir, rung syscall", Observer::Weir(SYSCALL)),
    ("weir without sched_delay", Observer::Weir(NO_SCHED)),
    ("weir without tcp_ack", Observer::Weir(NO_ACK)),
    ("weir without tcp_send", Observer::Weir(NO_SEND)),
    ("weir, sends only", Observer::Weir(ONLY_SEND)),
    ("bpftrace", Observer::Bpftrace),
];

/// Figures by name, one value a round.
type Values = BTreeMap<String, Vec<f64>>;

struct Bench<'a> {
    args: &'a Args,
    agent: &'a Path,
    /// Where the load runs, and where the observer does.
    processors: (usize, usize),
}

pub(crate) fn run(args: &Args, agent: &Path) -> Result<Report> {
    let all = processors()?;
    let (first, last) = (all.first(), all.last());
    let bench = Bench {
        args,
        agent,
        processors: (
            *last.context("no processor")?,
            *first.context("no processor")?,
        ),
    };
    let wanted = |name: &str| match args.only.as_deref() {
        Some("weir") => name == WEIR.0,
        Some(part) => name.contains(part),
        None => true,
    };
    let mut observers = ALL.to_vec();
    observers.retain(|(name, _)| wanted(name));
    observers.retain(|(name, observer)| bench.works(name, *observer));
    let mut values = Values::new();
    step!("{} rounds of {} sends", args.rounds, args.sends);
    for _ in 0..args.rounds {
        bench.round(&observers, &mut values)?;
    }
    step!("the same with the kernel's statistics of its programs");
    for (name, observer) in &observers {
        bench.programs(name, *observer, &mut values)?;
    }
    Ok(report(&observers, &values, args))
}

impl Bench<'_> {
    /// Whether an observer can be had on this machine; said if not.
    fn works(&self, name: &str, observer: Observer) -> bool {
        match observer.watch(self.agent, self.processors.1) {
            Ok(_) => true,
            Err(why) => {
                note!("{name} is left out: {why:#}");
                false
            }
        }
    }

    fn small(&self) -> Result<Took> {
        load::send(self.args.sends, SMALL, self.processors.0)
    }

    fn large(&self) -> Result<Took> {
        load::send((self.args.sends / 10).max(1), LARGE, self.processors.0)
    }

    /// Nobody, an observer, nobody, the next one, … : an observer's neighbours are its measure.
    fn round(&self, observers: &[(&str, Observer)], values: &mut Values) -> Result<()> {
        let mut before = (self.small()?, self.large()?);
        for (name, observer) in observers {
            let watching = observer.watch(self.agent, self.processors.1)?;
            let with = (self.small()?, self.large()?);
            watching.finish(self.args.sends)?;
            let after = (self.small()?, self.large()?);
            let mut note = |what: &str, value| {
                let values = values.entry(format!("{name}: {what}")).or_default();
                values.push(value);
            };
            let cpu = (before.0.cpu_ns + after.0.cpu_ns) / 2.0;
            let wall = (before.0.wall_ns + after.0.wall_ns) / 2.0;
            note("added cpu", with.0.cpu_ns - cpu);
            note("added wall", with.0.wall_ns - wall);
            let large = (before.1.cpu_ns + after.1.cpu_ns) / 2.0;
            note("loss", (1.0 - large / with.1.cpu_ns) * 100.0);
            let nobody = values.entry("nobody: cpu".into()).or_default();
            nobody.push(before.0.cpu_ns);
            let nobody = values.entry("nobody: large".into()).or_default();
            nobody.push(before.1.cpu_ns);
            before = after;
        }
        Ok(())
    }

    /// Run time and runs of each kernel program, by the kernel's own account.
    fn programs(&self, name: &str, observer: Observer, values: &mut Values) -> Result<()> {
        let watching = observer.watch(self.agent, self.processors.1)?;
        let _statistics = Statistics::on()?;
        let sends = f64::from(self.args.sends) * 1.05;
        let total = program_cost(watching.pid());
        let before = by_program(&watching)?;
        self.small()?;
        let after = by_program(&watching)?;
        let (ns, runs) = program_cost(watching.pid());
        let mut note = |what: &str, value: f64| {
            values.insert(format!("{name}: {what}"), vec![value]);
        };
        note("programs ns", (ns - total.0) as f64 / sends);
        note("programs runs", (runs - total.1) as f64 / sends);
        for (program, (ns, runs)) in after {
            let (ns_before, runs_before) = before.get(&program).copied().unwrap_or_default();
            let (ns, runs) = (ns - ns_before, runs - runs_before);
            if runs / sends > 0.001 {
                note(&format!("program {program}: ns per run"), ns / runs);
                note(&format!("program {program}: runs per send"), runs / sends);
            }
        }
        Ok(())
    }
}

/// Run time in nanoseconds and runs of each of the agent's programs.
fn by_program(watching: &Watching) -> Result<BTreeMap<String, (f64, f64)>> {
    let Watching::Weir(agent) = watching else {
        return Ok(BTreeMap::new());
    };
    let samples = Samples::scrape(agent.port)?;
    let mut programs = BTreeMap::<String, (f64, f64)>::new();
    for (labels, seconds) in samples.of("weir_probe_run_time_seconds_total") {
        let name = label(labels, "probe").context("a program without a name")?;
        programs.entry(name.to_owned()).or_default().0 = seconds * 1e9;
    }
    for (labels, runs) in samples.of("weir_probe_runs_total") {
        let name = label(labels, "probe").context("a program without a name")?;
        programs.entry(name.to_owned()).or_default().1 = runs;
    }
    Ok(programs)
}

fn report(observers: &[(&str, Observer)], values: &Values, args: &Args) -> Report {
    let mut report = Report::new(format!(
        "sends on loopback, sender and receiver on one core, {} rounds of {} sends in turn",
        args.rounds, args.sends
    ));
    let of = |name: &str| values.get(name).map_or(&[][..], Vec::as_slice);
    report.add("1 KB: nobody watches", "ns/send", of("nobody: cpu"));
    for (name, observer) in observers {
        let added = of(&format!("{name}: added cpu"));
        if *observer == WEIR.1 {
            for (mark, most) in ADDED {
                report.judge(
                    format!("1 KB: {name} adds ({mark})"),
                    "ns/send",
                    added,
                    most,
                );
            }
        } else {
            report.add(format!("1 KB: {name} adds"), "ns/send", added);
        }
        let wall = of(&format!("{name}: added wall"));
        report.add(format!("1 KB: {name} adds by the clock"), "ns/send", wall);
    }
    report.add("128 KB: nobody watches", "ns/send", of("nobody: large"));
    for (name, observer) in observers {
        let loss = of(&format!("{name}: loss"));
        let title = format!("128 KB: throughput lost to {name}");
        if *observer == WEIR.1 {
            report.judge(title, "%", loss, LOSS);
        } else {
            report.add(title, "%", loss);
        }
    }
    for (name, value) in values.iter().filter(|(name, _)| name.contains(": program")) {
        let unit = if name.contains("runs") {
            "runs/send"
        } else {
            "ns"
        };
        report.add(name.clone(), unit, value);
    }
    report.notes = [
        "ns/send is processor time of sender and receiver; `by the clock` is disturbed by whatever else the machine does",
        "programs: the kernel's own run-time statistics, in a round of their own, since they cost two clock readings a run",
    ]
    .map(str::to_owned)
    .into();
    report
}
