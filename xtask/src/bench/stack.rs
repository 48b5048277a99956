//! What the stack's services and tools bear: `weir-stack bench` for each of them with a release
//! build, put into one table of figures, goals and baselines.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use self::figure::Report;
use crate::command::{note, output, step};

mod figure;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which; all if not given
    #[arg(value_enum)]
    subjects: Vec<Subject>,
    /// Measure briefly, to see that it works: the figures are not those of the goals
    #[arg(long)]
    quick: bool,
}

/// A part of the stack that has a benchmark of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// Memory of connections, fan-out and delay, beside nginx with nchan
    Chat,
    /// Tickets matched, ticks of arenas
    Game,
    /// Delay, rate and fates of the relay, beside a plain veth pair
    Link,
    /// The model of a player beside hls.js in Chromium; many players at once
    Crowd,
}

/// Runs the benchmarks one after the other. One that fails is said and the others go on.
pub(crate) fn run(args: &Args, binary: &Path) -> Result<Report> {
    let subjects = match args.subjects.as_slice() {
        [] => Subject::value_variants(),
        some => some,
    };
    let mut report = Report::default();
    for subject in subjects {
        step!("weir-stack bench {}", subject.name());
        match measure(*subject, args.quick, binary) {
            Ok(raw) => report.add(*subject, raw),
            Err(error) => report.fail(*subject, &error),
        }
    }
    if args.quick {
        report
            .notes
            .push("--quick: not the goals' conditions".to_owned());
    }
    Ok(report)
}

fn measure(subject: Subject, quick: bool, binary: &Path) -> Result<Value> {
    let mut bench = Command::new(binary);
    bench.args(["bench", subject.name()]);
    if quick {
        bench.args(subject.quick());
    }
    // Ended when it is dropped.
    let origin = match subject {
        Subject::Crowd => Some(Origin::start(binary)?),
        Subject::Chat | Subject::Game | Subject::Link => None,
    };
    if let Some(origin) = &origin {
        bench.args(["--stream", &origin.stream]);
        bench.args(["--origin-pid", &origin.child.id().to_string()]);
        bench.arg("--hls-js").arg(player(binary)?);
    }
    let out = bench
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting weir-stack")?;
    if !out.status.success() {
        bail!("weir-stack bench {}: {}", subject.name(), out.status);
    }
    serde_json::from_slice(&out.stdout).context("its figures are no JSON")
}

/// The player's script, fetched into the user's cache if it is not there.
fn player(binary: &Path) -> Result<PathBuf> {
    let said = output(Command::new(binary).arg("media"))?;
    let player = said.lines().find_map(|line| line.strip_prefix("player: "));
    Ok(PathBuf::from(player.context(
        "there is no hls.js: run `cargo xtask setup bench`, which says why",
    )?))
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Game => "game",
            Self::Link => "link",
            Self::Crowd => "crowd",
        }
    }

    fn quick(self) -> &'static [&'static str] {
        match self {
            Self::Chat => &[
                "--connections=500",
                "--consumers=100",
                "--seconds=1",
                "--rounds=1",
            ],
            Self::Game => &[
                "--tickets-per-second=200",
                "--ticket-seconds=4",
                "--arenas=8",
                "--processes=2",
                "--arena-seconds=4",
            ],
            Self::Link => &["--echoes=40", "--seconds=1", "--rounds=1", "--packets=2000"],
            Self::Crowd => &[
                "--starts=2",
                "--trace=steady",
                "--runs=1",
                "--players=20",
                "--seconds=8",
            ],
        }
    }
}

/// An origin with a stream, for those who watch.
struct Origin {
    child: Child,
    stream: String,
}

impl Origin {
    fn start(binary: &Path) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(["origin", "--listen", "127.0.0.1:0", "--stream", "bench"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the origin")?;
        let lines = child.stdout.take().map(BufReader::new);
        let mut origin = Self {
            child,
            stream: String::new(),
        };
        for line in lines.into_iter().flat_map(BufRead::lines) {
            let line = line.context("reading what the origin says")?;
            let ready = serde_json::from_str::<Value>(&line).unwrap_or_default();
            if let Some(address) = ready["addresses"]["http"].as_str() {
                let address = address.trim_end_matches('/');
                origin.stream = format!("{address}/live/bench/master.m3u8");
                return Ok(origin);
            }
        }
        bail!("the origin ended before it was ready")
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        if let Err(error) = self.child.wait() {
            note!("waiting for the origin: {error}");
        }
    }
}
