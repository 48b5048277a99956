//! Runs the commands of a script against a store.

use super::script::{Command, EvalCase, Expected, Load, When};
use super::{Case, Report, Verdict, compare, nhcb, notation};
use crate::eval::{self, EvalError, Limits, Options, Outcome, TimeRange};
use crate::labels::Labels;
use crate::parse::{ParseError, parse, parse_labels};
use crate::store::{Need, Store, StoreLimits};
use crate::value::{Point, Sample, Value};

/// Runs a script; its name goes into the report. If `strict`, instant queries
/// must give the same as a step of a range query.
pub fn run_script(name: &str, text: &str, strict: bool) -> Report {
    let mut runner = Runner::new(strict);
    let mut cases = Vec::new();
    // A load that failed makes every case after it doubtful, until all is cleared.
    let mut broken: Option<String> = None;
    for command in super::script::commands(text) {
        match command {
            Command::Clear => {
                runner.clear();
                broken = None;
            }
            Command::Load(load) => {
                if let Err(reason) = runner.load(&load) {
                    broken = Some(format!("load at line {} failed: {reason}", load.line));
                }
            }
            Command::Eval(case) => {
                let verdict = match &broken {
                    Some(reason) => Verdict::Failed(reason.clone()),
                    None => runner.eval(&case),
                };
                cases.push(Case {
                    line: case.line,
                    verdict,
                });
            }
            Command::Unknown { line, text } => {
                broken = Some(format!("command at line {line} is not known: {text:?}"));
            }
        }
    }
    Report {
        file: name.to_owned(),
        cases,
    }
}

struct Runner {
    store: Store,
    options: Options,
    strict: bool,
}

impl Runner {
    fn new(strict: bool) -> Self {
        let mut runner = Self {
            store: Store::new(StoreLimits {
                bytes: 1 << 30,
                ..StoreLimits::default()
            }),
            // What Prometheus's own runner sets.
            options: Options {
                delayed_name_removal: true,
                start_timestamps: true,
                limits: Limits {
                    samples: 10_000_000,
                    ..Limits::default()
                },
                ..Options::default()
            },
            strict,
        };
        runner.clear();
        runner
    }

    fn clear(&mut self) {
        self.store.clear();
        self.store.set_needs(vec![Need {
            matchers: Vec::new(),
            window_ms: i64::MAX,
        }]);
    }

