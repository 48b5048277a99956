//! `weir rules check`: says of rule files what `promtool check rules` says, with its exit codes.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::file::{FileError, MAX_BYTES, Problem, RuleFile};

/// Exit code if a file cannot be used.
const UNUSABLE: u8 = 1;
/// Exit code if all can be used, but lint is fatal and found something.
const LINT: u8 = 3;

/// What is checked, and how it is said.
#[derive(Debug, Default, clap::Args)]
pub struct Check {
    /// Rule files; without any, the standard input.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Lint checks to apply.
    #[arg(long, value_enum, default_value_t = Lint::DuplicateRules)]
    lint: Lint,
    /// Exit with code 3 if lint finds something.
    #[arg(long)]
    lint_fatal: bool,
    /// Pass over keys that Prometheus does not know.
    #[arg(long)]
    ignore_unknown_fields: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Lint {
    /// Every check.
    All,
    /// Rules that record the same series.
    #[default]
    DuplicateRules,
    /// No check.
    None,
}

/// What was found out about a file.
struct Finding {
    name: String,
    rules: usize,
    error: Option<FileError>,
    lint: Option<String>,
}

/// Checks files; gives what is to be printed on standard output and standard error.
pub fn run(check: &Check) -> (String, String, ExitCode) {
    let findings: Vec<_> = if check.files.is_empty() {
        vec![input(check)]
    } else {
        let files = check.files.iter();
        files
            .map(|path| {
                let file = RuleFile::load(path, check.ignore_unknown_fields);
                finding(path.display().to_string(), file, check.lint)
            })
            .collect()
    };
    let failed = findings.iter().any(|finding| finding.error.is_some());
    let linted = findings.iter().any(|finding| finding.lint.is_some());
    let code = match (failed, linted && check.lint_fatal) {
        (true, _) => ExitCode::from(UNUSABLE),
        (false, true) => ExitCode::from(LINT),
        (false, false) => ExitCode::SUCCESS,
    };
    if check.json {
        let all: Vec<_> = findings.iter().map(json).collect();
        let text = serde_json::to_string_pretty(&all).unwrap_or_default() + "\n";
        return (text, String::new(), code);
    }
    let (out, err) = text(&findings);
    (out, err, code)
}

fn input(check: &Check) -> Finding {
    let name = "standard input".to_owned();
    let mut text = String::new();
    let input = std::io::stdin().lock();
    let read = input.take(MAX_BYTES as u64 + 1).read_to_string(&mut text);
    let file = match read {
        Ok(_) => RuleFile::parse(&name, &text, check.ignore_unknown_fields),
        Err(why) => Err(FileError {
            path: name.clone(),
            problems: vec![Problem::plain(why.to_string())],
        }),
    };
    finding(name, file, check.lint)
}

fn finding(name: String, file: Result<RuleFile, FileError>, lint: Lint) -> Finding {
    match file {
        Ok(file) => Finding {
            name,
            rules: file.rules(),
            error: None,
            lint: if lint == Lint::None {
                None
            } else {
                duplicates(&file)
            },
        },
        Err(error) => Finding {
            name,
            rules: 0,
            error: Some(error),
            lint: None,
        },
    }
}

fn text(findings: &[Finding]) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    for finding in findings {
        let _ = writeln!(out, "Checking {}", finding.name);
        match (&finding.error, &finding.lint) {
            (Some(error), _) => {
                let _ = writeln!(err, "  FAILED:\n{error}");
            }
            (None, Some(lint)) => {
                let _ = writeln!(err, "  FAILED:\n{lint}");
            }
            (None, None) => {
                let _ = writeln!(out, "  SUCCESS: {} rules found", finding.rules);
            }
        }
        out.push('\n');
    }
    (out, err)
}

fn json(finding: &Finding) -> serde_json::Value {
    let problems = finding.error.iter().flat_map(|error| &error.problems);
    let problems: Vec<_> = problems
        .map(|problem| {
            let rule = problem.rule.as_ref();
            serde_json::json!({
                "line": problem.place.map(|(line, _)| line),
                "column": problem.place.map(|(_, column)| column),
                "group": rule.map(|rule| &rule.group),
                "rule": rule.map(|rule| rule.number),
                "name": rule.map(|rule| &rule.name),
                "message": problem.message,
            })
        })
        .collect();
    serde_json::json!({
        "file": finding.name,
        "usable": finding.error.is_none(),
        "rules": finding.rules,
        "problems": problems,
        "lint": finding.lint,
    })
}

/// Rules with the same name and labels, in promtool's words.
fn duplicates(file: &RuleFile) -> Option<String> {
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    for rule in file.groups.iter().flat_map(|group| &group.rules) {
        *seen.entry((&rule.name, &rule.labels)).or_default() += 1;
    }
    let again: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    let count = again.len();
    if count == 0 {
        return None;
    }
    let mut text = format!("lint error {count} duplicate rule(s) found.\n");
    for ((name, labels), _) in again {
        let _ = writeln!(text, "Metric: {name}\nLabel(s):");
        for (label, value) in *labels {
            let _ = writeln!(text, "\t{label}: {value}");
        }
    }
    text.push_str("Might cause inconsistency while recording expressions");
    Some(text)
}
