//! Conducts a scenario: raises the stage, lets the crowds in, does each fault at its time, and
//! writes down what was done.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::fault::{Undo, take};
use super::file::Scenario;
use super::merge;
use super::stage::Stage;
use super::summary::Summary;
use crate::truth::{self, Event, Phase, Stamp, Truth};
use crate::up::stop::Stop;

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How much longer than the scenario a crowd may take to say its sums.
const GRACE: Duration = Duration::from_secs(30);
/// A fault that comes later than this was not run as written.
const LATE: Duration = Duration::from_millis(500);
/// A crowd that ends sooner than this before the end has not done its part.
const EARLY: Duration = Duration::from_millis(500);

/// A side of a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cue {
    at: Duration,
    fault: usize,
    begins: bool,
}

/// Runs it into a new directory.
pub(crate) fn run(scenario: &Scenario, file: &Path, out: &Path) -> Result<ExitCode> {
    let _log = crate::log::start("scenario", &crate::log::Config::default())?;
    let stop = Stop::new()?;
    prepare(file, out)?;
    let out = &fs::canonicalize(out).with_context(|| format!("finding {}", out.display()))?;
    let truth = truth::create(&out.join("faults.jsonl"))?;
    truth.put(
        None,
        Event::Run {
            schema: truth::SCHEMA,
            writer: "scenario",
            seed: scenario.seed,
            name: scenario.name.clone(),
        },
    );
    let mut summary = Summary::new(scenario);
    let result = conduct(scenario, out, &truth, &mut summary, &stop);
    let lost = truth.close().lost;
    if let Err(error) = &result {
        summary.problem(format!("{error:#}"));
    }
    if lost > 0 {
        summary.problem(format!("{lost} lines of truth were lost"));
    }
    merge::merge(out)?;
    summary.write(out)?;
    result?;
    ensure!(lost == 0, "{lost} lines of truth were lost");
    println!("{}", out.display());
    Ok(ExitCode::SUCCESS)
}

fn prepare(file: &Path, out: &Path) -> Result<()> {
    let is_empty = fs::read_dir(out).map_or(true, |mut entries| entries.next().is_none());
    ensure!(
        is_empty,
        "{} is not empty: remove it or give another --out",
        out.display()
    );
    fs::create_dir_all(out.join("logs")).with_context(|| format!("making {}", out.display()))?;
    fs::copy(file, out.join("scenario.toml"))
        .context("copying the scenario")
        .map(|_| ())
}

fn conduct(
    scenario: &Scenario,
    out: &Path,
    truth: &Truth,
    summary: &mut Summary,
    stop: &Stop,
) -> Result<()> {
    let mut stage = Stage::raise(scenario, out, stop)?;
    tracing::info!("network, services and programs stand");
    pause(
        &mut stage,
        Duration::from_secs_f64(scenario.warm_up_s),
        stop,
    )?;
    for crowd in &scenario.crowd {
        stage
            .admit(crowd, scenario)
            .with_context(|| format!("crowd {}", crowd.name))?;
    }
    let start = Instant::now();
    summary.started();
    let (crowds, seconds) = (scenario.crowd.len(), scenario.seconds);
    tracing::info!(crowds, seconds, "the crowds come");
    let result = play(scenario, &mut stage, truth, start, stop);
    let crowds = stage.crowds();
    for (name, sums) in crowds.as_object().into_iter().flatten() {
        tracing::info!(counts = %sums["counts"], "{name} went through");
    }
    summary.sums(stage.last_words()?, crowds);
    result
}

fn play(
    scenario: &Scenario,
    stage: &mut Stage,
    truth: &Truth,
    start: Instant,
    stop: &Stop,
) -> Result<()> {
    let end = Duration::from_secs_f64(scenario.seconds);
    let mut cues = cues(scenario).into_iter().peekable();
    let mut undos: Vec<Option<Undo>> = scenario.fault.iter().map(|_| None).collect();
    loop {
        ensure!(
            !stop.asked(),
            "told to stop after {:.1} s",
            start.elapsed().as_secs_f64()
        );
        while let Some(cue) = cues.next_if(|cue| cue.at <= start.elapsed()) {
            let late = start.elapsed().saturating_sub(cue.at);
            ensure!(
                late < LATE,
                "fault {} comes {:.1} s late",
                cue.fault + 1,
                late.as_secs_f64()
            );
            give(scenario, cue, stage, &mut undos, truth, stop)?;
        }
        let elapsed = start.elapsed();
        stage.check(elapsed + EARLY >= end)?;
        if elapsed >= end && stage.crowds_are_done() {
            return Ok(());
        }
        if elapsed > end + GRACE {
            bail!("a crowd has not ended {} s after the end", GRACE.as_secs());
        }
        let next = cues
            .peek()
            .map_or(LOOK, |cue| cue.at.saturating_sub(start.elapsed()));
        thread::sleep(next.min(LOOK));
    }
}

/// Does or undoes a fault; truth has the moment before it is done and the moment after it is
/// undone, so nothing of it lies outside.
fn give(
    scenario: &Scenario,
    cue: Cue,
    stage: &mut Stage,
    undos: &mut [Option<Undo>],
    truth: &Truth,
    stop: &Stop,
) -> Result<()> {
    let fault = &scenario.fault[cue.fault];
    let event = |phase| -> Result<Event> {
        Ok(Event::Fault {
            fault: fault.name()?,
            phase,
            target: fault.target()?.to_owned(),
            detail: fault.detail()?,
        })
    };
    let at_s = cue.at.as_secs_f64();
    let place = || format!("fault {} at {at_s} s", cue.fault + 1);
    let does = if cue.begins { "begins" } else { "ends" };
    let (name, target) = (fault.name()?, fault.target()?);
    tracing::info!(at_s, target, "fault {name} {does}");
    if cue.begins {
        let before = Stamp::now();
        undos[cue.fault] = Some(fault.begin(stage).with_context(place)?);
        let phase = if fault.lasts_s.is_some() {
            Phase::Begin
        } else {
            Phase::Strike
        };
        truth.put_at(before, None, event(phase)?);
    } else {
        take(undos, cue.fault)?
            .end(stage, stop)
            .with_context(place)?;
        truth.put(None, event(Phase::End)?);
    }
    Ok(())
}

fn cues(scenario: &Scenario) -> Vec<Cue> {
    let mut cues = Vec::new();
    for (index, fault) in scenario.fault.iter().enumerate() {
        cues.push(Cue {
            at: Duration::from_secs_f64(fault.at_s),
            fault: index,
            begins: true,
        });
        if fault.lasts_s.is_some() {
            cues.push(Cue {
                at: Duration::from_secs_f64(fault.ends_s()),
                fault: index,
                begins: false,
            });
        }
    }
    // An end comes before a beginning at the same moment, as both may be at one place.
    cues.sort_by_key(|cue| (cue.at, cue.begins));
    cues
}

fn pause(stage: &mut Stage, length: Duration, stop: &Stop) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < length {
        ensure!(!stop.asked(), "told to stop before the crowds came");
        stage.check(false)?;
        thread::sleep(LOOK.min(length.saturating_sub(start.elapsed())));
    }
    Ok(())
}
