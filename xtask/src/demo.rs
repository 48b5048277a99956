//! `demo`: an unmodified nginx, many clients, a slow and lossy link between
//! them, and Weir beside it all. A live table, or a summary for machines.
//! Whatever ends it, nothing stays behind.

mod agent;
mod figure;
mod leftover;
mod load;
mod scrape;
mod stage;
mod table;

use std::{
    io::IsTerminal as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use self::{agent::Agent, figure::Run, stage::Stage};
use crate::{
    build,
    command::{note, step},
    setup::{self, Part},
    workspace::is_root,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// End by itself after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// At the end print a summary as JSON on stdout; all else goes to stderr
    #[arg(long)]
    json: bool,
    /// The program that is watched
    #[arg(long, value_enum, default_value_t = Subject::Nginx)]
    on: Subject,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Subject {
    /// Debian's nginx as a server of pages and of video segments
    Nginx,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Subject::Nginx = args.on;
    if !is_root() {
        bail!("the demo loads kernel probes and makes network namespaces: run it as root");
    }
    setup::ensure(&[Part::Build, Part::Demo])?;
    let binary = build::agent(true)?;
    leftover::clear()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("catching signals")?;
    }
    // Declared in the order of making: dropped in the reverse order, whatever happens below.
    let mut stage = Stage::raise()?;
    let agent = Agent::start(&mut stage, &binary, &stop)?;
    let mut run = Run::begin(agent.scrape()?);
    load::start(&mut stage)?;
    note!("metrics: {}", agent.url());
    watch(args, &mut stage, &agent, &stop, &mut run)?;
    // The traffic goes on, so the kernel's count is read before and after the last scrape.
    let before = stage.kernel_retransmits()?;
    run.add(agent.scrape()?);
    let after = stage.kernel_retransmits()?;
    let failed = stage.kernel_retransmits_failed()?;
    step!("take down the demo");
    if args.json {
        println!("{}", run.summary(agent.url(), before..=after, failed));
    }
    Ok(())
}

/// Reads the agent's metrics every second and shows them until the end.
fn watch(
    args: &Args,
    stage: &mut Stage,
    agent: &Agent,
    stop: &AtomicBool,
    run: &mut Run,
) -> Result<()> {
    const INTERVAL: Duration = Duration::from_secs(1);
    let began = Instant::now();
    let limit = args.seconds.map(Duration::from_secs);
    let redraw = std::io::stderr().is_terminal();
    while !stop.load(Ordering::Relaxed) && limit.is_none_or(|limit| began.elapsed() < limit) {
        thread::sleep(INTERVAL);
        stage.check()?;
        run.add(agent.scrape()?);
        table::show(run, agent.url(), redraw);
    }
    Ok(())
}
