//! Where things are: the tree, the target directory, the cache outside the tree.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::command::output;

/// The target triple of the static agent.
pub(crate) const MUSL: &str = "x86_64-unknown-linux-musl";

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    // Cargo sets the variable for the process it runs; the constant serves a
    // binary that was started by hand.
    let xtask = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    xtask.parent().map_or(xtask.clone(), PathBuf::from)
}

/// Cargo's target directory, wherever its configuration puts it.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = output(cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).context("reading cargo metadata")?;
    let directory = metadata["target_directory"].as_str();
    Ok(PathBuf::from(
        directory.context("cargo metadata without target_directory")?,
    ))
}

/// Weir's cache outside the tree, made if it is not there: kernels, receivers.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(base) => PathBuf::from(base),
        None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME set")?)
            .join(".cache"),
    };
    let cache = base.join("weir");
    fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
    Ok(cache)
}

/// Cargo, in the root of the workspace, of the pinned toolchain.
pub(crate) fn cargo() -> std::process::Command {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = std::process::Command::new(program);
    cargo.current_dir(root());
    // What `cargo run` tells this program of its package: build scripts (ring's) take it for a
    // change and build again what a plain `cargo build` had built.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// Whether this run is a machine's: then fewer excuses are accepted.
pub(crate) fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| value == "true" || value == "1")
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
