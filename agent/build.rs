//! Builds the kernel probes for the BPF target into `OUT_DIR/weir-probes`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
const OBJECT: &str = "weir-probes";

fn main() -> Result<()> {
    let here = env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?;
    let ebpf = Path::new(&here).join("../ebpf");
    println!("cargo:rerun-if-changed={}", ebpf.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?);
    let built = build(&ebpf, &out.join("probes"))?;
    strip(&built, &out.join(OBJECT))
}

/// Builds with the pinned toolchain. Not by aya-build, which reports each line of cargo's as a
/// warning; here only a failure is shown.
fn build(ebpf: &Path, target: &Path) -> Result<PathBuf> {
    const TARGET: &str = "bpfel-unknown-none";
    let flags = [
        "--cfg=bpf_target_arch=\"x86_64\"",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
    ];
    let output = Command::new(env::var_os("CARGO").context("cargo sets CARGO")?)
        .current_dir(ebpf)
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "weir-ebpf",
            "--bins",
        ])
        .args([
            "--features",
            "kernel",
            "--target",
            TARGET,
            "-Zbuild-std=core",
            "--target-dir",
        ])
        .arg(target)
        // A stable toolchain builds `core` for a target of its own under this name only.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env_remove("RUSTC")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .output()
        .context("running cargo for the kernel probes")?;
    if !output.status.success() {
        bail!(
            "cannot build the kernel probes; has `cargo xtask setup` been run?\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(target.join(TARGET).join("release").join(OBJECT))
}

/// Takes DWARF out, which bpf-linker makes BTF from and nobody needs after: 1.4 of 1.7 MB. By the
/// tool that comes with bpf-linker's LLVM; without it the agent is that much larger.
fn strip(built: &Path, stripped: &Path) -> Result<()> {
    let llvm = env::var("LLVM_PREFIX").unwrap_or_else(|_| "/usr/lib/llvm-22".to_owned());
    let tool = Path::new(&llvm).join("bin/llvm-objcopy");
    println!("cargo:rerun-if-env-changed=LLVM_PREFIX");
    let done = Command::new(tool)
        .arg("--strip-debug")
        .args([built, stripped])
        .status();
    if !done.is_ok_and(|status| status.success()) {
        fs::copy(built, stripped).with_context(|| format!("copying {}", built.display()))?;
    }
    Ok(())
}
