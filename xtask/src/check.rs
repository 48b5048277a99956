//! `check`: formatting, lints for the host and for the BPF target, the
//! invariants that a script can see, and drift of generated references.
//! Runs everything and reports all that failed, not only the first.

mod invariant;

use anyhow::{Result, bail};

use crate::{
    command::{note, run as run_command, step},
    docs,
    setup::{self, Part},
    workspace::cargo,
};

type Check = fn() -> Result<()>;

pub(crate) fn run() -> Result<()> {
    setup::ensure(&[Part::Build])?;
    let checks: [(&str, Check); 5] = [
        ("formatting", formatting),
        ("invariants", invariant::check),
        ("lints for the host", host_lints),
        ("lints for the BPF target", bpf_lints),
        ("generated references", docs::compare),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        if let Err(error) = check() {
            note!("FAILED {name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join(", "));
    }
    note!("check passed");
    Ok(())
}

fn formatting() -> Result<()> {
    step!("cargo fmt --check: one format, no discussion");
    run_command(cargo().args(["fmt", "--all", "--check"]))
}

fn host_lints() -> Result<()> {
    step!("clippy for the host, warnings are errors");
    run_command(
        cargo()
            .args(["clippy", "--quiet", "--workspace", "--all-targets"])
            .args(["--", "--deny", "warnings"]),
    )
}

/// The probes are invisible to a host build, so they are linted for their own
/// target; core is built for it, which the pinned stable toolchain allows only
/// with RUSTC_BOOTSTRAP.
fn bpf_lints() -> Result<()> {
    step!("clippy for the BPF target, warnings are errors");
    run_command(
        cargo()
            .args(["clippy", "--quiet", "--package", "weir-ebpf", "--bins"])
            .args(["--features", "kernel", "-Z", "build-std=core"])
            .args(["--target", "bpfel-unknown-none", "--", "--deny", "warnings"])
            .env("RUSTC_BOOTSTRAP", "1"),
    )
}
