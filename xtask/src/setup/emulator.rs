//! QEMU, new enough: the emulation of 7.2 loses processor flags now and then, by
//! which kernels crash at random (3 boots of 10 of a 6.12); 10.0 did not in 30.
//! Where the machine's own is older, a later one is unpacked into the cache with
//! the libraries it lacks. Nothing is installed, so nothing can be in its way.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use super::archive::{Archive, unpack};
use crate::{
    command::{find, output, step},
    workspace::cache,
};

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";
const OLDEST: u32 = 10;

/// Makes sure that there is an emulator.
pub(super) fn ensure() -> Result<()> {
    if command().is_ok() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        bail!("no {PROGRAM} of version {OLDEST} or later: install it by hand");
    }
    step!("fetch {PACKAGE}: boots other kernels; unpacked, not installed");
    let home = home()?;
    let fresh = home.with_extension("partial");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).with_context(|| format!("removing {}", fresh.display()))?;
    }
    let archive = Archive::open_for_this_release()?;
    archive.download(&archive.missing(PACKAGE)?, &fresh)?;
    unpack(&fresh, &fresh)?;
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("removing {}", home.display()))?;
    }
    fs::rename(&fresh, &home).with_context(|| format!("making {}", home.display()))?;
    command().map(drop)
}

/// The emulator, ready for arguments: the machine's own or the one in the cache.
pub(crate) fn command() -> Result<Command> {
    if let Some(own) = find(PROGRAM)
        && version(&mut Command::new(&own)).is_some_and(|major| major >= OLDEST)
    {
        return Ok(Command::new(own));
    }
    let mut qemu = cached()?;
    match version(&mut qemu) {
        Some(major) if major >= OLDEST => cached(),
        Some(major) => bail!("{PROGRAM} {major} is too old: {OLDEST} or later is needed"),
        None => bail!("no {PROGRAM} of version {OLDEST} or later: run `cargo xtask setup vm`"),
    }
}

fn cached() -> Result<Command> {
    let usr = home()?.join("usr");
    let mut libraries = vec![
        usr.join("lib/x86_64-linux-gnu"),
        home()?.join("lib/x86_64-linux-gnu"),
    ];
    if let Some(path) = env::var_os("LD_LIBRARY_PATH") {
        libraries.extend(env::split_paths(&path));
    }
    let mut qemu = Command::new(usr.join("bin").join(PROGRAM));
    qemu.env(
        "LD_LIBRARY_PATH",
        env::join_paths(libraries).context("joining library paths")?,
    );
    // Parts of the machine's own QEMU do not fit this one.
    qemu.env("QEMU_MODULE_DIR", usr.join("lib/x86_64-linux-gnu/qemu"));
    for firmware in ["share/qemu", "share/seabios"] {
        qemu.arg("-L").arg(usr.join(firmware));
    }
    Ok(qemu)
}

fn version(qemu: &mut Command) -> Option<u32> {
    major(&output(qemu.arg("--version")).ok()?)
}

/// The 10 of `QEMU emulator version 10.0.2 (…)`.
fn major(text: &str) -> Option<u32> {
    text.split_once("version ")?
        .1
        .split('.')
        .next()?
        .parse()
        .ok()
}

fn home() -> Result<PathBuf> {
    Ok(cache()?.join("qemu"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_qemu_says() {
        assert_eq!(
            major("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n"),
            Some(7)
        );
        assert_eq!(major("QEMU emulator version 10.0.2\n"), Some(10));
        assert_eq!(major("something else"), None);
    }
}
