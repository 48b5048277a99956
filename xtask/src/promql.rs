//! `promql [DIR]`: runs Prometheus's PromQL test scripts against the evaluator,
//! prints what failed and writes the ledger of every case.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::command::{note, run as run_command, step};
use crate::workspace::{cargo, root, target};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder with `*.test` files [default: ../shared/promqltest beside the tree]
    folder: Option<PathBuf>,
    /// Where the ledger goes, one case a line [default: promqltest.txt in target]
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Run every instant query also as a step of a range query
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let beside = || root().join("../shared/promqltest");
    let folder = args.folder.clone().unwrap_or_else(beside);
    if !folder.is_dir() {
        bail!("no folder {}: name one with *.test files", folder.display());
    }
    let folder = std::path::absolute(folder)?;
    let ledger = match &args.ledger {
        Some(ledger) => std::path::absolute(ledger)?,
        None => target()?.join("promqltest.txt"),
    };
    step!("promql: run the scripts in {}", folder.display());
    let mut promqltest = cargo();
    promqltest.args(["run", "--quiet", "--release", "--package", "weir-promql"]);
    promqltest
        .args(["--bin", "promqltest", "--", "--ledger"])
        .arg(&ledger);
    if args.strict {
        promqltest.arg("--strict");
    }
    let result = run_command(promqltest.arg(&folder));
    note!("ledger in {}", ledger.display());
    result
}
