//! `bench`: what Weir costs. Every figure is taken beside one without Weir in the same run, many
//! times in turn, and printed with its spread and with what is asked of it. A figure that misses
//! its mark is said, but fails nothing: a busy machine is not a fault of the tree.

mod agent;
mod crowd;
mod export;
mod gauge;
mod load;
mod machine;
mod observer;
mod overhead;
mod page;
mod report;
mod sample;
mod scale;
mod spread;
mod start;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;

use self::report::Report;
use crate::{
    build,
    command::{note, step},
    setup::{self, Part},
    workspace::is_root,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    bench: Bench,
    /// Print the figures as JSON instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Use this agent instead of building one; for comparing two
    #[arg(long, global = true)]
    agent: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Bench {
    /// What a send costs more with Weir, beside a bpftrace script that only times sends
    Overhead(overhead::Args),
    /// Processor time and memory with 10,000 connections and 100,000 sends a second
    Scale(scale::Args),
    /// From `exec` to the first scrape that is answered, with all probes attached
    Start(start::Args),
    /// Time to answer a scrape and to make an OTLP export of 50,000 series
    Export,
    /// From a kernel event to the decision of a rule, and to the page
    Page(page::Args),
    /// A worker of `scale`
    #[command(hide = true)]
    Crowd(crowd::Worker),
    /// A worker of `page`
    #[command(hide = true)]
    PageWorker(page::Worker),
}

pub(crate) fn run(args: &Args) -> Result<()> {
    match &args.bench {
        Bench::Export => {
            setup::ensure(&[Part::Build])?;
            print(&export::run()?, args.json)
        }
        Bench::Crowd(worker) => crowd::run(worker),
        Bench::PageWorker(worker) => page::work(worker),
        bench => print(&with_agent(bench, args)?, args.json),
    }
}

fn with_agent(bench: &Bench, args: &Args) -> Result<Report> {
    if !is_root() {
        bail!("the agent loads programs into the kernel: run `cargo xtask bench` as root");
    }
    let agent = match &args.agent {
        Some(agent) => agent.clone(),
        None => {
            setup::ensure(&[Part::Build])?;
            build::agent(true)?
        }
    };
    machine::warn_of_others();
    match bench {
        Bench::Overhead(args) => overhead::run(args, &agent),
        Bench::Scale(args) => scale::run(args, &agent),
        Bench::Start(args) => start::run(args, &agent),
        Bench::Page(args) => page::run(args, &agent),
        Bench::Export | Bench::Crowd(_) | Bench::PageWorker(_) => bail!("needs no agent"),
    }
}

fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    step!("{}", report.title);
    print!("{report}");
    if report.misses() > 0 {
        note!("{} of the marks were missed", report.misses());
    }
    Ok(())
}
