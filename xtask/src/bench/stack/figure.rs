//! The figures that are asked of the stack: where each stands in what a benchmark prints, its goal,
//! and the baseline beside it.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::Subject;

/// What is asked of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// Takes a figure out of what a benchmark printed; none if it is not there.
type Measure = fn(&Value) -> Option<f64>;

/// One figure as the table of goals has it.
struct Wanted {
    subject: Subject,
    name: &'static str,
    unit: &'static str,
    goal: Option<Goal>,
    of: Measure,
    /// What it is compared with in the same run.
    baseline: Option<(&'static str, Measure)>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    subject: &'static str,
    name: &'static str,
    unit: &'static str,
    measured: Option<f64>,
    goal: Option<Goal>,
    /// None where there is no goal.
    met: Option<bool>,
    baseline: Option<Baseline>,
}

#[derive(Debug, Serialize)]
struct Baseline {
    name: &'static str,
    measured: Option<f64>,
}

/// All figures of a run, what the benchmarks printed, and what went wrong.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    figures: Vec<Row>,
    pub(super) notes: Vec<String>,
    raw: serde_json::Map<String, Value>,
}

static WANTED: &[Wanted] = &[
    Wanted {
        subject: Subject::Chat,
        name: "memory of a connection that got a message",
        unit: "KiB",
        goal: Some(Goal::AtMost(12.0)),
        of: |raw| at(raw, "/memory/rss_per_used_connection_bytes", 1024.0),
        baseline: Some(("nginx with nchan", |raw| {
            at(raw, "/memory_nchan/rss_per_used_connection_bytes", 1024.0)
        })),
    },
    Wanted {
        subject: Subject::Chat,
        name: "fan-out to one room",
        unit: "1000/s",
        goal: None,
        of: |raw| at(raw, "/fanout/deliveries_per_s", 1e3),
        baseline: Some(("nginx with nchan", |raw| {
            at(raw, "/fanout_nchan/deliveries_per_s", 1e3)
        })),
    },
    Wanted {
        subject: Subject::Chat,
        name: "fan-out, times that of nchan",
        unit: "x",
        goal: Some(Goal::AtLeast(1.5)),
        of: |raw| at(raw, "/fanout_ratio", 1.0),
        baseline: None,
    },
    Wanted {
        subject: Subject::Chat,
        name: "publish to deliver at half of saturation, p99",
        unit: "ms",
        goal: Some(Goal::AtMost(87.0)),
        of: |raw| at(raw, "/half_saturation/delay_ms/p99", 1.0),
        baseline: None,
    },
    Wanted {
        subject: Subject::Chat,
        name: "one stuck consumer costs the others nothing",
        unit: "yes=1",
        goal: Some(Goal::AtLeast(1.0)),
        of: |raw| {
            let nothing = raw.pointer("/one_stuck/costs_nothing")?.as_bool()?;
            Some(f64::from(nothing))
        },
        baseline: None,
    },
    Wanted {
        subject: Subject::Chat,
        name: "p99 beside one stuck consumer",
        unit: "ms",
        goal: None,
        of: |raw| at(raw, "/one_stuck/delay_p99_ms_at_half/with", 1.0),
        baseline: Some(("none stuck", |raw| {
            at(raw, "/one_stuck/delay_p99_ms_at_half/without", 1.0)
        })),
    },
    Wanted {
        subject: Subject::Game,
        name: "tickets matched",
        unit: "1/s",
        goal: Some(Goal::AtLeast(2000.0)),
        of: |raw| at(raw, "/matchmaking/matched_per_second", 1.0),
        baseline: None,
    },
    Wanted {
        subject: Subject::Game,
        name: "create to assignment, p99",
        unit: "ms",
        goal: Some(Goal::AtMost(550.0)),
        of: |raw| at(raw, "/matchmaking/create_to_assignment_ms/p99", 1.0),
        baseline: None,
    },
    Wanted {
        subject: Subject::Game,
        name: "ticks that overran",
        unit: "%",
        goal: Some(Goal::AtMost(0.1)),
        of: |raw| at(raw, "/arenas/overrun_share", 0.01),
        baseline: None,
    },
    Wanted {
        subject: Subject::Link,
        name: "round trip off by, worst p99 of all delays",
        unit: "ms",
        goal: Some(Goal::AtMost(1.0)),
        of: |raw| most(raw, "/round_trip", "/error_p99_ms"),
        baseline: Some(("sleep, woken late by", |raw| {
            at(raw, "/machine/wake_late_p99_ms", 1.0)
        })),
    },
    Wanted {
        subject: Subject::Link,
        name: "one flow through the relay",
        unit: "Mbit/s",
        goal: Some(Goal::AtLeast(500.0)),
        of: |raw| at(raw, "/flow/relay_bps", 1e6),
        baseline: Some(("plain veth", |raw| at(raw, "/flow/veth_bps", 1e6))),
    },
    Wanted {
        subject: Subject::Link,
        name: "fates as foretold by the seed, both runs",
        unit: "yes=1",
        goal: Some(Goal::AtLeast(1.0)),
        of: |raw| {
            let is = |place| raw.pointer(place).and_then(Value::as_bool);
            Some(f64::from(
                is("/fates/runs_agree")? && is("/fates/as_foretold")?,
            ))
        },
        baseline: None,
    },
    Wanted {
        subject: Subject::Crowd,
        name: "stalls of model and hls.js alike within 300 ms",
        unit: "%",
        goal: Some(Goal::AtLeast(100.0)),
        of: stalls_agree,
        baseline: None,
    },
    Wanted {
        subject: Subject::Crowd,
        name: "runs in which model and hls.js agree wholly",
        unit: "%",
        goal: None,
        of: |raw| {
            let runs = at(raw, "/agreement/summary/runs", 1.0).filter(|runs| *runs > 0.0)?;
            at(raw, "/agreement/summary/runs_that_agree", runs / 100.0)
        },
        baseline: None,
    },
    Wanted {
        subject: Subject::Crowd,
        name: "startup beside hls.js, worst difference",
        unit: "ms",
        goal: Some(Goal::AtMost(200.0)),
        of: |raw| at(raw, "/agreement/summary/startup_off_ms/worst", 1.0),
        baseline: Some(("median", |raw| {
            at(raw, "/agreement/summary/startup_off_ms/median", 1.0)
        })),
    },
    Wanted {
        subject: Subject::Crowd,
        name: "late parts of many players",
        unit: "%",
        goal: Some(Goal::AtMost(1.0)),
        of: |raw| at(raw, "/players/late_parts_percent", 1.0),
        baseline: None,
    },
    Wanted {
        subject: Subject::Crowd,
        name: "processor for many players",
        unit: "cores",
        goal: Some(Goal::AtMost(1.0)),
        of: |raw| at(raw, "/players/cores", 1.0),
        baseline: Some(("their origin", |raw| at(raw, "/players/origin_cores", 1.0))),
    },
];

