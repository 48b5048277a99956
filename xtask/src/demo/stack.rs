//! The stack of `weir-stack`: its services in one network namespace, its crowd in another, a link
//! between that dips now and then. All of it is one scenario, which `weir-stack scenario run`
//! raises, conducts and takes down; here it is only started and read.

use std::{fs, path::Path, process::Command, sync::atomic::AtomicBool, time::Duration};

use anyhow::{Context as _, Result, bail};

use super::{process::Processes, subject::Subject, truth::Truth};
use crate::command::{run, step};

/// Network, services, crowd and what goes wrong.
const SCENARIO: &str = include_str!("../../../stack/scenarios/evening.toml");
/// What the scenario calls its crowd.
const CROWD: &str = "crowd";
const NODES: [&str; 2] = ["server", "players"];
/// On a machine that is busy with something else, too.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Makes the streams that the origin loops, unless they are in the cache.
pub(super) fn make_media(binary: &Path) -> Result<()> {
    step!("the streams that the origin loops, encoded once and kept in the cache");
    run(Command::new(binary)
        .args(["media", "--no-player"])
        .stdout(std::io::stderr()))
}

/// Starts the scenario and waits until its crowd comes.
pub(super) fn start(
    processes: &mut Processes,
    binary: &Path,
    stop: &AtomicBool,
) -> Result<Subject> {
    step!("live stream, chat and game in one network namespace, their users in another");
    let directory = processes.directory();
    let (file, out) = (directory.join("stack.toml"), directory.join("run"));
    fs::write(&file, SCENARIO).context("writing the scenario")?;
    let words = [binary, Path::new("scenario"), Path::new("run"), &file];
    let words = words.map(|word| word.display().to_string());
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let out_word = out.display().to_string();
    words.extend(["--out", &out_word]);
    processes.start("weir-stack", None, &words)?;
    let truth = out.join(format!("crowd-{CROWD}.jsonl"));
    processes.wait_until("the crowd comes", READY_WITHIN, stop, || {
        Ok(fs::metadata(&truth).is_ok_and(|file| file.len() > 0))
    })?;
    let pid = processes.pid("weir-stack").context("no scenario runs")?;
    Ok(Subject {
        title: "a live stream, a chat and a game",
        namespaces: namespaces(pid)?,
        truth: Some(Truth::of([truth, out.join("faults.jsonl")])),
    })
}

/// A run's namespaces carry its process number, the process's start, and the node's name.
fn namespaces(pid: u32) -> Result<Vec<String>> {
    let entries = fs::read_dir("/run/netns").context("reading /run/netns")?;
    let names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    NODES
        .iter()
        .map(|node| {
            let found = names.iter().find(|name| is_of(name, pid, node));
            match found {
                Some(name) => Ok(name.clone()),
                None => bail!("the scenario has no network namespace {node}"),
            }
        })
        .collect()
}

fn is_of(name: &str, pid: u32, node: &str) -> bool {
    name.strip_prefix(&format!("weir-stack-{pid}-"))
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(_, of)| of == node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_namespaces_are_told_from_anothers() {
        assert!(is_of("weir-stack-12-3456-server", 12, "server"));
        assert!(!is_of("weir-stack-123-456-server", 12, "server"));
        assert!(!is_of("weir-stack-12-3456-servers", 12, "server"));
        assert!(!is_of("weir-demo-12-s", 12, "s"));
    }

    #[test]
    fn the_scenario_is_longer_than_a_demo() {
        let seconds = SCENARIO
            .lines()
            .find_map(|line| line.strip_prefix("seconds = "));
        let seconds = seconds.unwrap().replace('_', "").parse::<u64>().unwrap();
        assert!(seconds > super::super::LONGEST.as_secs());
    }

    #[test]
    fn the_scenario_has_the_names_that_are_looked_for() {
        assert!(SCENARIO.contains(&format!("nodes = {NODES:?}")));
        assert!(SCENARIO.contains(&format!("[[crowd]]\nname = {CROWD:?}")));
    }
}
