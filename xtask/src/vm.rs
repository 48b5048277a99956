//! `vm`: the kernel tests on kernels that this host does not run. Debian's
//! cloud kernels boot under QEMU's software emulation with the static agent and
//! its tests in an initramfs; nothing touches the host's kernel.

mod fact;
mod guest;
mod image;
mod kernel;
mod qemu;
mod report;

use anyhow::{Context as _, Result, bail};

use self::{image::Payload, kernel::Kernel, report::Outcome};
use crate::{
    command::{note, step},
    setup::{self, Archive, Part},
    test::Tally,
    workspace::in_ci,
};

/// Kernels that Weir promises to work on: the oldest, three between, the newest.
const KERNELS: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.2"];

/// What a run in CI must reach to mean anything.
const ENOUGH: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this kernel; may be given more than once
    #[arg(long)]
    kernel: Vec<String>,
    /// List the kernels and what of them is in the cache
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.list {
        return list();
    }
    let wanted: Vec<&str> = if args.kernel.is_empty() {
        KERNELS.to_vec()
    } else {
        args.kernel.iter().map(String::as_str).collect()
    };
    if let Some(unknown) = wanted.iter().find(|version| !KERNELS.contains(version)) {
        bail!("no kernel {unknown}: there are {}", KERNELS.join(", "));
    }
    setup::ensure(&[Part::Build, Part::Vm])?;
    let mut tally = Tally::default();
    let booted = boot_all(&wanted, &mut tally);
    tally.list();
    println!("{tally}");
    if booted? < wanted.len() || tally.failed > 0 {
        bail!("not every kernel passed");
    }
    Ok(())
}

/// The suite as a part of `test`: what cannot be reached is skipped, but not
/// too much of it in CI.
pub(crate) fn test(tally: &mut Tally) {
    let booted = if let Err(error) = setup::ensure(&[Part::Build, Part::Vm]) {
        tally.skip(&format!("kernels {}: {error:#}", KERNELS.join(", ")));
        0
    } else {
        boot_all(&KERNELS, tally).unwrap_or_else(|error| {
            tally.fail(&format!("vm: {error:#}"));
            0
        })
    };
    if in_ci() && booted < ENOUGH {
        tally.fail(&format!("vm: {booted} kernels ran, at least {ENOUGH} must"));
    }
}

fn list() -> Result<()> {
    for version in KERNELS {
        match Kernel::cached(version)? {
            Some(kernel) => println!("{version:<6} {}", kernel.release),
            None => println!("{version:<6} not in the cache"),
        }
    }
    Ok(())
}

/// Boots the kernels one after the other and gives how many could be booted.
/// Not two at once: tests compare times, and guests would compete for the cores.
fn boot_all(wanted: &[&str], tally: &mut Tally) -> Result<usize> {
    let payload = Payload::build()?;
    let mut archive = None;
    let mut outcomes = Vec::new();
    for version in wanted {
        let kernel = match kernel(version, &mut archive) {
            Ok(kernel) => kernel,
            Err(error) => {
                tally.skip(&format!("kernel {version}: {error:#}"));
                continue;
            }
        };
        match boot(&kernel, &payload) {
            Ok(outcome) => {
                outcome.count(tally);
                outcomes.push(outcome);
            }
            Err(error) => tally.fail(&format!("kernel {version}: {error:#}")),
        }
    }
    print!("{}", report::table(&outcomes));
    print!("{}", fact::matrix(outcomes.iter().map(Outcome::facts)));
    Ok(outcomes.len())
}

/// A kernel from the cache, or from the archive, which is opened when first needed.
fn kernel(version: &str, archive: &mut Option<Archive>) -> Result<Kernel> {
    if let Some(kernel) = Kernel::cached(version)? {
        return Ok(kernel);
    }
    let archive = match archive {
        Some(archive) => archive,
        empty => empty.insert(Archive::open()?),
    };
    Kernel::fetch(version, archive)
}

fn boot(kernel: &Kernel, payload: &Payload) -> Result<Outcome> {
    let image = image::pack(kernel, payload).context("packing the guest's image")?;
    step!("boot {} under emulation", kernel.release);
    let run = qemu::boot(kernel, &image)?;
    let outcome = Outcome::read(kernel, &run);
    note!(
        "{} took {} s: {}",
        kernel.release,
        run.took.as_secs(),
        outcome.summary()
    );
    Ok(outcome)
}
