//! The commands.

mod answer;
mod eval;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::alert::{check, unit};
use crate::config::Config;
use crate::{app, doctor, document, log};

/// Exit code for a configuration that cannot be used, as sysexits.h has it.
const EX_CONFIG: u8 = 78;

/// Sees in the Linux kernel why streams and game sessions stall.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch this host and export metrics, until SIGTERM or Ctrl-C. SIGHUP reads the configuration
    /// again.
    Run(ConfigFile),
    /// Attach all probes once, say what works and why not, and let go. Exit code 1 if a probe that
    /// the configuration requires, or every probe of a fact, cannot attach.
    Doctor {
        #[command(flatten)]
        config: ConfigFile,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print or check the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check or test alerting and recording rules, or ask a running agent for an expression.
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Print a reference in Markdown.
    #[command(hide = true, subcommand)]
    Docs(Docs),
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// Configuration file; without it /etc/weir/weir.toml if there is one, else the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the default configuration with what each key means.
    Default,
    /// Say whether a configuration file can be used; every problem with its line.
    Check(ConfigFile),
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Say whether rule files can be used; every problem with its place. Exit codes and output are
    /// those of `promtool check rules`.
    Check(check::Check),
    /// Run unit tests of rules. Files, exit codes and output are those of `promtool test rules`.
    Test(unit::Test),
    /// Ask a running agent for the value of an expression. Output is that of `promtool query
    /// instant`. Exit codes: 1 if the expression has no value, 69 if no agent answers, 76 if what
    /// answers has no query API, 77 if it wants other credentials, 78 for a bad configuration.
    Eval {
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        eval: eval::Eval,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Docs {
    /// The metrics.
    Metrics,
    /// The configuration.
    Config,
}

/// Carries a command out.
///
/// # Errors
/// With one line that says what is wrong and the way out.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Command::Run(file) => {
            let Some(config) = load(&file) else {
                return Ok(ExitCode::from(EX_CONFIG));
            };
            log::start(&config.log);
            app::run(file.config, config)?;
        }
        Command::Doctor { config, json } => {
            let Some(config) = load(&config) else {
                return Ok(ExitCode::from(EX_CONFIG));
            };
            return doctor::examine(&config, json);
        }
        Command::Config(ConfigCommand::Default) => print(&Config::default_text()),
        Command::Config(ConfigCommand::Check(file)) => {
            if load(&file).is_none() {
                return Ok(ExitCode::from(EX_CONFIG));
            }
            print("the configuration can be used\n");
        }
        Command::Rules(RulesCommand::Check(options)) => {
            return Ok(print_both(check::run(&options)));
        }
        Command::Rules(RulesCommand::Test(options)) => return Ok(print_both(unit::run(&options)?)),
        Command::Rules(RulesCommand::Eval { config, eval }) => {
            return Ok(eval::run(&eval, &config));
        }
        Command::Docs(Docs::Metrics) => print(&document::metrics()),
        Command::Docs(Docs::Config) => print(&Config::reference()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the configuration; says what is wrong with it on stderr, a line for each problem.
fn load(file: &ConfigFile) -> Option<Config> {
    Config::load(file.config.as_deref())
        .inspect_err(|why| eprintln!("weir: {why}"))
        .ok()
}

/// Writes to stderr and stdout.
fn print_both((out, err, code): (String, String, ExitCode)) -> ExitCode {
    print(&out);
    eprint!("{err}");
    code
}

/// Writes to stdout; a reader that went away is no error.
pub(crate) fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
