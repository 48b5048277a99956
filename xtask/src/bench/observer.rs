//! Who watches while the load runs: nobody, the agent in some configuration, or bpftrace.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    agent::{self, Agent},
    machine::pin,
};

/// Times sends and nothing else.
const SCRIPT: &str = "
tracepoint:syscalls:sys_enter_sendto { @start[tid] = nsecs; }
tracepoint:syscalls:sys_exit_sendto /@start[tid]/ {
    @ns = hist(nsecs - @start[tid]);
    delete(@start[tid]);
}";
/// From its message to its last attachment.
const SETTLE: Duration = Duration::from_millis(700);

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Observer {
    /// The agent, with these lines of configuration.
    Weir(&'static str),
    /// The script above.
    Bpftrace,
}

/// An observer at work.
pub(crate) enum Watching {
    Weir(Agent),
    Bpftrace(Bpftrace),
}

impl Observer {
    /// Starts it on another processor than the load's, and waits until it watches.
    pub(crate) fn watch(self, binary: &Path, processor: usize) -> Result<Watching> {
        let watching = match self {
            Self::Weir(config) => Watching::Weir(Agent::ready(binary, config)?),
            Self::Bpftrace => Watching::Bpftrace(Bpftrace::start()?),
        };
        let pid = i32::try_from(watching.pid()).ok().and_then(Pid::from_raw);
        pin(pid, processor)?;
        Ok(watching)
    }
}

impl Watching {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Weir(agent) => agent.pid(),
            Self::Bpftrace(bpftrace) => bpftrace.child.id(),
        }
    }

    /// Ends it. Unless its probe for sends is off, it must have seen at least this many of them: who
    /// sees nothing costs nothing.
    pub(crate) fn finish(self, sends: u32) -> Result<()> {
        let seen = match self {
            Self::Weir(agent) if !agent.sees_sends()? => return Ok(()),
            Self::Weir(agent) => {
                let samples = super::sample::Samples::scrape(agent.port)?;
                samples.sum("weir_tcp_send_duration_seconds_count")
            }
            Self::Bpftrace(bpftrace) => bpftrace.finish()?,
        };
        if seen < f64::from(sends) {
            bail!("an observer saw {seen} of {sends} sends");
        }
        Ok(())
    }
}

/// A running bpftrace.
pub(crate) struct Bpftrace {
    child: Child,
}

impl Bpftrace {
    fn start() -> Result<Self> {
        let child = Command::new("bpftrace")
            .args(["-e", SCRIPT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting bpftrace")?;
        let mut bpftrace = Self { child };
        let stdout = bpftrace.child.stdout.as_mut().context("no stdout")?;
        let mut line = String::new();
        BufReader::with_capacity(1, stdout)
            .read_line(&mut line)
            .context("reading from bpftrace")?;
        if !line.starts_with("Attaching") {
            bail!("bpftrace does not work here");
        }
        thread::sleep(SETTLE);
        Ok(bpftrace)
    }

    /// Lets it print its histogram, and counts what is in there.
    fn finish(mut self) -> Result<f64> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("no process id")?;
        kill_process(pid, Signal::INT)?;
        let begun = Instant::now();
        let mut text = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            stdout.read_to_string(&mut text)?;
        }
        while self.child.try_wait()?.is_none() && begun.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(text.lines().filter_map(bar).sum())
    }
}

impl Drop for Bpftrace {
    fn drop(&mut self) {
        agent::end(&mut self.child);
    }
}

/// The number in a line such as `[512, 1K)   1234 |@@@   |`.
fn bar(line: &str) -> Option<f64> {
    let (_, rest) = line.strip_prefix('[')?.split_once([')', ']'])?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_of_a_histogram_are_counted() {
        let text = "@ns: \n[0]        2 |@ |\n[1K, 2K)     1234 |@@@@|\n[2K, 4K)  6 |    |\n\n";
        assert_eq!(text.lines().filter_map(bar).sum::<f64>(), 1242.0);
    }
}
