//! Installs Debian packages without starting services and without judging by
//! apt's exit code alone: a trigger of some other package may fail while ours
//! are in order.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::command::{find, note, output, run, step, succeeds};

/// Services that Debian enables when their package is installed. The demo and
/// the tests start their own instances, so nothing may listen by itself.
const SERVICES: [(&str, &str); 3] = [
    ("nginx-light", "nginx"),
    ("prometheus", "prometheus"),
    ("victoria-metrics", "victoria-metrics"),
];

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Whether dpkg knows the package as installed and configured.
pub(super) fn is_installed(package: &str) -> bool {
    output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// Installs packages from the machine's own sources.
pub(super) fn install(packages: &[&str], allow_removal: bool) -> Result<()> {
    step!("apt-get update: package lists may be old or missing");
    if let Err(error) = run(apt().args(["-qq", "update"])) {
        // A third party's source that does not answer is no reason to stop.
        note!("going on with the package lists at hand: {error}");
    }
    if !allow_removal {
        refuse_removal(packages)?;
    }
    step!("apt-get install {}", packages.join(" "));
    let policy = Policy::forbid_starts()?;
    let outcome = run(&mut install_command(packages));
    drop(policy);
    disable_services(packages);
    let absent: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    match outcome {
        _ if absent.is_empty() => {
            if let Err(error) = outcome {
                note!("apt-get complained, but all packages are installed: {error}");
            }
            Ok(())
        }
        Ok(()) => bail!("apt-get did not install {}", absent.join(" ")),
        Err(error) => Err(error.context(format!("not installed: {}", absent.join(" ")))),
    }
}

/// A package of ours may conflict with one from backports that the user chose.
fn refuse_removal(packages: &[&str]) -> Result<()> {
    let plan = output(install_command(packages).arg("--simulate"))?;
    let removed = removals(&plan);
    if !removed.is_empty() {
        bail!(
            "installing {} would remove {}: run `cargo xtask setup --allow-removal` if that is fine",
            packages.join(" "),
            removed.join(" ")
        );
    }
    Ok(())
}

/// The packages that a simulated run would remove.
fn removals(plan: &str) -> Vec<&str> {
    plan.lines()
        .filter_map(|line| line.strip_prefix("Remv "))
        .filter_map(|rest| rest.split_whitespace().next())
        .collect()
}

fn install_command(packages: &[&str]) -> Command {
    let mut install = apt();
    install.args(["-qq", "install", "--yes", "--no-install-recommends"]);
    install.args(packages);
    install
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    // Another apt may be at work: wait for it rather than fail.
    apt.args(["-o", "DPkg::Lock::Timeout=300"]);
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn disable_services(packages: &[&str]) {
    let Some(systemctl) = find("systemctl") else {
        return;
    };
    for (package, service) in SERVICES {
        if packages.contains(&package)
            && !succeeds(Command::new(&systemctl).args(["--quiet", "disable", service]))
        {
            note!("could not disable {service}: it may start at the next boot");
        }
    }
}

/// Keeps maintainer scripts from starting services, by the file Debian asks
/// before each start. Removed on drop unless it was there before.
struct Policy {
    ours: bool,
}

impl Policy {
    fn forbid_starts() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("writing {POLICY}"))?;
        let policy = Self { ours: true };
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("making {POLICY} executable"))?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            note!("could not remove {POLICY}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_removes_a_package_is_recognised() {
        let plan = "NOTE: This is only a simulation!\n\
                    Remv qemu-utils [1:10.0.2]\n\
                    Inst qemu-system-x86 (1:7.2 Debian:12/stable [amd64])\n";
        assert_eq!(removals(plan), ["qemu-utils"]);
    }

    #[test]
    fn a_plan_without_removals_is_clean() {
        assert!(removals("Inst wrk (4.1.0-3 Debian:12 [amd64])\n").is_empty());
    }
}
