//! The pinned Rust toolchain with what the probes need, and the BPF linker.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{find, output, run, step},
    workspace::{MUSL, cargo, root},
};

/// The version that the probes are linked with; a newer one wants a newer rustc.
const BPF_LINKER: &str = "0.13.0";

/// Adds the components and the target that the toolchain lacks.
pub(super) fn ensure_rust() -> Result<()> {
    let sysroot = output(rustc().args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(sysroot.trim());
    let libraries = sysroot.join("lib/rustlib");
    let binaries = sysroot.join("bin");
    let components = [
        (
            "rust-src",
            libraries.join("src/rust/library/core"),
            "core is built for the BPF target",
        ),
        ("rustfmt", binaries.join("rustfmt"), "formats"),
        ("clippy", binaries.join("clippy-driver"), "lints"),
    ];
    for (component, path, why) in components {
        if !path.exists() {
            step!("rustup component add {component}: {why}");
            run(rustup(&["component", "add", component])?.current_dir(root()))?;
        }
    }
    if !libraries.join(MUSL).exists() {
        step!("rustup target add {MUSL}: static binaries for virtual machines and for release");
        run(rustup(&["target", "add", MUSL])?.current_dir(root()))?;
    }
    Ok(())
}

/// Whether the right bpf-linker is there and runs; it does not if its LLVM is gone.
pub(super) fn has_bpf_linker() -> bool {
    output(Command::new("bpf-linker").arg("--version"))
        .is_ok_and(|version| version.trim().ends_with(BPF_LINKER))
}

/// Builds bpf-linker against Debian's LLVM 22.
pub(super) fn install_bpf_linker() -> Result<()> {
    step!("cargo install bpf-linker {BPF_LINKER}: links the probes; about a minute");
    run(cargo()
        .args([
            "install",
            "bpf-linker",
            "--version",
            BPF_LINKER,
            "--locked",
            "--force",
        ])
        .args(["--no-default-features", "--features", "llvm-22"])
        .env("LLVM_PREFIX", "/usr/lib/llvm-22"))?;
    if !has_bpf_linker() {
        bail!("bpf-linker is installed but not in PATH: add cargo's bin directory to PATH");
    }
    Ok(())
}

fn rustc() -> Command {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(root());
    rustc
}

fn rustup(args: &[&str]) -> Result<Command> {
    let program = find("rustup").context(
        "this Rust does not come from rustup: install what rust-toolchain.toml lists by hand",
    )?;
    let mut rustup = Command::new(program);
    rustup.args(args);
    // The toolchain file decides, not the toolchain this very program runs under.
    rustup.env_remove("RUSTUP_TOOLCHAIN");
    Ok(rustup)
}
