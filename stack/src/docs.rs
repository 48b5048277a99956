//! References that this program writes about itself, so that they cannot be wrong: of its
//! configuration and the truth's lines from the types' doc comments, of its metrics from the calls
//! that make them.

use std::process::ExitCode;

use anyhow::Result;

mod metric;
mod schema;

/// What the heads of all references say.
const HEAD: &str = "Written by `cargo xtask docs` from the code; do not edit.";

/// Arguments of `weir-stack docs`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(value_enum)]
    subject: Subject,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Subject {
    /// Every key of the configuration
    Config,
    /// Every metric of the services
    Metrics,
    /// Every kind of line in the truth
    Truth,
}

/// Prints a reference.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let text = match args.subject {
        Subject::Config => schema::config()?,
        Subject::Metrics => metric::reference()?,
        Subject::Truth => schema::truth()?,
    };
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// A cell of a table: without line breaks and bars.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}
