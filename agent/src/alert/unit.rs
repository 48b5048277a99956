//! `weir rules test`: promtool's unit tests of rules, with its verdicts, output and exit codes.

mod compare;
mod junit;
mod schema;
mod world;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use regex::Regex;

use super::state::State;
use super::{duration, name};
use compare::{Seen, Wanted};
use schema::{AlertTest, File, QueryTest};
use world::World;

/// Between evaluations, if the file does not say it.
const INTERVAL_MS: i64 = 60_000;

/// Most evaluations of one test.
const MAX_EVALUATIONS: i64 = 10_000_000;

/// Which tests are run, and how it is said.
#[derive(Debug, Default, clap::Args)]
pub struct Test {
    /// Files with unit tests.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Run only tests whose name matches; may be given more than once.
    #[arg(long, value_name = "REGEX")]
    run: Vec<String>,
    /// Show of alerts that differ what is missing and what is too much, not both lists.
    #[arg(long)]
    diff: bool,
    /// Print all series after each test on standard error.
    #[arg(long)]
    debug: bool,
    /// Pass over keys of rule files that Prometheus does not know.
    #[arg(long)]
    ignore_unknown_fields: bool,
    /// Write the results as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// What holds for all tests of a file.
struct Plan<'a> {
    interval_ms: i64,
    rule_files: &'a [PathBuf],
    order: &'a [String],
    ignore_unknown: bool,
    fuzzy: bool,
    diff: bool,
    debug: bool,
}

/// What is printed.
#[derive(Default)]
struct Printed {
    out: String,
    err: String,
}

/// What became of one test: its name and what failed in it.
struct Case {
    name: String,
    failures: Vec<String>,
}

/// What became of a file: its tests, or why it cannot be used.
type Outcome = Result<Vec<Case>, Vec<String>>;

/// Runs tests; gives what is to be printed on standard output and standard error.
///
/// # Errors
/// If a regular expression is none, or the JUnit file cannot be written.
pub fn run(test: &Test) -> anyhow::Result<(String, String, ExitCode)> {
    let only = match test.run.as_slice() {
        [] => None,
        all => Some(Regex::new(&all.join("|"))?),
    };
    let mut printed = Printed::default();
    let mut suites = Vec::new();
    let mut failed = false;
    for path in &test.files {
        let _ = writeln!(printed.out, "Unit Testing:  {}", path.display());
        let cases = file(path, test, only.as_ref(), &mut printed);
        let failures: Vec<_> = match &cases {
            Ok(cases) => cases.iter().flat_map(|case| &case.failures).collect(),
            Err(why) => why.iter().collect(),
        };
        if failures.is_empty() {
            printed.out.push_str("  SUCCESS\n");
        } else {
            printed.err.push_str("  FAILED:\n");
            failed = true;
        }
        for failure in failures {
            let _ = writeln!(printed.err, "{failure}");
            printed.out.push('\n');
        }
        printed.out.push('\n');
        suites.push((path.display().to_string(), cases));
    }
    if let Some(path) = &test.junit {
        std::fs::write(path, junit::text(&suites))
            .map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
    }
    let code = if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    };
    Ok((printed.out, printed.err, code))
}

/// Runs the tests of one file; fails if the file cannot be used.
fn file(path: &Path, test: &Test, only: Option<&Regex>, printed: &mut Printed) -> Outcome {
    let text = std::fs::read_to_string(path)
        .map_err(|why| vec![format!("open {}: {why}", path.display())])?;
    let file: File = schema::read(&text).map_err(|why| vec![why.to_string()])?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let rule_files = rule_files(
        folder,
        file.rule_files.as_deref().unwrap_or_default(),
        printed,
    )?;
    let order = file.group_eval_order.unwrap_or_default();
    let mut seen = BTreeSet::new();
    if let Some(twice) = order.iter().find(|name| !seen.insert(*name)) {
        return Err(vec![format!(
            "group name repeated in evaluation order: {twice}"
        )]);
    }
    let plan = Plan {
        interval_ms: if file.evaluation_interval > 0 {
            file.evaluation_interval
        } else {
            INTERVAL_MS
        },
        rule_files: &rule_files,
        order: &order,
        ignore_unknown: test.ignore_unknown_fields,
        fuzzy: file.fuzzy_compare,
        diff: test.diff,
        debug: test.debug,
    };
    let mut cases = Vec::new();
    for (index, test) in file.tests.unwrap_or_default().iter().enumerate() {
        let name = test.name.clone().unwrap_or_default();
        if only.is_some_and(|only| !only.is_match(&name)) {
            continue;
        }
        let mut failures = Vec::new();
        if let Err(why) = one(test, &plan, &mut failures, printed) {
            failures.extend(why);
        }
        let name = if name.is_empty() {
            format!("unnamed#{index}")
        } else {
            name
        };
        cases.push(Case { name, failures });
    }
    Ok(cases)
}

/// The files that patterns name; one that matches nothing is worth a warning only.
fn rule_files(
    folder: &Path,
    patterns: &[String],
    printed: &mut Printed,
) -> Result<Vec<PathBuf>, Vec<String>> {
    let mut files = Vec::new();
    for pattern in patterns {
        let full = folder.join(pattern);
        let shown = full.to_string_lossy().into_owned();
        let found = glob::glob(&shown).map_err(|why| vec![why.to_string()])?;
        let before = files.len();
        files.extend(found.flatten());
        if files.len() == before {
            let _ = writeln!(printed.err, "  WARNING: no file match pattern {shown}");
        }
    }
    Ok(files)
}

