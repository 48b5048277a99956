//! Reads a guest's console output and makes the table of what works where.

use std::{fmt::Write as _, time::Duration};

use serde::Deserialize;

use super::{fact::Fact, guest, kernel::Kernel, qemu::Run};
use crate::test::Tally;

/// What the agent says about a kernel.
#[derive(Deserialize)]
struct Doctor {
    probes: Vec<Probe>,
}

#[derive(Deserialize)]
struct Probe {
    probe: String,
    fact: String,
    /// The rung in use, none if every one failed.
    rung: Option<String>,
    /// Better rungs that failed.
    failed: Vec<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    rung: String,
    why: String,
}

/// What became of one guest.
pub(super) struct Outcome {
    release: String,
    probes: Vec<Probe>,
    facts: Vec<Fact>,
    tally: Tally,
    /// What went wrong beside failed tests.
    faults: Vec<String>,
    booted: Option<Duration>,
    took: Duration,
}

impl Outcome {
    /// Takes the results out of what a guest printed.
    pub(super) fn read(kernel: &Kernel, run: &Run) -> Self {
        let mut outcome = Self {
            release: kernel.release.clone(),
            probes: Vec::new(),
            facts: Vec::new(),
            tally: Tally::default(),
            faults: Vec::new(),
            booted: run.booted,
            took: run.took,
        };
        let done = outcome.read_lines(&run.lines);
        if run.timed_out {
            outcome.faults.push("did not end in time".to_owned());
        } else if !done {
            outcome.faults.push("ended before all was run".to_owned());
        }
        outcome
    }

    /// Adds this guest's results to those of the whole run.
    pub(super) fn count(&self, tally: &mut Tally) {
        tally.add(&self.release, &self.tally);
        for fault in &self.faults {
            tally.fail(&format!("kernel {}: {fault}", self.release));
        }
    }

    /// The kernel, and what tests found to be true on it.
    pub(super) fn facts(&self) -> (&str, &[Fact]) {
        (&self.release, &self.facts)
    }

    pub(super) fn summary(&self) -> String {
        let mut summary = self.tally.to_string();
        for fault in &self.faults {
            let _ = write!(summary, "; {fault}");
        }
        summary
    }

    /// Gives whether the guest came to its end.
    fn read_lines(&mut self, lines: &[String]) -> bool {
        let mut section: Option<(&str, Vec<&str>)> = None;
        for line in lines {
            // Without a newline at the end of a program's output a mark is not at the line's start.
            let mark = line
                .find(guest::MARK)
                .map(|at| &line[at + guest::MARK.len()..]);
            let Some(mark) = mark else {
                if let Some((_, text)) = &mut section {
                    text.push(line);
                }
                continue;
            };
            let mut words = mark.split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some(guest::BEGIN), Some(name), _) => section = Some((name, Vec::new())),
                (Some(guest::END), Some(name), code) => {
                    let text = section.take().map(|(_, text)| text).unwrap_or_default();
                    self.read_section(name, &text, code == Some("0"));
                }
                (Some(guest::DONE), ..) => return true,
                _ => {}
            }
        }
        false
    }

    fn read_section(&mut self, name: &str, text: &[&str], succeeded: bool) {
        if name == guest::DOCTOR {
            match doctor(text) {
                Some(doctor) => self.probes = doctor.probes,
                None => {
                    let said = text.iter().rev().find(|line| !line.is_empty());
                    let said = said.copied().unwrap_or("nothing");
                    self.faults
                        .push(format!("weir doctor gave no report but: {said}"));
                }
            }
            let refused = self.probes.iter().filter(|probe| probe.is_refused());
            self.faults
                .extend(refused.map(|probe| format!("{} is off", probe.probe)));
            return;
        }
        let before = self.tally.failed;
        text.iter().for_each(|line| self.tally.line(line));
        self.facts
            .extend(text.iter().filter_map(|line| Fact::parse(line)));
        if !succeeded && self.tally.failed == before {
            self.faults.push(format!("test program {name} died"));
        }
    }
}

/// The JSON between whatever else a program or the kernel printed.
fn doctor(text: &[&str]) -> Option<Doctor> {
    let text = text.join("\n");
    let (from, to) = (text.find('{')?, text.rfind('}')?);
    serde_json::from_str(text.get(from..=to)?).ok()
}

