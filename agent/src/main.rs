//! The agent: arguments → configuration → probes → exporters → signal → drain.

use std::process::ExitCode;

use clap::Parser as _;
use weir::cli::{self, Arguments};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match cli::run(arguments) {
        Ok(code) => code,
        Err(why) => {
            // One line: the chain of causes, outermost first. The kernel's verifier adds pages.
            let why = format!("{why:#}");
            eprintln!("weir: {}", why.lines().next().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}
