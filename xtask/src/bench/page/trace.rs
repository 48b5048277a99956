//! The kernel's own record of retransmits: an instance of its trace, with the monotonic clock.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::note;

const TRACING: &str = "/sys/kernel/tracing";
/// Where the stage's services send to.
pub(super) const PORT: u16 = 5001;

/// Traces until dropped.
pub(super) struct Trace(PathBuf);

impl Trace {
    pub(super) fn start() -> Result<Self> {
        let instances = PathBuf::from(TRACING).join("instances");
        if !instances.is_dir() {
            bail!("{TRACING} is not mounted: run `cargo xtask setup demo` as root");
        }
        let trace = Self(instances.join(format!("weir-page-{}", std::process::id())));
        fs::create_dir(&trace.0).context("making an instance of the kernel's trace")?;
        trace.write("trace_clock", "mono")?;
        let event = "events/tcp/tcp_retransmit_skb";
        trace.write(&format!("{event}/filter"), &format!("dport == {PORT}"))?;
        trace.write(&format!("{event}/enable"), "1")?;
        Ok(trace)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// What was sent again: nanoseconds of the monotonic clock, and the sender's port.
    pub(super) fn finish(self) -> Result<Vec<(u64, u16)>> {
        let text = fs::read_to_string(self.0.join("trace")).context("reading the trace")?;
        let mut found: Vec<_> = text.lines().filter_map(parse).collect();
        found.sort_unstable();
        Ok(found)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Err(why) = fs::remove_dir(&self.0) {
            note!("{} stays: {why}", self.0.display());
        }
    }
}

fn parse(line: &str) -> Option<(u64, u16)> {
    let (head, fields) = line.split_once(": tcp_retransmit_skb: ")?;
    let (seconds, micros) = head.split_whitespace().last()?.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let micros: u64 = micros.parse().ok()?;
    let mut fields = fields.split_whitespace();
    let port = fields.find_map(|field| field.strip_prefix("sport="))?;
    Some((seconds * 1_000_000_000 + micros * 1_000, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_port_are_read() {
        let line = "  weir-pager-7-4711  [001] ..s1.  1234.000567: tcp_retransmit_skb: \
                    skbaddr=00 skaddr=00 family=AF_INET sport=40001 dport=5001 saddr=10.77.1.1";
        assert_eq!(parse(line), Some((1_234_000_567_000, 40_001)));
        assert_eq!(parse("# tracer: nop"), None);
    }
}
