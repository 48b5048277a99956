//! `cargo xtask COMMAND`: everything one does with this tree, from set-up to
//! distribution. One file per command; each says what it does and why.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod check;
mod command;
mod demo;
mod dist;
mod docs;
mod promql;
mod setup;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Set-up, build, checks, tests, virtual machines, demo, distribution.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Install what is missing on this machine, and say what and why
    Setup(setup::Args),
    /// Build the kernel probes and the agent
    Build(build::Args),
    /// Formatting, lints for host and BPF, invariants, drift of generated docs
    Check,
    /// Write the generated references of the agent and of the stack
    Docs,
    /// Set-up, checks, all tests, then the kernels in virtual machines
    Test(test::Args),
    /// Run the kernel tests on Debian's kernels 5.10 to 7.2 under QEMU
    Vm(vm::Args),
    /// Watch a stream, a chat and a game through Weir, over a link that has bad moments
    Demo(demo::Args),
    /// Measure what Weir costs (per send, at scale, at start, per export), and the stack
    Bench(bench::Args),
    /// Run Prometheus's PromQL test scripts against the evaluator
    Promql(promql::Args),
    /// Pack a static release binary with licences and a checksum
    Dist,
}

fn main() -> ExitCode {
    match run(&Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<()> {
    match task {
        Task::Setup(args) => setup::run(args),
        Task::Build(args) => build::run(args),
        Task::Check => check::run(),
        Task::Docs => docs::write(),
        Task::Test(args) => test::run(args),
        Task::Vm(args) => vm::run(args),
        Task::Demo(args) => demo::run(args),
        Task::Bench(args) => bench::run(args),
        Task::Promql(args) => promql::run(args),
        Task::Dist => dist::run(),
    }
}
