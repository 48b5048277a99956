//! Counts passed, failed and skipped tests from what test programs print.

use std::fmt;

use anyhow::Result;

/// A test that cannot run on this machine prints a line that begins so, with
/// the reason, and returns. Rust's harness calls that passed; here it is a skip.
const SKIP: &str = "SKIP";

/// Sums over all test programs of a run.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    /// Skips said since the last result line: the harness counts them as passed.
    pending: usize,
    skips: Vec<String>,
    failures: Vec<String>,
}

impl Tally {
    /// Takes in one line of a test program's output.
    pub(crate) fn line(&mut self, line: &str) {
        let text = after_test_name(line);
        if let Some(reason) = text.strip_prefix(SKIP) {
            self.pending += 1;
            self.skips
                .push(reason.trim_start_matches([':', ' ']).to_owned());
        } else if let Some((passed, failed, ignored)) = result(line) {
            // No more skips than passes: a failed test may have said SKIP too.
            let skipped = self.pending.min(passed);
            self.passed += passed - skipped;
            self.failed += failed;
            self.skipped += skipped + ignored;
            self.pending = 0;
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|l| l.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }

    /// Counts a whole suite as skipped, loudly.
    pub(crate) fn skip(&mut self, reason: &str) {
        eprintln!("{SKIP} {reason}");
        self.skipped += 1;
        self.skips.push(reason.to_owned());
    }

    /// Counts a failure that no test program reported.
    pub(crate) fn fail(&mut self, what: &str) {
        eprintln!("FAILED {what}");
        self.failed += 1;
        self.failures.push(what.to_owned());
    }

    /// Counts a step as one test.
    pub(crate) fn outcome(&mut self, name: &str, result: Result<()>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) => self.fail(&format!("{name}: {error:#}")),
        }
    }

    /// Adds the results of a run elsewhere, its names marked with where.
    pub(crate) fn add(&mut self, place: &str, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        let marked = |what: &String| format!("{place}: {what}");
        self.skips.extend(other.skips.iter().map(marked));
        self.failures.extend(other.failures.iter().map(marked));
    }

    /// Says again, at the end, what was skipped and what failed.
    pub(crate) fn list(&self) {
        for reason in &self.skips {
            eprintln!("{SKIP} {reason}");
        }
        for failure in &self.failures {
            eprintln!("FAILED {failure}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            ..
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Without capture the harness prints a test's name and leaves the line open.
fn after_test_name(line: &str) -> &str {
    match line
        .strip_prefix("test ")
        .and_then(|rest| rest.split_once(" ... "))
    {
        Some((_, text)) => text,
        None => line,
    }
}

/// Reads `test result: ok. 3 passed; 1 failed; 2 ignored; …`.
fn result(line: &str) -> Option<(usize, usize, usize)> {
    let counts = after_test_name(line).strip_prefix("test result: ")?;
    let count = |word: &str| {
        let before = counts.split(word).next()?;
        before.split_whitespace().next_back()?.parse().ok()
    };
    Some((count(" passed")?, count(" failed")?, count(" ignored")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.line(line));
        tally
    }

    const RESULT: &str = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";

    #[test]
    fn results_of_several_programs_are_summed() {
        let tally = tally(&format!("{RESULT}\nnoise\n{RESULT}"));
        assert_eq!(tally.to_string(), "6 passed, 0 failed, 2 skipped");
    }

    #[test]
    fn a_skip_is_not_a_pass() {
        let tally = tally(&format!("SKIP: no kprobes here\n{RESULT}"));
        assert_eq!(tally.to_string(), "2 passed, 0 failed, 2 skipped");
        assert_eq!(tally.skips, ["no kprobes here"]);
    }

    #[test]
    fn a_skip_on_the_line_of_its_test_is_seen() {
        let tally = tally(&format!(
            "test sends_are_seen ... SKIP not root\nok\n{RESULT}"
        ));
        assert_eq!(tally.skips, ["not root"]);
    }

    #[test]
    fn a_failed_test_is_named() {
        let tally = tally(
            "test rtt_is_true ... FAILED\n\
             test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        assert_eq!(tally.failures, ["rtt_is_true"]);
        assert_eq!(tally.failed, 1);
    }
}
