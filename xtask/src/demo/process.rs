//! The processes of a demo, each with a log, and a directory for both. Taken down on drop.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::leftover::Record;

pub(super) struct Processes {
    record: Record,
    children: Vec<(String, Child)>,
}

impl Processes {
    /// Starts the record of this run. `cleaner` is a `weir-stack` that is to be run here.
    pub(super) fn begin(cleaner: Option<&Path>) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        let record = Record::begin(directory, cleaner.map(Path::to_owned))?;
        let processes = Self {
            record,
            children: Vec::new(),
        };
        fs::create_dir_all(processes.directory()).context("making a directory for the demo")?;
        Ok(processes)
    }

    /// A directory for configuration, content and logs.
    pub(super) fn directory(&self) -> &Path {
        &self.record.directory
    }

    /// Notes a network namespace that is about to be made: it is taken away at the end.
    pub(super) fn own_namespace(&mut self, name: &str) -> Result<()> {
        self.record.add_namespace(name)
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

    /// The number of a process that was started.
    pub(super) fn pid(&self, name: &str) -> Option<u32> {
        let found = self.children.iter().find(|(known, _)| known == name);
        found.map(|(_, child)| child.id())
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

    /// Waits until something is so; fails if a process ends or the user wants an end meanwhile.
    pub(super) fn wait_until(
        &mut self,
        what: &str,
        patience: Duration,
        stop: &AtomicBool,
        mut is_so: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let began = Instant::now();
        while !is_so()? {
            self.check()?;
            if stop.load(Ordering::Relaxed) {
                bail!("told to stop before {what}");
            }
            if began.elapsed() > patience {
                bail!("waited {} s in vain until {what}", patience.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn log(&self, name: &str) -> PathBuf {
        self.record.directory.join(format!("{name}.log"))
    }
}

impl Drop for Processes {
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