fn at(raw: &Value, place: &str, of: f64) -> Option<f64> {
    Some(raw.pointer(place)?.as_f64()? / of)
}

/// The largest absolute value of all entries; none if one of them has none.
fn most(raw: &Value, list: &str, place: &str) -> Option<f64> {
    let all = raw.pointer(list)?.as_array()?;
    let values = all.iter().map(|one| Some(at(one, place, 1.0)?.abs()));
    let values: Option<Vec<f64>> = values.collect();
    values?.into_iter().reduce(f64::max)
}

/// Of both players' stalls, the share that has its like; all if nobody stalled.
fn stalls_agree(raw: &Value) -> Option<f64> {
    let of = |place: &str| at(raw, &format!("/agreement/summary/{place}"), 1.0);
    let all = of("stalls/model")?.max(of("stalls/hls_js")?);
    let share = if all > 0.0 {
        of("stalls_within_300_ms")? / all
    } else {
        1.0
    };
    (of("runs")? > 0.0).then_some(100.0 * share)
}

impl Goal {
    fn is_met(self, measured: f64) -> bool {
        match self {
            Self::AtMost(most) => measured <= most,
            Self::AtLeast(least) => measured >= least,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(to, "<= {most}"),
            Self::AtLeast(least) => write!(to, ">= {least}"),
        }
    }
}

