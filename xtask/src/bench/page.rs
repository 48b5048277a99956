//! How long it takes from a kernel event to the decision of a rule, and to the page.
//!
//! The decision: the agent's own code in a process of its own, `agent/examples/decide.rs`. The page:
//! segments of services in a network namespace are dropped on purpose; the kernel's own trace says
//! when it sent them again, a webhook in another process when the page was there, both by the
//! monotonic clock.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

mod pager;
mod stage;
mod trace;
mod worker;

pub(crate) use worker::{Worker, run as work};

use self::{pager::Pager, stage::Stage, trace::Trace};
use super::{agent::Agent, crowd::Crowd, machine::processors, report::Report, spread::quantile};
use crate::{
    command::{note, output, step},
    workspace::cargo,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Segments to be sent again
    #[arg(long, default_value_t = 250)]
    events: usize,
    /// Connections over loopback that send beside
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Their sends a second
    #[arg(long, default_value_t = 20_000)]
    rate: u64,
    /// Only this part
    #[arg(long, value_enum)]
    only: Option<Only>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Only {
    /// Event to decision, in process
    Decision,
    /// Kernel event to webhook
    Page,
}

/// Most from event to decision, in microseconds.
const DECISION_US: f64 = 55.0;
/// Most from the kernel event to the webhook, in milliseconds.
const PAGE_MS: f64 = 100.0;
/// Services that take turns: their alerts are resolved when it is their turn again.
const SERVICES: usize = 25;
/// Between two events.
const GAP: Duration = Duration::from_millis(250);
/// For the last page, and for alerts to be resolved.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fires at the first retransmit, and is resolved three seconds later.
const RULES: &str = "
groups:
- name: page
  interval: 1s
  rules:
  - alert: Retransmit
    expr: sum by (service) (increase(weir_tcp_retransmits_total{service=~\"pager-.*\"}[3s])) > 0
";

pub(crate) fn run(args: &Args, binary: &Path) -> Result<Report> {
    let mut report = Report::new("from a kernel event to the decision, and to the page");
    if args.only != Some(Only::Page) {
        decide(&mut report)?;
    }
    if args.only != Some(Only::Decision) {
        page(args, binary, &mut report)?;
    }
    Ok(report)
}

/// What the example prints, a line each.
#[derive(Deserialize)]
struct Line {
    name: String,
    /// Rules that are decided at once; what is asked is asked of one.
    rules: usize,
    took_us: Vec<f64>,
}

fn decide(report: &mut Report) -> Result<()> {
    step!("build (release) and run: rules that wait for an event, five minutes");
    let mut example = cargo();
    example.args(["run", "--release", "--quiet", "--package", "weir"]);
    example.args(["--example", "decide"]);
    for line in output(&mut example)?.lines() {
        let line: Line = serde_json::from_str(line).context("reading what the example says")?;
        let name = format!("decision, {}", line.name);
        let most = (line.rules == 1).then_some(DECISION_US);
        add(report, &name, "µs", line.took_us, most);
    }
    Ok(())
}

/// Adds the figures of a latency, and what it may be at most if that is asked.
fn add(
    report: &mut Report,
    name: &str,
    unit: &'static str,
    mut values: Vec<f64>,
    most: Option<f64>,
) {
    values.sort_by(f64::total_cmp);
    let Some(max) = values.last() else { return };
    report.add(format!("{name}: p50"), unit, &[quantile(&values, 0.5)]);
    let p99 = quantile(&values, 0.99);
    match most {
        Some(most) => report.judge(format!("{name}: p99"), unit, &[p99], most),
        None => report.add(format!("{name}: p99"), unit, &[p99]),
    }
    report.add(format!("{name}: max"), unit, &[*max]);
    report
        .notes
        .push(format!("{name}: {} events", values.len()));
}

fn page(args: &Args, binary: &Path, report: &mut Report) -> Result<()> {
    let directory = Directory::new()?;
    let stage = Stage::new()?;
    let mut pager = Pager::start()?;
    let rules = directory.0.join("rules.yaml");
    fs::write(&rules, RULES).context("writing the rules")?;
    let config = format!(
        "[alert]\nrule_files = ['{}']\nimmediate = ['page']\nstate_dir = '{}'\n\
         [[alert.webhook]]\nname = 'bench'\nurl = 'http://127.0.0.1:{}/'\n",
        rules.display(),
        directory.0.display(),
        pager.port,
    );
    let _agent = Agent::ready(binary, &config)?;
    let mut services = stage.services(SERVICES, &directory.0)?;
    step!(
        "{} connections with {} sends/s beside",
        args.connections,
        args.rate
    );
    let mut crowd = Crowd::open(args.connections, args.rate, &processors()?)?;
    let before = crowd.send(true)?;
    let trace = Trace::start()?;
    step!("{} segments to be sent again", args.events);
    let begun = Instant::now();
    let mut sent = Vec::new();
    for event in 0..args.events {
        let next = begun + GAP * u32::try_from(event)?;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let service = &mut services[event % SERVICES];
        stage.cut(service.port)?;
        sent.push((monotonic_ns(), event % SERVICES));
        service.send()?;
    }
    thread::sleep(PATIENCE);
    let sends = crowd.send(false)? - before;
    let rate = sends as f64 / begun.elapsed().as_secs_f64();
    report.add("load: sends", "1/s", &[rate]);
    let resent = trace.finish()?;
    let pages = pager.finish()?;
    let ports: Vec<_> = services.iter().map(|service| service.port).collect();
    let (took, lost) = pair(&sent, &ports, &resent, &pages);
    add(report, "kernel event → page", "ms", took, Some(PAGE_MS));
    report.judge("kernel event → page: never paged", "", &[lost as f64], 0.0);
    Ok(())
}

/// When an alert of a service began to fire at the webhook, by the monotonic clock.
type Pages = HashMap<usize, Vec<u64>>;

/// Milliseconds from each event's first retransmit to its first page, and events without one. An
/// event ends where the next of its service begins.
fn pair(
    sent: &[(u64, usize)],
    ports: &[u16],
    resent: &[(u64, u16)],
    pages: &Pages,
) -> (Vec<f64>, usize) {
    let (mut took, mut lost) = (Vec::new(), 0);
    for (at, (from, service)) in sent.iter().enumerate() {
        let later = sent[at + 1..].iter().find(|(_, other)| other == service);
        let to = later.map_or(u64::MAX, |(to, _)| *to);
        let first = resent
            .iter()
            .find(|(ns, port)| *port == ports[*service] && (*from..to).contains(ns));
        let Some((event, _)) = first else {
            lost += 1;
            continue;
        };
        let mut of_service = pages.get(service).into_iter().flatten();
        match of_service.find(|ns| (*event..to).contains(ns)) {
            Some(page) => took.push((page - event) as f64 / 1e6),
            None => lost += 1,
        }
    }
    (took, lost)
}

/// The clock of the kernel's trace.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// A directory of this run; removed when dropped.
struct Directory(PathBuf);

impl Directory {
    /// Beside this program, so that hard links to it are possible.
    fn new() -> Result<Self> {
        let program = std::env::current_exe().context("looking for this program")?;
        let directory = program.with_file_name(format!("bench-page-{}", std::process::id()));
        if directory.exists() {
            bail!("{} is in the way", directory.display());
        }
        fs::create_dir(&directory).context("making a directory")?;
        Ok(Self(directory))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir_all(&self.0) {
            note!("{} stays: {why}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_paired_with_the_first_page_after_it_and_before_the_next() {
        let ms = |ms: u64| ms * 1_000_000;
        let sent = [(ms(0), 0), (ms(100), 1), (ms(200), 0), (ms(300), 1)];
        let resent = [
            (ms(10), 7),
            (ms(15), 7),
            (ms(110), 8),
            (ms(210), 7),
            (ms(310), 8),
        ];
        let pages = HashMap::from([(0, vec![ms(13), ms(50), ms(190)]), (1, vec![ms(112)])]);
        let (took, lost) = pair(&sent, &[7, 8], &resent, &pages);
        assert_eq!((took, lost), (vec![3.0, 2.0], 2));
    }
}
