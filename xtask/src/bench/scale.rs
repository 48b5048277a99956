//! What the agent itself takes while many connections send, and while they are silent.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    agent::Agent,
    crowd::Crowd,
    gauge::{Cpu, Memory},
    machine::processors,
    report::Report,
    sample::{Samples, label},
};
use crate::command::step;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Connections; each has both its ends on this machine
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Sends a second, over all connections
    #[arg(long, default_value_t = 100_000)]
    rate: u64,
    /// Seconds of load, then of silence, then without connections
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Most user time under load, in percent of a core.
const USER: f64 = 0.5;
/// Most user and system time in silence, in percent of a core.
const IDLE: f64 = 0.1;
const RSS_MB: f64 = 14.0;
const MAPS_MB: f64 = 32.0;
const MB: f64 = (1 << 20) as f64;
/// As Prometheus does by default in Weir's dashboards.
const SCRAPE_EVERY: Duration = Duration::from_secs(15);

/// What a stretch of time took.
struct Took {
    user: f64,
    system: f64,
    seconds: f64,
}

pub(crate) fn run(args: &Args, binary: &Path) -> Result<Report> {
    let mut agent = Agent::start(binary, "")?;
    agent.first_scrape()?;
    let processors = processors()?;
    step!("{} connections", args.connections);
    let mut crowd = Crowd::open(args.connections, args.rate, &processors)?;
    let length = Duration::from_secs(args.seconds);
    step!("{} s with {} sends/s", args.seconds, args.rate);
    let before = crowd.send(true)?;
    let busy = stretch(&agent, length)?;
    let sends = crowd.send(false)? - before;
    let memory = Memory::of(agent.pid())?;
    step!("{} s of silence", args.seconds);
    thread::sleep(Duration::from_secs(1));
    let silent = stretch(&agent, length)?;
    let samples = Samples::scrape(agent.port)?;
    drop(crowd);
    step!("{} s without connections", args.seconds);
    thread::sleep(Duration::from_secs(1));
    let idle = stretch(&agent, length)?;
    let mut report = Report::new(format!(
        "{} connections, scraped every {} s",
        args.connections,
        SCRAPE_EVERY.as_secs()
    ));
    let rate = sends as f64 / busy.seconds;
    report.add("load: sends", "1/s", &[rate]);
    report.judge("load: user time", "% of core", &[busy.user], USER);
    report.add("load: system time", "% of core", &[busy.system]);
    let cpu = |took: &Took| [took.user + took.system];
    report.add("silence: user and system", "% of core", &cpu(&silent));
    report.judge("idle: user and system", "% of core", &cpu(&idle), IDLE);
    memory_figures(&mut report, &memory, &samples);
    loss_figures(&mut report, &samples);
    if rate < args.rate as f64 * 0.95 {
        report
            .notes
            .push(format!("the machine managed {rate:.0} sends/s only"));
    }
    Ok(report)
}

fn memory_figures(report: &mut Report, memory: &Memory, samples: &Samples) {
    report.judge(
        "RSS after the load",
        "MB",
        &[memory.rss as f64 / MB],
        RSS_MB,
    );
    let anonymous = memory.anonymous as f64 / MB;
    report.add("RSS without files", "MB", &[anonymous]);
    report.add("RSS at its peak", "MB", &[memory.peak as f64 / MB]);
    let maps = samples.sum("weir_map_memory_bytes") / MB;
    report.judge("kernel maps", "MB", &[maps], MAPS_MB);
}

fn loss_figures(report: &mut Report, samples: &Samples) {
    for (name, metric) in [
        ("lost records", "weir_records_lost_total"),
        ("lost samples", "weir_samples_lost_total"),
        ("failed map inserts", "weir_map_insert_failures_total"),
        ("missed runs of programs", "weir_probe_missed_total"),
    ] {
        report.judge(name, "", &[samples.sum(metric)], 0.0);
        for (labels, count) in samples.of(metric).filter(|(_, count)| *count > 0.0) {
            report.notes.push(format!("{name}: {count} {labels}"));
        }
    }
    let followed = samples
        .of("weir_map_entries")
        .find(|(labels, _)| label(labels, "map") == Some("sockets"));
    let followed = followed.map_or(0.0, |(_, sockets)| sockets);
    report.add("sockets followed", "", &[followed]);
    let sends = samples.sum("weir_tcp_send_duration_seconds_count");
    report.add("sends counted", "", &[sends]);
}

/// Scrapes as Prometheus would, so that each stretch of the same length has as many scrapes.
fn stretch(agent: &Agent, length: Duration) -> Result<Took> {
    let begun = Instant::now();
    let before = Cpu::of(agent.pid())?;
    let mut scrape = SCRAPE_EVERY / 2;
    while scrape < length {
        thread::sleep(scrape.saturating_sub(begun.elapsed()));
        Samples::scrape(agent.port)?;
        scrape += SCRAPE_EVERY;
    }
    thread::sleep(length.saturating_sub(begun.elapsed()));
    let after = Cpu::of(agent.pid())?;
    let elapsed = begun.elapsed();
    let (user, system) = after.percent_since(&before, elapsed.as_nanos() as f64);
    Ok(Took {
        user,
        system,
        seconds: elapsed.as_secs_f64(),
    })
}