/// Kernel × rung × result × fact, then one line of tests per kernel.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut rows = vec![["kernel", "probe", "rung", "result", "fact"].map(str::to_owned)];
    for outcome in outcomes {
        for probe in &outcome.probes {
            rows.extend(probe.rows(&outcome.release));
        }
    }
    let mut table = align(&rows);
    for outcome in outcomes {
        let booted = outcome.booted.unwrap_or_default().as_secs_f32();
        let took = outcome.took.as_secs();
        let _ = writeln!(
            table,
            "{}: {} (booted in {booted:.1} s, whole run {took} s)",
            outcome.release,
            outcome.summary()
        );
    }
    table
}

impl Probe {
    /// Whether the probe is off though the kernel has a hook for it. Without a
    /// hook it is right to be off, and the table says so.
    fn is_refused(&self) -> bool {
        self.rung.is_none()
            && !self
                .failed
                .iter()
                .all(|f| f.why.starts_with("this kernel has no"))
    }

    /// One row for the rung in use, or for having none, and one for each that failed.
    fn rows(&self, release: &str) -> Vec<[String; 5]> {
        let row = |rung: &str, result: &str| {
            [release, &self.probe, rung, result, &self.fact].map(str::to_owned)
        };
        let used = match &self.rung {
            Some(rung) => row(rung, "attached"),
            None => row("-", "OFF"),
        };
        let failed = self.failed.iter().map(|failure| {
            let why: String = failure.why.chars().take(60).collect();
            row(&failure.rung, &why)
        });
        std::iter::once(used).chain(failed).collect()
    }
}

fn align(rows: &[[String; 5]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 5] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let mut table = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(table, "{}", cells.join("  ").trim_end());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = r#"WEIR-VM up
WEIR-VM begin doctor
{"kernel":"6.1.0","transport":"ring","probes":[
{"probe":"tcp_send","fact":"send","rung":"kprobe","failed":[{"rung":"fentry","why":"refused"}],"shed":false},
{"probe":"sched","fact":"run queue","rung":null,"failed":[{"rung":"raw","why":"this kernel has no x"}]}]}
WEIR-VM end doctor 0
WEIR-VM begin kernel
test a ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out
WEIR-VM end kernel 0
WEIR-VM done"#;

    fn outcome(console: &str) -> Outcome {
        let kernel = Kernel {
            version: "6.1".to_owned(),
            release: "6.1.0".to_owned(),
            image: "k".into(),
            modules: "m".into(),
        };
        let run = Run {
            lines: console.lines().map(str::to_owned).collect(),
            booted: None,
            took: Duration::ZERO,
            timed_out: false,
        };
        Outcome::read(&kernel, &run)
    }

    #[test]
    fn the_table_says_what_is_attached_and_why_not() {
        let table = table(&[outcome(CONSOLE)]);
        for line in [
            "6.1.0   tcp_send  kprobe  attached              send\n",
            "6.1.0   tcp_send  fentry  refused               send\n",
            "6.1.0   sched     -       OFF                   run queue\n",
            "6.1.0   sched     raw     this kernel has no x  run queue\n",
            "6.1.0: 1 passed, 0 failed, 0 skipped",
        ] {
            assert!(table.contains(line), "{line} not in\n{table}");
        }
    }

    #[test]
    fn a_probe_that_the_kernel_refuses_is_a_fault_and_one_without_a_hook_is_not() {
        assert!(outcome(CONSOLE).faults.is_empty());
        let refused = CONSOLE.replace("this kernel has no x", "stack too large");
        assert_eq!(outcome(&refused).faults, ["sched is off"]);
    }

    #[test]
    fn a_guest_that_dies_is_a_fault() {
        let panic = CONSOLE.replace("WEIR-VM done", "Kernel panic");
        assert_eq!(outcome(&panic).faults, ["ended before all was run"]);
    }

    #[test]
    fn a_test_program_that_dies_without_a_result_is_a_fault() {
        let killed = CONSOLE
            .replace("test result", "Killed")
            .replace("end kernel 0", "end kernel 137");
        assert_eq!(outcome(&killed).faults, ["test program kernel died"]);
    }
}
