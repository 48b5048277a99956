//! `bench`: what Weir costs, and what the stack beside it bears. Every figure is taken beside one without Weir in the same run, many
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
mod rules;
mod sample;
mod scale;
mod spread;
mod stack;
mod start;

use std::{fmt::Display, path::PathBuf};

use anyhow::{Result, bail};
use clap::Subcommand;
use serde::Serialize;

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
    /// What the services and tools of weir-stack bear, beside their baselines
    Stack(stack::Args),
    /// What evaluating 1,000 rules over 50,000 series costs, beside Prometheus and vmalert
    Rules(rules::Args),
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
            print_report(&export::run()?, args.json)
        }
        Bench::Stack(of) => {
            // Namespaces for `link`, and memory of other users' processes.
            if !is_root() {
                bail!("network namespaces are made: run `cargo xtask bench stack` as root");
            }
            setup::ensure(&[Part::Build, Part::Bench])?;
            let [_, binary] = build::agent_and_stack(true)?;
            machine::warn_of_others();
            let report = stack::run(of, &binary)?;
            print("the stack", &report, report.misses(), args.json)
        }
        Bench::Rules(rules) => {
            setup::ensure(&[Part::Build, Part::Bench])?;
            print_report(&rules::run(rules)?, args.json)
        }
        Bench::Crowd(worker) => crowd::run(worker),
        Bench::PageWorker(worker) => page::work(worker),
        bench => print_report(&with_agent(bench, args)?, args.json),
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
        Bench::Export
        | Bench::Stack(_)
        | Bench::Rules(_)
        | Bench::Crowd(_)
        | Bench::PageWorker(_) => bail!("needs no agent"),
    }
}

fn print_report(report: &Report, json: bool) -> Result<()> {
    print(&report.title, report, report.misses(), json)
}

fn print(
    title: &str,
    report: &(impl Serialize + Display),
    misses: usize,
    json: bool,
) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    step!("{title}");
    print!("{report}");
    if misses > 0 {
        note!("{misses} of the marks were missed");
    }
    Ok(())
}
