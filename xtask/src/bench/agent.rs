//! The agent under test: started with its own port, watched until it is ready, ended for certain.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::sample::{Samples, label};

const PATIENCE: Duration = Duration::from_secs(20);
/// The agent measures its own cost at its start, with the kernel's statistics on for 300 ms, which
/// make every probe slower.
const SETTLE: Duration = Duration::from_millis(450);

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    config: PathBuf,
    lines: Receiver<(Instant, String)>,
    started: Instant,
    /// Port of its endpoint.
    pub port: u16,
}

impl Agent {
    /// Executes it with these lines of configuration besides its port.
    pub(crate) fn start(binary: &Path, config: &str) -> Result<Self> {
        let port = free_port()?;
        let file = env::temp_dir().join(format!("weir-bench-{}-{port}.toml", std::process::id()));
        let text = format!("[prometheus]\nlisten = \"127.0.0.1:{port}\"\n{config}");
        fs::write(&file, text).context("writing the agent's configuration")?;
        let started = Instant::now();
        let mut child = Command::new(binary)
            .args(["run", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let (sender, lines) = channel();
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if sender.send((Instant::now(), line)).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self {
            child,
            config: file,
            lines,
            started,
            port,
        })
    }

    /// Starts it and waits until nothing of its start disturbs a measurement any more.
    pub(crate) fn ready(binary: &Path, config: &str) -> Result<Self> {
        let mut agent = Self::start(binary, config)?;
        agent.first_scrape()?;
        thread::sleep(SETTLE);
        Ok(agent)
    }

    /// Scrapes until there is an answer, and gives it with the time since `exec`.
    pub(crate) fn first_scrape(&mut self) -> Result<(Samples, Duration)> {
        loop {
            if let Ok(samples) = Samples::scrape(self.port) {
                return Ok((samples, self.started.elapsed()));
            }
            if let Some(status) = self.child.try_wait()? {
                let said: Vec<_> = self.lines.iter().map(|(_, line)| line).collect();
                bail!("the agent ended ({status}): {}", said.join(" / "));
            }
            if self.started.elapsed() > PATIENCE {
                bail!("the agent did not answer within {} s", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Time since `exec` of the first line on stderr that contains each text, so far.
    pub(crate) fn said(&self, texts: &[&str]) -> Vec<Option<Duration>> {
        let lines: Vec<_> = self.lines.try_iter().collect();
        let find = |text: &&str| {
            let found = lines.iter().find(|(_, line)| line.contains(*text))?;
            Some(found.0.duration_since(self.started))
        };
        texts.iter().map(find).collect()
    }

    /// Whether one of its rungs for sends runs.
    pub(crate) fn sees_sends(&self) -> Result<bool> {
        let samples = Samples::scrape(self.port)?;
        let mut probes = samples.of("weir_probe_attached");
        Ok(probes.any(|(labels, on)| label(labels, "probe") == Some("tcp_send") && on > 0.0))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        end(&mut self.child);
        let _ = fs::remove_file(&self.config);
    }
}

/// Asks a process to end, and kills it if it does not within two seconds.
pub(crate) fn end(child: &mut Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let asked = pid.map(|pid| kill_process(pid, Signal::TERM));
    let begun = Instant::now();
    while asked.is_some() && begun.elapsed() < Duration::from_secs(2) {
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
    Ok(listener.local_addr()?.port())
}
