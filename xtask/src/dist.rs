//! `dist`: what is handed to others: one static binary with its licences.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    command::{note, output, run as run_command, step},
    setup::{self, Part},
    workspace::{MUSL, cargo, root, target},
};

/// Files of the tree that go with the binary, if they are there.
const DOCUMENTS: [&str; 6] = [
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "METRICS.md",
    "CONFIG.md",
    "CHANGELOG.md",
];

pub(crate) fn run() -> Result<()> {
    setup::ensure(&[Part::Build])?;
    step!("build (release, {MUSL}): one binary that runs on any distribution");
    run_command(
        cargo()
            .args([
                "build",
                "--profile",
                "dist",
                "--package",
                "weir",
                "--bin",
                "weir",
                "--target",
                MUSL,
            ])
            .envs(musl_compiler()),
    )?;
    let binary = target()?.join(MUSL).join("dist/weir");
    let version = output(Command::new(&binary).arg("--version"))?;
    let version = version
        .split_whitespace()
        .next_back()
        .context("weir --version said nothing")?;
    pack(&binary, &format!("weir-{version}-{MUSL}"))
}

/// The host's own compiler serves for musl: the C parts need no C library.
pub(crate) fn musl_compiler() -> [(&'static str, &'static str); 1] {
    [("CC_x86_64_unknown_linux_musl", "gcc")]
}

fn pack(binary: &Path, name: &str) -> Result<()> {
    let dist = target()?.join("dist");
    let folder = dist.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    fs::copy(binary, folder.join("weir")).context("copying the binary")?;
    for document in DOCUMENTS {
        let from = root().join(document);
        if from.exists() {
            fs::copy(&from, folder.join(document))
                .with_context(|| format!("copying {document}"))?;
        }
    }
    let archive = format!("{name}.tar.gz");
    step!("pack {archive}: the same bytes for the same content");
    run_command(
        Command::new("tar")
            .current_dir(&dist)
            .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
            .args([
                "--mtime=@0",
                "--use-compress-program=gzip -9n",
                "-cf",
                &archive,
                name,
            ]),
    )?;
    let sum = output(Command::new("sha256sum").current_dir(&dist).arg(&archive))?;
    fs::write(dist.join(format!("{archive}.sha256")), &sum).context("writing the checksum")?;
    note!("{}", dist.join(&archive).display());
    print!("{sum}");
    Ok(())
}
