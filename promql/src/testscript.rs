//! Runs Prometheus's own PromQL test scripts (`promqltest`): loads series,
//! evaluates expressions, compares results and remarks, keeps a ledger by file
//! and line. The scripts themselves are read from a folder given by path.

mod compare;
mod nhcb;
mod notation;
mod run;
mod script;

use std::fmt;
use std::path::Path;

use crate::labels::Labels;
use crate::parse::parse_labels;
use crate::value::SampleValue;

pub use run::run_script;

/// Reads a series as scripts and Prometheus's unit tests of rules write it: `name{a="b"}` and its
/// values, one a step, such as `1+2x3 _ stale`; a gap is none.
///
/// # Errors
/// With what is wrong with the labels or a value.
pub fn series(labels: &str, values: &str) -> Result<(Labels, Vec<Option<SampleValue>>), String> {
    let labels = parse_labels(labels).map_err(|error| error.to_string())?;
    let values = notation::values(values)?.into_iter();
    Ok((
        labels,
        values.map(|item| item.map(|item| item.value)).collect(),
    ))
}

/// What became of one `eval`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Result, remarks and order are as expected.
    Passed,
    /// They are not; the text says what differs.
    Failed(String),
    /// It was not run; the text says why.
    Skipped(String),
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Line of the `eval`.
    pub line: usize,
    /// What became of it.
    pub verdict: Verdict,
}

/// All cases of one script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file's name without folder.
    pub file: String,
    /// The cases in order.
    pub cases: Vec<Case>,
}

impl Report {
    /// Numbers of passed, failed and skipped cases.
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for case in &self.cases {
            let slot = match case.verdict {
                Verdict::Passed => 0,
                Verdict::Failed(_) => 1,
                Verdict::Skipped(_) => 2,
            };
            counts[slot] += 1;
        }
        counts
    }

    /// The ledger: `file:line result reason`, one case a line.
    pub fn ledger(&self) -> String {
        let line = |case: &Case| {
            let (word, reason) = match &case.verdict {
                Verdict::Passed => ("passed", ""),
                Verdict::Failed(reason) => ("failed", reason.as_str()),
                Verdict::Skipped(reason) => ("skipped", reason.as_str()),
            };
            let text = format!(
                "{}:{} {word} {}",
                self.file,
                case.line,
                reason.replace('\n', " ")
            );
            text.trim_end().to_owned() + "\n"
        };
        self.cases.iter().map(line).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [passed, failed, skipped] = self.counts();
        write!(
            f,
            "{}: {passed} passed, {failed} failed, {skipped} skipped",
            self.file
        )
    }
}

/// Runs every `*.test` file of a folder, in order of their names. If `strict`,
/// instant queries must give the same as a step of a range query.
pub fn run_folder(folder: &Path, strict: bool) -> std::io::Result<Vec<Report>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "test")
    });
    paths.sort();
    let run = |path: &std::path::PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(run_script(&name, &std::fs::read_to_string(path)?, strict))
    };
    paths.iter().map(run).collect()
}
