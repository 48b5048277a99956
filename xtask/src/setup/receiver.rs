//! Receivers that tests send to and that are not ours: later Prometheus and
//! VictoriaMetrics from Debian's archive, OTLP's Python classes from PyPI.
//! All in the cache outside the tree.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{
    archive::{Archive, unpack},
    package::PYTHON,
};
use crate::{
    command::{run, step, succeeds},
    workspace::cache,
};

/// Package with suite, program in it, why.
const DEBIAN: [(&str, &str, &str); 2] = [
    (
        "prometheus/trixie",
        "usr/bin/prometheus",
        "scrapes native histograms, which this release's does not",
    ),
    (
        "victoria-metrics/trixie",
        "usr/bin/victoria-metrics",
        "receives OTLP over HTTP",
    ),
];

const PYTHON_PACKAGES: [&str; 2] = ["grpcio==1.85.1", "opentelemetry-proto==1.45.2"];
const PYTHON_CHECK: &str =
    "import grpc, opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc";

/// Fetches the receivers that are not in the cache.
pub(crate) fn ensure() -> Result<()> {
    let mut archive = None;
    for (package, program, why) in DEBIAN {
        let home = debian_home(package)?;
        if home.join(program).exists() {
            continue;
        }
        let archive = match &mut archive {
            Some(archive) => archive,
            empty => empty.insert(Archive::open()?),
        };
        step!("fetch {package}: {why}");
        fetch(archive, package, &home)?;
    }
    ensure_python()
}

/// Unpacks beside the final place and renames, so that an interrupted run
/// leaves nothing that looks complete.
fn fetch(archive: &Archive, package: &str, home: &Path) -> Result<()> {
    let fresh = home.with_extension("partial");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("removing {}", fresh.display()))?;
    }
    archive.download(&[package.to_owned()], &fresh)?;
    unpack(&fresh, &fresh)?;
    if home.exists() {
        fs::remove_dir_all(home).with_context(|| format!("removing {}", home.display()))?;
    }
    fs::rename(&fresh, home).with_context(|| format!("making {}", home.display()))
}

fn ensure_python() -> Result<()> {
    let home = python_home()?;
    let python = home.join("bin/python");
    if succeeds(Command::new(&python).args(["-c", PYTHON_CHECK])) {
        return Ok(());
    }
    step!(
        "Python environment with {}: receives OTLP over gRPC",
        PYTHON_PACKAGES.join(", ")
    );
    run(Command::new(PYTHON)
        .args(["-m", "venv", "--clear"])
        .arg(&home))?;
    run(Command::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(PYTHON_PACKAGES))
}

fn debian_home(package: &str) -> Result<PathBuf> {
    let name = package.split('/').next().unwrap_or(package);
    Ok(cache()?.join(name))
}

fn python_home() -> Result<PathBuf> {
    Ok(cache()?.join("otlp-venv"))
}
