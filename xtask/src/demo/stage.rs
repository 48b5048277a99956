//! Two network namespaces with a link between them that is slow and loses
//! packets, and the processes that run there. Taken down on drop.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::leftover::Record;
use crate::command::{output, run, step};

pub(super) const SERVER: &str = "10.77.0.1";
const CLIENTS: &str = "10.77.0.2";
/// Slow enough for queues, fast enough to be worth watching.
const RATE: &str = "100mbit";
/// Of 1000 packets to the clients.
const LOST: u32 = 5;

pub(super) struct Stage {
    server: String,
    clients: String,
    record: Record,
    children: Vec<(String, Child)>,
}

impl Stage {
    pub(super) fn raise() -> Result<Self> {
        let id = std::process::id();
        step!("two network namespaces, {RATE} between them, {LOST} of 1000 packets lost");
        let (server, clients) = (format!("weir-demo-{id}-s"), format!("weir-demo-{id}-c"));
        let directory = std::env::temp_dir().join(format!("weir-demo-{id}"));
        let record = Record::begin(directory, vec![server.clone(), clients.clone()])?;
        let stage = Self {
            server,
            clients,
            record,
            children: Vec::new(),
        };
        fs::create_dir_all(stage.directory()).context("making a directory for the demo")?;
        stage.link()?;
        stage.spoil()?;
        Ok(stage)
    }

    /// A directory for configuration, content and logs.
    pub(super) fn directory(&self) -> &Path {
        &self.record.directory
    }

    /// Starts a program among the clients.
    pub(super) fn start_client(&mut self, name: &str, command: &[&str]) -> Result<()> {
        let namespace = self.clients.clone();
        self.start(name, Some(&namespace), command)
    }

    /// Starts a program on the server.
    pub(super) fn start_server(&mut self, name: &str, command: &[&str]) -> Result<()> {
        let namespace = self.server.clone();
        self.start(name, Some(&namespace), command)
    }

    /// Starts a program; its output goes to a log that an error quotes.
    pub(super) fn start(
        &mut self,
        name: &str,
        namespace: Option<&str>,
        command: &[&str],
    ) -> Result<()> {
        let log = fs::File::create(self.log(name)).context("making a log")?;
        let mut start = match namespace {
            Some(namespace) => {
                let mut ip = Command::new("ip");
                ip.args(["netns", "exec", namespace, "setpriv"]);
                ip
            }
            None => Command::new("setpriv"),
        };
        // Ends with this process even if that is killed; a group of its own, so
        // that Ctrl-C reaches this process alone, which ends the rest in order.
        start
            .args(["--pdeathsig", "TERM", "--"])
            .args(command)
            .process_group(0);
        start
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("sharing a log")?)
            .stderr(log);
        let child = start.spawn().with_context(|| format!("starting {name}"))?;
        self.record.add(child.id())?;
        self.children.push((name.to_owned(), child));
        Ok(())
    }

    /// Fails if one of the processes has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        for (name, child) in &mut self.children {
            if let Some(status) = child
                .try_wait()
                .with_context(|| format!("looking at {name}"))?
            {
                let log = self.record.directory.join(format!("{name}.log"));
                let said = fs::read_to_string(log).unwrap_or_default();
                let tail: Vec<&str> = said.lines().rev().take(5).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                bail!("{name} ended ({status}): {}", tail.join(" | "));
            }
        }
        Ok(())
    }

    /// Waits until the server listens.
    pub(super) fn wait_for_server(&mut self) -> Result<()> {
        const TRIES: u32 = 100;
        for _ in 0..TRIES {
            self.check()?;
            let listening = [
                "-n",
                "-H",
                "-t",
                "-l",
                "-N",
                &self.server,
                "sport",
                "=",
                ":80",
            ];
            if !output(Command::new("ss").args(listening))?.is_empty() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("the server does not listen")
    }

    /// The kernel's own count of retransmitted segments, both namespaces together.
    pub(super) fn kernel_retransmits(&self) -> Result<u64> {
        self.kernel_count("/proc/net/snmp", "Tcp:", "RetransSegs")
    }

    /// Retransmissions that the kernel tried and its own queue refused.
    pub(super) fn kernel_retransmits_failed(&self) -> Result<u64> {
        self.kernel_count("/proc/net/netstat", "TcpExt:", "TCPRetransFail")
    }

    fn kernel_count(&self, file: &str, group: &str, name: &str) -> Result<u64> {
        let mut sum = 0;
        for namespace in [&self.server, &self.clients] {
            let text = output(Command::new("ip").args(["netns", "exec", namespace, "cat", file]))?;
            sum += counter(&text, group, name).with_context(|| format!("no {name} in {file}"))?;
        }
        Ok(sum)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.record.directory.join(format!("{name}.log"))
    }

    fn link(&self) -> Result<()> {
        let (server, clients) = (self.server.as_str(), self.clients.as_str());
        ip(&["netns", "add", server])?;
        ip(&["netns", "add", clients])?;
        ip(&[
            "-n", server, "link", "add", "link0", "type", "veth", "peer", "name", "link0", "netns",
            clients,
        ])?;
        for (namespace, address) in [(server, SERVER), (clients, CLIENTS)] {
            ip(&[
                "-n",
                namespace,
                "addr",
                "add",
                &format!("{address}/24"),
                "dev",
                "link0",
            ])?;
            ip(&["-n", namespace, "link", "set", "link0", "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    fn spoil(&self) -> Result<()> {
        run(Command::new("tc")
            .args([
                "-n",
                &self.server,
                "qdisc",
                "add",
                "dev",
                "link0",
                "root",
                "tbf",
            ])
            .args(["rate", RATE, "burst", "32kb", "latency", "60ms"]))?;
        // Dropped where they arrive: the sender's own stack must not notice.
        let rules = format!(
            "table ip weir {{\n\
             chain arriving {{\n\
             type filter hook prerouting priority 0\n\
             tcp sport 80 numgen random mod 1000 < {LOST} counter drop\n\
             }}\n\
             }}\n"
        );
        run(Command::new("ip").args(["netns", "exec", &self.clients, "nft", &rules]))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Reaped while the record's processes are ended, or they would stay as zombies.
        let children = std::mem::take(&mut self.children);
        let reapers: Vec<_> = children
            .into_iter()
            .map(|(_, mut child)| thread::spawn(move || child.wait()))
            .collect();
        self.record.clear();
        for reaper in reapers {
            // Nothing depends on how they ended.
            let _ = reaper.join();
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    run(Command::new("ip").args(args))
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