    fn load(&mut self, load: &Load) -> Result<(), String> {
        let mut series = Vec::new();
        let mut starts: Option<(Labels, Vec<Option<i64>>)> = None;
        for line in &load.series {
            let end = compare::labels_end(line);
            let (labels, rest) = line.split_at(end);
            let labels = parse_labels(labels.trim_end_matches("@st"));
            let labels = labels.map_err(|error| format!("{line:?}: {error}"))?;
            let starting = rest
                .strip_prefix("@st")
                .or_else(|| line[..end].ends_with("@st").then_some(rest));
            if let Some(rest) = starting {
                starts = Some((labels, notation::durations(rest)?));
                continue;
            }
            let own = starts
                .take()
                .filter(|(of, _)| *of == labels)
                .map(|(_, starts)| starts);
            // Of a series that comes twice, the last line holds.
            series.retain(|(have, _)| *have != labels);
            series.push((labels, points(rest, load.step_ms, own.as_deref())?));
        }
        for (labels, points) in &series {
            self.append(labels, points)?;
        }
        if load.nhcb {
            for (labels, points) in nhcb::convert(&series) {
                let points: Vec<Point> = points
                    .into_iter()
                    .map(|(at_ms, value)| Point {
                        at_ms,
                        start_ms: 0,
                        value: value.into(),
                    })
                    .collect();
                self.append(&labels, &points)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, labels: &Labels, points: &[Point]) -> Result<(), String> {
        for point in points {
            let result = self.store.append(labels, point.clone());
            result.map_err(|error| format!("{labels}: {error}"))?;
        }
        Ok(())
    }

    fn eval(&self, case: &EvalCase) -> Verdict {
        if let Some(problem) = &case.problem {
            return Verdict::Skipped(problem.clone());
        }
        match self.check(case) {
            Ok(()) => Verdict::Passed,
            Err(reason) => Verdict::Failed(reason),
        }
    }

    fn check(&self, case: &EvalCase) -> Result<(), String> {
        let expected = &case.expected;
        let outcome = match self.evaluate(case) {
            Ok(outcome) => outcome,
            Err(message) => return check_failure(&message, expected),
        };
        if expected.fail.is_some() {
            return Err(format!("expected a failure, got {:?}", outcome.value));
        }
        match (case.when, &outcome.value) {
            (
                When::Range {
                    start_ms, step_ms, ..
                },
                Value::Matrix(series),
            ) => {
                compare::range(series, expected, start_ms, step_ms)?;
            }
            (_, value) => compare::instant(value, expected)?,
        }
        compare::annotations(&outcome.annotations, expected)?;
        match (case.when, &outcome.value) {
            (When::Instant(at_ms), Value::Vector(_)) if self.strict && !expected.ordered => self
                .check_step(&case.expr, at_ms, expected)
                .map_err(|reason| format!("as a step of a range query: {reason}")),
            _ => Ok(()),
        }
    }

    /// Compares the middle step of a range query around an instant query.
    fn check_step(&self, text: &str, at_ms: i64, expected: &Expected) -> Result<(), String> {
        let lower = text.to_ascii_lowercase();
        if ["start()", "end()", "step()", "range()"]
            .iter()
            .any(|call| lower.contains(call))
        {
            return Ok(());
        }
        let expr = parse(text).map_err(|error| error.to_string())?;
        let (start_ms, end_ms) = (at_ms - 60_000, at_ms + 60_000);
        let range = TimeRange {
            start_ms,
            end_ms,
            step_ms: 60_000,
        };
        let outcome = eval::range(&self.store, &expr, range, &self.options);
        let outcome = outcome.map_err(|error| error.to_string())?;
        let Value::Matrix(series) = outcome.value else {
            return Err(format!("expected a matrix, got {:?}", outcome.value));
        };
        let column = series.into_iter().filter_map(|series| {
            let point = series
                .points
                .into_iter()
                .find(|point| point.at_ms == at_ms)?;
            Some(Sample::new(series.labels, point.value))
        });
        compare::instant(&Value::Vector(column.collect()), expected)
    }

    fn evaluate(&self, case: &EvalCase) -> Result<Outcome, String> {
        let expr = parse(&case.expr).map_err(|ParseError { message, .. }| message)?;
        let outcome = match case.when {
            When::Instant(at_ms) => eval::instant(&self.store, &expr, at_ms, &self.options),
            When::Range {
                start_ms,
                end_ms,
                step_ms,
            } => {
                let range = TimeRange {
                    start_ms,
                    end_ms,
                    step_ms,
                };
                eval::range(&self.store, &expr, range, &self.options)
            }
        };
        outcome.map_err(|error| match error {
            EvalError::Invalid { message, .. } => message,
            other => other.to_string(),
        })
    }
}

fn check_failure(message: &str, expected: &Expected) -> Result<(), String> {
    match &expected.fail {
        Some(pattern) if compare::matches(pattern, message) => Ok(()),
        Some(pattern) => Err(format!("expected failure {pattern:?}, got {message:?}")),
        None => Err(format!("failed: {message}")),
    }
}

/// The points of a line, one every step from zero.
fn points(text: &str, step_ms: i64, starts: Option<&[Option<i64>]>) -> Result<Vec<Point>, String> {
    let values = notation::values(text)?;
    if starts.is_some_and(|starts| starts.len() != values.len()) {
        return Err("start times and values differ in number".to_owned());
    }
    let steps = (0i64..).zip(values).filter_map(|(at, item)| {
        let at_ms = at * step_ms;
        let relative = starts.and_then(|starts| starts.get(at as usize).copied().flatten());
        let start_ms = relative.map_or(0, |relative| at_ms + relative);
        Some(Point {
            at_ms,
            start_ms,
            value: item?.value,
        })
    });
    Ok(steps.collect())
}
