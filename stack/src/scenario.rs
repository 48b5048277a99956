//! One evening from one file: a network, services, users, and faults at their times; what was done
//! is written down as truth. Whether anyone noticed is no business of this module.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

pub(crate) mod disk;
mod fault;
mod file;
mod merge;
mod run;
mod stage;
mod summary;
mod template;

use file::Scenario;

/// Arguments of `weir-stack scenario`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario; the exit code says whether it ran as written
    Run {
        /// TOML file
        file: PathBuf,
        /// New directory for truth, summary and logs; without it one named after the scenario
        #[arg(long)]
        out: Option<PathBuf>,
        /// Instead of the file's
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Read scenarios and say what is wrong with them
    Check {
        /// TOML files
        files: Vec<PathBuf>,
    },
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Run { file, out, seed } => {
            let mut scenario = Scenario::load(&file)?;
            scenario.seed = seed.unwrap_or(scenario.seed);
            let out = out.unwrap_or_else(|| PathBuf::from(format!("{}.run", scenario.name)));
            run::run(&scenario, &file, &out)
        }
        Command::Check { files } => {
            for file in files {
                let scenario = Scenario::load(&file)?;
                println!(
                    "{}: {} ({} s, {} faults)",
                    file.display(),
                    scenario.about,
                    scenario.seconds,
                    scenario.fault.len()
                );
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
