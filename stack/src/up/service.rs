//! One process: started in its namespace and cgroup, its ready line awaited, its output kept, and
//! ended in bounded time.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use super::group::Group;
use super::health;
use super::stop::Stop;
use crate::link::command::line;
use crate::link::{leftover, namespace};

/// Until the ready line and the first good answer to `/healthz`.
const START: Duration = Duration::from_secs(30);
/// How long one may take to end when asked.
const END: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(20);
/// A longer line of output is cut.
const LONGEST_LINE: u64 = 64 * 1024;

/// What a service says about where it is.
pub(crate) type Addresses = BTreeMap<String, String>;

/// How to start one.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// As it is called here.
    pub(crate) name: String,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Network namespace; none: this one.
    pub(crate) namespace: Option<String>,
    /// Where its output goes, appended; none: standard error.
    pub(crate) log: Option<PathBuf>,
    /// Where its standard output goes instead, written anew.
    pub(crate) output: Option<PathBuf>,
}

/// A running process.
pub(crate) struct Service {
    plan: Plan,
    child: Child,
    group: Group,
    addresses: Addresses,
    ready: Receiver<Addresses>,
}

#[derive(Deserialize)]
struct ReadyLine {
    #[serde(rename = "ready")]
    _name: String,
    addresses: Addresses,
}

impl Service {
    /// Starts it. Call on the thread that lives longest: when that ends, the process gets SIGTERM.
    pub(crate) fn start(plan: Plan) -> Result<Self> {
        let group = Group::make(&plan.name)?;
        Self::start_in(group, plan)
    }

    fn start_in(group: Group, plan: Plan) -> Result<Self> {
        let mut command = match &plan.namespace {
            Some(name) => namespace::command(name, "setpriv"),
            None => Command::new("setpriv"),
        };
        // Ends with this process even if that is killed; a group of its own, so that Ctrl-C
        // reaches this process alone, which ends the rest in order.
        command
            .args(["--pdeathsig", "TERM", "--"])
            .args(&plan.command)
            .process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        match &plan.log {
            Some(_) => command.stderr(plan.open_log()?),
            None => command.stderr(Stdio::inherit()),
        };
        let mut child = command.spawn().with_context(|| {
            format!(
                "cannot start {} with `{}` (needs setpriv of util-linux)",
                plan.name,
                line(&command)
            )
        })?;
        if let Err(error) = group.add(child.id()) {
            tracing::warn!(
                service = plan.name,
                error = format!("{error:#}"),
                "left in its starter's cgroup"
            );
        }
        let ready = plan.follow(&mut child)?;
        Ok(Self {
            plan,
            child,
            group,
            addresses: Addresses::new(),
            ready,
        })
    }

