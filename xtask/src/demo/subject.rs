//! What a demo watches: its network namespaces, and where its users write down how it went.

use std::process::Command;

use anyhow::{Context as _, Result};

use super::{crowd::Experience, truth::Truth};
use crate::command::output;

pub(super) struct Subject {
    /// For the head of the table.
    pub(super) title: &'static str,
    /// Where its traffic is.
    pub(super) namespaces: Vec<String>,
    /// None where nobody writes it down.
    pub(super) truth: Option<Truth>,
}

impl Subject {
    /// What its users went through until now, by their own account.
    pub(super) fn experience(&mut self) -> Option<Experience> {
        self.truth.as_mut().map(Truth::read)
    }

    /// The kernel's own count of retransmitted segments, all namespaces together.
    pub(super) fn kernel_retransmits(&self) -> Result<u64> {
        self.kernel_count("/proc/net/snmp", "Tcp:", "RetransSegs")
    }

    /// Retransmissions that the kernel tried and its own queue refused.
    pub(super) fn kernel_retransmits_failed(&self) -> Result<u64> {
        self.kernel_count("/proc/net/netstat", "TcpExt:", "TCPRetransFail")
    }

    fn kernel_count(&self, file: &str, group: &str, name: &str) -> Result<u64> {
        let mut sum = 0;
        for namespace in &self.namespaces {
            let text = output(Command::new("ip").args(["netns", "exec", namespace, "cat", file]))?;
            sum += counter(&text, group, name).with_context(|| format!("no {name} in {file}"))?;
        }
        Ok(sum)
    }
}

/// Reads a counter out of the two lines of its group, names and values.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|known| known == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_of_the_kernel_is_found_by_name() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: ActiveOpens RetransSegs InErrs\nTcp: 7 12 0\n";
        assert_eq!(counter(snmp, "Tcp:", "RetransSegs"), Some(12));
    }
}