impl Report {
    /// Takes the wanted figures out of what a benchmark printed.
    pub(super) fn add(&mut self, subject: Subject, raw: Value) {
        for wanted in WANTED.iter().filter(|wanted| wanted.subject == subject) {
            let measured = (wanted.of)(&raw);
            // A figure that was not measured has not met its goal.
            let met = wanted
                .goal
                .map(|goal| measured.is_some_and(|measured| goal.is_met(measured)));
            self.figures.push(Row {
                subject: subject.name(),
                name: wanted.name,
                unit: wanted.unit,
                measured,
                goal: wanted.goal,
                met,
                baseline: wanted.baseline.map(|(name, of)| Baseline {
                    name,
                    measured: of(&raw),
                }),
            });
        }
        self.raw.insert(subject.name().to_owned(), raw);
    }

    /// Notes that a benchmark failed.
    pub(super) fn fail(&mut self, subject: Subject, error: &anyhow::Error) {
        self.add(subject, Value::Null);
        self.notes.push(format!("{}: {error:#}", subject.name()));
    }

    /// How many figures are not as asked.
    pub(crate) fn misses(&self) -> usize {
        let missed = |row: &&Row| row.met == Some(false);
        self.figures.iter().filter(missed).count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        writeln!(
            to,
            "{:6} {:50} {:>10} {:8} {:>10}          baseline",
            "of", "figure", "measured", "unit", "goal"
        )?;
        for row in &self.figures {
            let goal = row.goal.map(|goal| goal.to_string()).unwrap_or_default();
            let met = match row.met {
                None => "",
                Some(true) => "met",
                Some(false) => "NOT MET",
            };
            let baseline = row.baseline.as_ref().map_or(String::new(), |baseline| {
                format!("{} ({})", number(baseline.measured), baseline.name)
            });
            let line = format!(
                "{:6} {:50} {:>10} {:8} {goal:>10} {met:8} {baseline}",
                row.subject,
                row.name,
                number(row.measured),
                row.unit,
            );
            writeln!(to, "{}", line.trim_end())?;
        }
        for note in &self.notes {
            writeln!(to, "- {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_found_and_judged_beside_their_baseline() {
        let mut report = Report::default();
        let raw = json!({
            "machine": { "wake_late_p99_ms": 0.1 },
            "round_trip": [{ "error_p99_ms": 0.2 }, { "error_p99_ms": -1.5 }],
            "flow": { "relay_bps": 600e6, "veth_bps": 9e9 },
            "fates": { "runs_agree": true, "as_foretold": true },
        });
        report.add(Subject::Link, raw);
        let text = report.to_string();
        let line = |name: &str| -> Vec<&str> {
            let line = text.lines().find(|line| line.contains(name)).unwrap();
            line.split_whitespace().collect()
        };
        let off = line("round trip off by");
        assert!(
            off.windows(6)
                .any(|words| words == ["1.50", "ms", "<=", "1", "NOT", "MET"]),
            "{off:?}"
        );
        let flow = line("one flow through");
        let judged = ["600.00", "Mbit/s", ">=", "500", "met"];
        assert!(flow.windows(5).any(|words| words == judged), "{flow:?}");
        assert!(flow.ends_with(&["9000.00", "(plain", "veth)"]), "{flow:?}");
        assert_eq!(report.misses(), 1);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let mut report = Report::default();
        report.fail(Subject::Game, &anyhow::anyhow!("no tickets"));
        assert_eq!(report.misses(), 3);
        assert!(report.to_string().contains("- game: no tickets"));
    }

    #[test]
    fn a_stall_that_only_one_player_has_is_no_agreement() {
        let agree = |model: u32, real: u32, within: u32| {
            stalls_agree(&json!({ "agreement": { "summary": {
                "runs": 1, "stalls": { "model": model, "hls_js": real }, "stalls_within_300_ms": within,
            } } }))
        };
        assert_eq!(agree(1, 2, 1), Some(50.0));
        assert_eq!(agree(0, 0, 0), Some(100.0));
    }
}