    /// Waits until it says that it is ready and answers `/healthz`.
    pub(crate) fn wait_ready(&mut self, stop: &Stop) -> Result<()> {
        let deadline = Instant::now() + START;
        let name = self.plan.name.clone();
        loop {
            match self.ready.recv_timeout(STEP) {
                Ok(addresses) => break self.addresses = addresses,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    self.patience(stop, deadline)?
                }
            }
        }
        loop {
            let error = match health::check(&self.addresses, self.plan.namespace.as_deref()) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.patience(stop, deadline)
                .with_context(|| format!("{name} is not healthy: {error:#}"))?;
        }
    }

    /// Its name here.
    pub(crate) fn name(&self) -> &str {
        &self.plan.name
    }

    /// Where it runs; none: on the host.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.plan.namespace.as_deref()
    }

    /// Where it said that it is.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What it can be told, once.
    pub(crate) fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("looking at {}", self.plan.name))
    }

    /// Why it ended, with its last words.
    pub(crate) fn obituary(&self, status: ExitStatus) -> anyhow::Error {
        let said = self.plan.last_words();
        anyhow!("{} ended ({status}){said}", self.plan.name)
    }

    /// Sends a signal to it and to what it started.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        for pid in self.processes() {
            let pid = i32::try_from(pid)
                .ok()
                .and_then(Pid::from_raw)
                .context("no process number")?;
            match kill_process(pid, signal) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("kill({pid:?}) of {}", self.plan.name));
                }
            }
        }
        Ok(())
    }

    /// Caps its CPU time, in CPUs; `None` lifts the cap.
    pub(crate) fn cap(&mut self, cpus: Option<f64>) -> Result<()> {
        let pids = self.processes();
        self.group.cap(cpus, &pids)
    }

    /// Ends it as asked for: SIGTERM, then SIGKILL. Returns how it ended.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        self.end(Signal::TERM)
    }

    /// Ends it at once, without a chance to say good-bye.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        self.end(Signal::KILL)
    }

    /// The same once more in the same cgroup, after it has ended.
    pub(crate) fn again(&mut self) -> Result<()> {
        // Taken along: dropped with what has ended, it would be gone for what is to come.
        let group = std::mem::replace(&mut self.group, Group::none());
        *self = Self::start_in(group, self.plan.clone())?;
        Ok(())
    }

    fn end(&mut self, signal: Signal) -> Result<ExitStatus> {
        drop(self.child.stdin.take());
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        // SIGTERM is for the service alone: it ends its own in its own order.
        if signal == Signal::TERM {
            let pid = Pid::from_child(&self.child);
            // It may end at this moment. A stopped one must go on to see the signal.
            let _ = kill_process(pid, Signal::TERM);
            let _ = kill_process(pid, Signal::CONT);
        } else {
            self.signal(signal)?;
        }
        let deadline = Instant::now() + END;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                leftover::end(&self.group.processes());
                return Ok(status);
            }
            thread::sleep(STEP);
        }
        tracing::warn!(
            service = self.plan.name,
            "does not end within {END:?}: killed"
        );
        self.signal(Signal::KILL)?;
        self.child
            .wait()
            .with_context(|| format!("waiting for {}", self.plan.name))
    }

    fn processes(&self) -> Vec<u32> {
        let mut pids = self.group.processes();
        if !pids.contains(&self.child.id()) {
            pids.push(self.child.id());
        }
        pids
    }

    fn patience(&mut self, stop: &Stop, deadline: Instant) -> Result<()> {
        if let Some(status) = self.ended()? {
            return Err(self.obituary(status)).context("before it was ready");
        }
        if stop.asked() {
            bail!("told to stop before {} was ready", self.plan.name);
        }
        if Instant::now() > deadline {
            bail!(
                "{} is not ready after {} s{}",
                self.plan.name,
                START.as_secs(),
                self.plan.last_words()
            );
        }
        thread::sleep(STEP);
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(
                service = self.plan.name,
                error = format!("{error:#}"),
                "cannot be ended"
            );
        }
    }
}

impl Plan {
    fn open_log(&self) -> Result<File> {
        let path = self.log.clone().unwrap_or_else(|| "/dev/stderr".into());
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))
    }

    /// Keeps what it prints and picks out the ready line.
    fn follow(&self, child: &mut Child) -> Result<Receiver<Addresses>> {
        let out = child.stdout.take().context("no output to follow")?;
        let mut log: Box<dyn Write + Send> = match (&self.output, &self.log) {
            (Some(path), _) => {
                Box::new(File::create(path).with_context(|| format!("writing {}", path.display()))?)
            }
            (None, Some(_)) => Box::new(self.open_log()?),
            (None, None) => Box::new(std::io::stderr()),
        };
        let (tell, ready) = channel();
        // On a terminal the line is for `up`, which says the same in its own way.
        let keep_ready = self.log.is_some();
        let follow = move || {
            let mut lines = BufReader::new(out);
            let mut text = Vec::new();
            while lines
                .by_ref()
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut text)
                .is_ok_and(|bytes| bytes > 0)
            {
                let ready = serde_json::from_slice::<ReadyLine>(&text).ok();
                if ready.is_none() || keep_ready {
                    // A full disk must not stop the service at its output.
                    let _ = log.write_all(&text);
                }
                if let Some(line) = ready {
                    // Nobody may wait any more.
                    let _ = tell.send(line.addresses);
                }
                text.clear();
            }
        };
        thread::Builder::new()
            .name(self.name.clone())
            .spawn(follow)
            .context("starting a thread")?;
        Ok(ready)
    }

    fn last_words(&self) -> String {
        let Some(path) = &self.log else {
            return String::new();
        };
        let text = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines: Vec<&str> = text.lines().rev().take(3).collect();
        lines.reverse();
        format!(": {} (see {})", lines.join(" | "), path.display())
    }
}
