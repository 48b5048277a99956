//! `test`: everything that can be known about this tree on this machine. Set-up
//! and checks, unit and integration tests, kernel tests as root, other kernels
//! in virtual machines. Ends with one line that sums up all of it.

mod tally;

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

pub(crate) use self::tally::Tally;
use crate::{
    check,
    command::{note, output, step},
    setup::{self, Part},
    vm,
    workspace::cargo,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the virtual machines; said in the last line as a skip
    #[arg(long)]
    no_vm: bool,
}

/// Integration tests of the agent whose names begin so load probes and make
/// network namespaces: one at a time, or they would see each other's traffic.
pub(crate) const SERIAL: &str = "kernel";

pub(crate) fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    setup::ensure(&[Part::Build, Part::Demo, Part::Nginx, Part::Test])?;
    let mut tally = Tally::default();
    if let Err(error) = setup::ensure_receivers() {
        tally.skip(&format!(
            "receivers could not be fetched, their tests skip: {error:#}"
        ));
    }
    if let Err(error) = setup::ensure_media() {
        tally.skip(&format!(
            "the stack's streams or player could not be made, their tests skip: {error:#}"
        ));
    }
    tally.outcome("check", check::run());
    host_tests(&mut tally)?;
    if args.no_vm {
        tally.skip("other kernels: --no-vm was given");
    } else {
        vm::test(&mut tally);
    }
    tally.list();
    note!("took {} s", began.elapsed().as_secs());
    println!("{tally}");
    if tally.failed > 0 {
        bail!("{} failed", tally.failed);
    }
    Ok(())
}

fn host_tests(tally: &mut Tally) -> Result<()> {
    step!("tests: every crate, unit and integration");
    let (serial, parallel) = agent_tests()?;
    cargo_test(
        tally,
        &["--workspace", "--exclude", "weir"],
        &["--show-output"],
    )?;
    let mut args = vec!["--package", "weir", "--lib", "--bins"];
    for name in &parallel {
        args.extend(["--test", name]);
    }
    cargo_test(tally, &args, &["--show-output"])?;
    for name in &serial {
        step!("kernel tests `{name}`: one at a time, as root, on this host's kernel");
        let args = ["--package", "weir", "--test", name];
        cargo_test(tally, &args, &["--test-threads=1", "--nocapture"])?;
    }
    Ok(())
}

/// The agent's integration tests: those that run alone (also in the guests), and the others.
pub(crate) fn agent_tests() -> Result<(Vec<String>, Vec<String>)> {
    let metadata = output(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("reading cargo metadata")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let agent = packages.filter(|package| package["name"] == "weir");
    let targets = agent.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let tests = targets.filter(|target| target["kind"][0] == "test");
    let names = tests.filter_map(|target| Some(target["name"].as_str()?.to_owned()));
    Ok(names.partition(|name| name.starts_with(SERIAL)))
}

/// Runs `cargo test`, passes its output through and counts.
fn cargo_test(tally: &mut Tally, args: &[&str], harness: &[&str]) -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--no-fail-fast"])
        .args(args)
        .arg("--")
        .args(harness);
    stream(&mut test, tally, &args.join(" "))
}

fn stream(test: &mut Command, tally: &mut Tally, name: &str) -> Result<()> {
    let mut child = test
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo test")?;
    let failed_before = tally.failed;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("reading the output of cargo test")?;
            let line = String::from_utf8_lossy(&line);
            if !is_chatter(&line) {
                eprintln!("{line}");
            }
            tally.line(&line);
        }
    }
    let status = child.wait().context("waiting for cargo test")?;
    // A test that does not compile or dies of a signal leaves no result line.
    if !status.success() && tally.failed == failed_before {
        tally.fail(&format!("cargo test {name}: {status}"));
    }
    Ok(())
}

/// What the harness adds when it is asked to show the output of passed tests:
/// a second list of their names.
fn is_chatter(line: &str) -> bool {
    let name = line.strip_prefix("    ").unwrap_or(" ");
    line.is_empty() || line == "successes:" || (name.contains("::") && !name.contains(' '))
}
