//! `promqltest [--strict] [--ledger FILE] FOLDER`: runs Prometheus's PromQL test scripts,
//! prints the counts of every file and what failed, and writes the ledger.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use weir_promql::testscript::{Verdict, run_folder};

fn main() -> ExitCode {
    let mut ledger: Option<PathBuf> = None;
    let mut folder: Option<PathBuf> = None;
    let mut args = std::env::args_os().skip(1);
    let mut strict = false;
    while let Some(arg) = args.next() {
        if arg == "--strict" {
            strict = true;
        } else if arg == "--ledger" {
            ledger = args.next().map(PathBuf::from);
        } else {
            folder = Some(PathBuf::from(arg));
        }
    }
    let Some(folder) = folder else {
        eprintln!("usage: promqltest [--strict] [--ledger FILE] FOLDER");
        return ExitCode::from(2);
    };
    let reports = match run_folder(&folder, strict) {
        Ok(reports) => reports,
        Err(error) => {
            eprintln!("error: cannot read {}: {error}", folder.display());
            return ExitCode::from(2);
        }
    };
    let mut totals = [0; 3];
    let mut lines = String::new();
    for report in &reports {
        println!("{report}");
        for (total, count) in totals.iter_mut().zip(report.counts()) {
            *total += count;
        }
        lines += &report.ledger();
        for case in &report.cases {
            if let Verdict::Failed(reason) | Verdict::Skipped(reason) = &case.verdict {
                println!("  {}:{} {reason}", report.file, case.line);
            }
        }
    }
    let [passed, failed, skipped] = totals;
    println!("total: {passed} passed, {failed} failed, {skipped} skipped");
    if let Some(path) = ledger
        && let Err(error) = std::fs::write(&path, lines)
    {
        eprintln!("error: cannot write {}: {error}", path.display());
        return ExitCode::from(2);
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
