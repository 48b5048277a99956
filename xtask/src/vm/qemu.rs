//! Boots a guest and collects what it prints. Software emulation only: it works
//! wherever QEMU does, inside other virtual machines too.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{guest, kernel::Kernel};
use crate::{command::note, setup::emulator, workspace::target};

/// Above the guest's own limit: the host ends only a guest that hangs.
const LIMIT: Duration = Duration::from_secs(guest::LIMIT_S + 30);

/// What a guest printed.
pub(super) struct Run {
    pub(super) lines: Vec<String>,
    /// From QEMU's start to the guest's first own line.
    pub(super) booted: Option<Duration>,
    /// From QEMU's start to its end.
    pub(super) took: Duration,
    /// Whether the host had to end it.
    pub(super) timed_out: bool,
}

/// Boots a kernel with an initramfs and waits for its end.
pub(super) fn boot(kernel: &Kernel, image: &Path) -> Result<Run> {
    let began = Instant::now();
    let directory = target()?.join("vm").join(&kernel.version);
    // QEMU complains of display modules that do not fit; a guest has no display.
    let complaints = directory.join("qemu.log");
    let complaints =
        File::create(&complaints).with_context(|| format!("making {}", complaints.display()))?;
    let mut qemu = command(kernel, image)?
        .stderr(complaints)
        .spawn()
        .context("starting QEMU")?;
    let Some(console) = qemu.stdout.take() else {
        bail!("QEMU without a console");
    };
    let reader = thread::spawn(move || read(console, began));
    let timed_out = wait(&mut qemu, began)?;
    let (lines, booted) = match reader.join() {
        Ok(read) => read,
        Err(_) => bail!("the reader of the console failed"),
    };
    let log = target()?
        .join("vm")
        .join(&kernel.version)
        .join("console.log");
    fs::write(&log, lines.join("\n")).with_context(|| format!("writing {}", log.display()))?;
    note!("console: {}", log.display());
    Ok(Run {
        lines,
        booted,
        took: began.elapsed(),
        timed_out,
    })
}

fn command(kernel: &Kernel, image: &Path) -> Result<Command> {
    let mut qemu = emulator()?;
    qemu.args([
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "1024",
    ])
    .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
    .args(["-no-reboot", "-nic", "none", "-kernel"])
    .arg(&kernel.image)
    .arg("-initrd")
    .arg(image)
    .args([
        "-append",
        "console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on",
    ])
    .stdin(Stdio::null())
    .stdout(Stdio::piped());
    Ok(qemu)
}

fn read(console: ChildStdout, began: Instant) -> (Vec<String>, Option<Duration>) {
    let up = format!("{} {}", guest::MARK, guest::UP);
    let mut lines = Vec::new();
    let mut booted = None;
    for line in BufReader::new(console).split(b'\n') {
        let Ok(line) = line else { break };
        let line = String::from_utf8_lossy(&line)
            .trim_end_matches('\r')
            .to_owned();
        if line.ends_with(&up) {
            booted = Some(began.elapsed());
        }
        lines.push(line);
    }
    (lines, booted)
}

/// Waits for the guest's end; kills it and gives `true` if it takes too long.
fn wait(qemu: &mut Child, began: Instant) -> Result<bool> {
    loop {
        if qemu.try_wait().context("waiting for QEMU")?.is_some() {
            return Ok(false);
        }
        if began.elapsed() > LIMIT {
            qemu.kill().context("ending QEMU")?;
            qemu.wait().context("waiting for QEMU")?;
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(50));
    }
}
