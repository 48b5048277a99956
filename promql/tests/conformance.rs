//! Runs test scripts: the project's own, and Prometheus's where they are at
//! hand (in `../shared/promqltest` beside the work tree, or where
//! `PROMQLTEST_DIR` says). What once passed must go on passing.

#![expect(clippy::print_stderr, reason = "a skipped corpus is said loudly")]

use std::path::{Path, PathBuf};

use weir_promql::testscript::{Report, Verdict, run_folder};

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn failures(reports: &[Report]) -> Vec<String> {
    let cases = reports.iter().flat_map(|report| {
        report
            .cases
            .iter()
            .filter_map(move |case| match &case.verdict {
                Verdict::Passed => None,
                Verdict::Failed(reason) | Verdict::Skipped(reason) => {
                    Some(format!("{}:{} {reason}", report.file, case.line))
                }
            })
    });
    cases.collect()
}

#[test]
fn our_own_scripts_pass() {
    let reports = run_folder(&manifest().join("tests/data"), true).unwrap();
    let cases: usize = reports.iter().map(|report| report.cases.len()).sum();
    assert!(cases >= 70, "only {cases} cases found");
    assert_eq!(failures(&reports), Vec::<String>::new());
}

fn corpus() -> Option<PathBuf> {
    let beside = || manifest().join("../../shared/promqltest");
    let folder = std::env::var_os("PROMQLTEST_DIR").map_or_else(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// `file passed failed` of one line of the baseline.
fn baseline_line(line: &str) -> Option<(&str, usize, usize)> {
    let mut words = line.split_whitespace();
    Some((
        words.next()?,
        words.next()?.parse().ok()?,
        words.next()?.parse().ok()?,
    ))
}

#[test]
fn prometheus_scripts_pass_at_least_as_many_cases_as_before() {
    let Some(folder) = corpus() else {
        eprintln!("SKIP promqltest corpus: not found; set PROMQLTEST_DIR to its folder");
        return;
    };
    let reports = run_folder(&folder, true).unwrap();
    let text = std::fs::read_to_string(manifest().join("tests/data/baseline.txt")).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(baseline_line);
    let mut compared = 0;
    for (file, passed, failed) in lines {
        let Some(report) = reports.iter().find(|report| report.file == file) else {
            eprintln!("SKIP {file}: not in {}", folder.display());
            continue;
        };
        compared += 1;
        let [now_passed, now_failed, now_skipped] = report.counts();
        let worse = now_passed < passed || now_failed + now_skipped > failed;
        assert!(
            !worse,
            "{report}; before: {passed} passed\n{:#?}",
            failures(&reports)
        );
    }
    assert!(
        compared > 0,
        "no file of the baseline is in {}",
        folder.display()
    );
}
