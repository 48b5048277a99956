//! Two network namespaces, services in one that send to a sink in the other, and scissors between.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::trace::PORT;
use crate::{
    bench::agent::end,
    command::{output, run},
};

const PREFIX: &str = "weir-page-";
const FROM: &str = "10.77.9.1";
const TO: &str = "10.77.9.2";
/// How long a connection stays cut, by a timer of the kernel's.
const CUT_MS: u32 = 100;

/// Removed when dropped.
pub(super) struct Stage {
    from: String,
    to: String,
    sink: Option<Child>,
}

/// A process with a connection; a service of its own, since it has a name of its own.
pub(super) struct Service {
    child: Child,
    orders: ChildStdin,
    /// Its end of the connection.
    pub(super) port: u16,
}

impl Stage {
    pub(super) fn new() -> Result<Self> {
        remove_orphans()?;
        let name = |side| format!("{PREFIX}{}-{side}", std::process::id());
        let mut stage = Self {
            from: name("from"),
            to: name("to"),
            sink: None,
        };
        for space in [&stage.from, &stage.to] {
            ip(&["netns", "add", space])?;
        }
        ip(&[
            "-n",
            &stage.from,
            "link",
            "add",
            "v",
            "type",
            "veth",
            "peer",
            "name",
            "v",
            "netns",
            &stage.to,
        ])?;
        for (space, address) in [(&stage.from, FROM), (&stage.to, TO)] {
            let address = format!("{address}/24");
            ip(&["-n", space, "addr", "add", &address, "dev", "v"])?;
            ip(&["-n", space, "link", "set", "v", "up"])?;
        }
        for rule in [
            "add table inet page",
            "add set inet page cut { type inet_service; flags timeout; }",
            "add chain inet page arrive { type filter hook input priority 0; }",
            "add rule inet page arrive tcp sport @cut drop",
        ] {
            stage.nft(rule)?;
        }
        let program = std::env::current_exe().context("looking for this program")?;
        let (sink, _) = start(&stage.to, &program, &["sink", &PORT.to_string()])?;
        stage.sink = Some(sink);
        Ok(stage)
    }

    fn nft(&self, rule: &str) -> Result<()> {
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", &self.to, "nft", rule]);
        run(&mut nft)
    }

    /// Starts services; their programs are links in `directory`.
    pub(super) fn services(&self, count: usize, directory: &Path) -> Result<Vec<Service>> {
        let program = std::env::current_exe().context("looking for this program")?;
        let one = |number| {
            let link = directory.join(format!("pager-{number}"));
            fs::hard_link(&program, &link).context("linking this program")?;
            let to = format!("{TO}:{PORT}");
            let (mut child, port) = start(&self.from, &link, &["service", &to])?;
            let orders = child.stdin.take().context("a service without stdin")?;
            Ok(Service {
                child,
                orders,
                port,
            })
        };
        (0..count).map(one).collect()
    }

    /// Drops what comes from a port, for a moment.
    pub(super) fn cut(&self, port: u16) -> Result<()> {
        self.nft(&format!(
            "add element inet page cut {{ {port} timeout {CUT_MS}ms }}"
        ))
    }
}

impl Service {
    /// Has it send two segments.
    pub(super) fn send(&mut self) -> Result<()> {
        self.orders.write_all(b"\n").context("a service is gone")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(sink) = &mut self.sink {
            end(sink);
        }
        for space in [&self.from, &self.to] {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}

/// Starts this program in a namespace as a worker; gives the port that it says.
fn start(space: &str, program: &Path, task: &[&str]) -> Result<(Child, u16)> {
    let mut child = Command::new("ip")
        .args(["netns", "exec", space])
        .arg(program)
        .args(["bench", "page-worker"])
        .args(task)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a worker")?;
    let answers = child.stdout.take().context("a worker without stdout")?;
    let mut line = String::new();
    let read = BufReader::new(answers).read_line(&mut line);
    match read.ok().and_then(|_| line.trim().parse().ok()) {
        Some(port) => Ok((child, port)),
        None => {
            end(&mut child);
            bail!("a worker ended early");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments))
}

/// Removes namespaces of runs that were killed.
fn remove_orphans() -> Result<()> {
    let list = output(Command::new("ip").args(["netns", "list"]))?;
    let names = list.lines().filter_map(|line| line.split(' ').next());
    for name in names {
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            ip(&["netns", "del", name])?;
        }
    }
    Ok(())
}
