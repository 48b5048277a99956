//! `demo`: a live stream, a chat and a game with their players behind a link that now and then
//! carries too little, and Weir beside it all; or an unmodified nginx with many clients. A live
//! table, or a summary for machines. Whatever ends it, nothing stays behind.

mod agent;
mod crowd;
mod figure;
mod leftover;
mod nginx;
mod process;
mod scrape;
mod stack;
mod subject;
mod table;
mod truth;

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

use self::{agent::Agent, figure::Run, process::Processes, subject::Subject};
use crate::{
    build,
    command::{note, step},
    setup::{self, Part},
    workspace::is_root,
};

/// What is written down meanwhile stays below 200 MB.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// End by itself after so many seconds, at most 14400; without it, Ctrl-C ends it
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LONGEST.as_secs()))]
    seconds: Option<u64>,
    /// At the end print a summary as JSON on stdout; all else goes to stderr
    #[arg(long)]
    json: bool,
    /// What is watched
    #[arg(long, value_enum, default_value_t = On::Stack)]
    on: On,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum On {
    /// A live stream, a chat and a game (weir-stack), and the crowd that uses them
    Stack,
    /// Debian's nginx as a server of pages and of video segments
    Nginx,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if !is_root() {
        bail!("the demo loads kernel probes and makes network namespaces: run it as root");
    }
    let part = match args.on {
        On::Stack => Part::Demo,
        On::Nginx => Part::Nginx,
    };
    setup::ensure(&[Part::Build, part])?;
    let (binary, stack) = match args.on {
        On::Stack => {
            let [agent, stack] = build::agent_and_stack(true)?;
            (agent, Some(stack))
        }
        On::Nginx => (build::agent(true)?, None),
    };
    leftover::clear()?;
    let stop = catch_signals()?;
    if let Some(stack) = &stack {
        stack::make_media(stack)?;
    }
    // Declared in the order of making: dropped in the reverse order, whatever happens below.
    let mut processes = Processes::begin(stack.as_deref())?;
    let agent = Agent::start(&mut processes, &binary, &stop)?;
    let mut run = Run::begin(agent.scrape()?);
    let mut subject = match &stack {
        Some(stack) => stack::start(&mut processes, stack, &stop)?,
        None => nginx::start(&mut processes, &stop)?,
    };
    note!("metrics: {}", agent.url());
    watch(args, &mut processes, &agent, &stop, &mut run, &mut subject)?;
    // The traffic goes on, so the kernel's count is read before and after the last scrape.
    let before = subject.kernel_retransmits()?;
    run.add(agent.scrape()?, subject.experience());
    let after = subject.kernel_retransmits()?;
    let failed = subject.kernel_retransmits_failed()?;
    step!("take down the demo");
    if args.json {
        println!("{}", run.summary(agent.url(), before..=after, failed));
    }
    Ok(())
}

/// Set when the user wants an end.
fn catch_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("catching signals")?;
    }
    Ok(stop)
}

/// Reads the agent's metrics every second and shows them until the end.
fn watch(
    args: &Args,
    processes: &mut Processes,
    agent: &Agent,
    stop: &AtomicBool,
    run: &mut Run,
    subject: &mut Subject,
) -> Result<()> {
    const INTERVAL: Duration = Duration::from_secs(1);
    let began = Instant::now();
    let limit = args.seconds.map_or(LONGEST, Duration::from_secs);
    let redraw = std::io::stderr().is_terminal();
    while !stop.load(Ordering::Relaxed) && began.elapsed() < limit {
        thread::sleep(INTERVAL);
        processes.check()?;
        run.add(agent.scrape()?, subject.experience());
        table::show(run, subject.title, agent.url(), redraw);
    }
    Ok(())
}