/// Runs one test. What differs goes to `failures`; what keeps it from going on is an error.
fn one(
    test: &schema::Test,
    plan: &Plan<'_>,
    failures: &mut Vec<String>,
    printed: &mut Printed,
) -> Result<(), Vec<String>> {
    let start_ms = test.start_timestamp;
    let mut world = World::new(test, plan, start_ms)?;
    let name = test.name.as_deref().unwrap_or_default();
    let alert_tests = test.alert_rule_test.as_deref().unwrap_or_default();
    let query_tests = test.promql_expr_test.as_deref().unwrap_or_default();
    if let Some(nameless) = alert_tests.iter().find(|test| test.alertname.is_empty()) {
        let at = duration::shown(nameless.eval_time);
        let group = if name.is_empty() {
            String::new()
        } else {
            format!(" (in TestGroup {name})")
        };
        return Err(vec![format!(
            "an item under alert_rule_test misses required attribute alertname at eval_time {at}{group}"
        )]);
    }
    let mut by_time: BTreeMap<i64, Vec<&AlertTest>> = BTreeMap::new();
    for test in alert_tests {
        by_time.entry(test.eval_time).or_default().push(test);
    }
    let queries = query_tests.iter().map(|test| test.eval_time);
    let last_ms = by_time.keys().copied().chain(queries).max().unwrap_or(0);
    if last_ms / plan.interval_ms > MAX_EVALUATIONS {
        return Err(vec![format!(
            "test needs more than {MAX_EVALUATIONS} evaluations"
        )]);
    }
    let mut passed_ms = 0;
    while passed_ms <= last_ms {
        world.advance(start_ms.saturating_add(passed_ms))?;
        // A time between evaluations is judged by the one before it.
        for (_, tests) in by_time.range(passed_ms..passed_ms + plan.interval_ms) {
            for test in tests {
                failures.extend(alert(test, &world, name, plan.diff));
            }
        }
        passed_ms += plan.interval_ms;
    }
    for test in query_tests {
        failures.extend(query(test, &mut world, start_ms, plan.fuzzy));
    }
    if plan.debug {
        debug(name, &mut world, start_ms.saturating_add(last_ms), printed);
    }
    Ok(())
}

/// Compares the alerts of one name that fire; what differs.
fn alert(test: &AlertTest, world: &World, name: &str, diff: bool) -> Option<String> {
    let rules = world.groups.iter().flat_map(|group| &group.rules);
    let rules = rules.filter(|rule| rule.is_alert() && rule.written.name == test.alertname);
    let firing = rules
        .flat_map(|rule| rule.alerts.active())
        .filter(|alert| alert.state == State::Firing);
    let mut got: Vec<_> = firing
        .map(|alert| {
            let labels = alert.labels.iter();
            Seen {
                labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
                annotations: alert.annotations.clone(),
            }
        })
        .collect();
    let expected = test.exp_alerts.iter().flatten();
    let mut wanted: Vec<_> = expected
        .map(|alert| {
            let labels = alert.as_ref().and_then(|alert| alert.exp_labels.clone());
            let mut labels = labels.unwrap_or_default();
            labels.insert(name::ALERT.to_owned(), test.alertname.clone());
            let annotations = alert
                .as_ref()
                .and_then(|alert| alert.exp_annotations.clone());
            Seen {
                labels,
                annotations: annotations.unwrap_or_default(),
            }
        })
        .collect();
    got.sort();
    wanted.sort();
    if got == wanted {
        return None;
    }
    let mut text = if name.is_empty() {
        String::new()
    } else {
        format!("    name: {name},\n")
    };
    let at = duration::shown(test.eval_time);
    let _ = write!(
        text,
        "    alertname: {}, time: {at}, \n        ",
        test.alertname
    );
    if diff {
        let missing: Vec<_> = wanted
            .iter()
            .filter(|seen| !got.contains(seen))
            .cloned()
            .collect();
        let extra: Vec<_> = got
            .iter()
            .filter(|seen| !wanted.contains(seen))
            .cloned()
            .collect();
        let (missing, extra) = (compare::alerts(&missing), compare::alerts(&extra));
        let _ = write!(
            text,
            "diff: missing:{missing}, \n        unexpected:{extra}"
        );
    } else {
        let (wanted, got) = (compare::alerts(&wanted), compare::alerts(&got));
        let _ = write!(text, "exp:{wanted}, \n        got:{got}");
    }
    Some(text)
}

/// Compares the result of an expression; what differs.
fn query(test: &QueryTest, world: &mut World, start_ms: i64, fuzzy: bool) -> Option<String> {
    let at = duration::shown(test.eval_time);
    let head = format!(
        "    expr: {}, time: {at},",
        super::template::quote(&test.expr)
    );
    let got = match world.query(&test.expr, start_ms.saturating_add(test.eval_time)) {
        Ok(got) => got,
        Err(why) => return Some(format!("{head} err: {why}")),
    };
    let expected = test.exp_samples.iter().flatten();
    let wanted: Result<Vec<_>, _> = expected.map(Wanted::read).collect();
    match wanted {
        Err(why) => Some(format!("{head} err: {why}")),
        Ok(wanted) => compare::samples(wanted, got, fuzzy)
            .err()
            .map(|why| format!("{head}\n{why}")),
    }
}

/// Prints the last value of every series.
fn debug(name: &str, world: &mut World, at_ms: i64, printed: &mut Printed) {
    let _ = writeln!(printed.err, "DEBUG: Dump of all data of test {name:?}:");
    match world.query("{__name__=~\".+\"}", at_ms) {
        Ok(samples) => {
            for sample in samples {
                let _ = writeln!(printed.err, "{} {:?}", sample.labels, sample.value);
            }
        }
        Err(why) => {
            let _ = writeln!(printed.err, "DEBUG: {why}");
        }
    }
}

/// A time since 1970 as Go prints a duration.
fn go_duration(at_ms: i64) -> String {
    super::template::span(at_ms.saturating_mul(1_000_000))
}
