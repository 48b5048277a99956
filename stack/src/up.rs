//! One process per service, under a command name of its own; started, watched and ended together.
//! Nothing is restarted: when one ends, that is said, and all end.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::config::Config;

pub(crate) mod directory;
pub(crate) mod group;
pub(crate) mod health;
pub(crate) mod service;
pub(crate) mod stop;

use directory::Directory;
use service::{Plan, Service};
use stop::Stop;

const LOOK: Duration = Duration::from_millis(50);

/// Arguments of `weir-stack up`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Services to start, in this order, with commas between
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["origin", "chat", "game"])]
    only: Vec<Name>,
}

/// The services there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Name {
    /// Live streams.
    Origin,
    /// Rooms.
    Chat,
    /// Matches.
    Game,
}

impl Name {
    /// The subcommand.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Chat => "chat",
            Self::Game => "game",
        }
    }

    /// The command line under a name of its own.
    pub(crate) fn command(
        self,
        directory: &Directory,
        config: Option<&Path>,
    ) -> Result<Vec<String>> {
        let program = directory.program_as(&format!("weir-{}", self.as_str()))?;
        if self == Self::Game {
            // Beside itself it finds the name that it starts arenas under.
            directory.program_as(crate::game::ARENA)?;
        }
        let mut words = vec![program.display().to_string(), self.as_str().to_owned()];
        if let Some(config) = config {
            words.extend(["--config".to_owned(), config.display().to_string()]);
        }
        Ok(words)
    }
}

pub(crate) fn run(args: &Args, config: &Config, file: Option<&Path>) -> Result<ExitCode> {
    // Spans are the services' own business, and their exporter needs a run time that is not here.
    let log = crate::log::Config {
        traces: String::new(),
        ..config.log.clone()
    };
    let _log = crate::log::start("up", &log)?;
    let stop = Stop::new()?;
    crate::link::leftover::clear();
    let directory = Directory::make("up")?;
    let mut services = Vec::new();
    let result = start(&mut services, args, file, &directory, &stop)
        .and_then(|()| watch(&mut services, &stop));
    // The last one started is the first to go.
    for service in services.iter_mut().rev() {
        if let Err(error) = service.stop() {
            tracing::warn!(
                service = service.name(),
                error = format!("{error:#}"),
                "cannot be ended"
            );
        }
    }
    if stop.asked() {
        return Ok(ExitCode::SUCCESS);
    }
    result.map(|()| ExitCode::SUCCESS)
}

fn start(
    services: &mut Vec<Service>,
    args: &Args,
    file: Option<&Path>,
    directory: &Directory,
    stop: &Stop,
) -> Result<()> {
    for name in &args.only {
        let command = name.command(directory, file)?;
        let plan = Plan {
            name: name.as_str().to_owned(),
            command,
            namespace: None,
            log: None,
            output: None,
        };
        services.push(Service::start(plan)?);
    }
    let mut all = Vec::new();
    for service in services.iter_mut() {
        service.wait_ready(stop)?;
        for (what, address) in service.addresses() {
            println!("{:8} {what:12} {address}", service.name());
            all.push((format!("{}.{what}", service.name()), address.clone()));
        }
    }
    let all: Vec<(&str, String)> = all
        .iter()
        .map(|(what, address)| (what.as_str(), address.clone()))
        .collect();
    crate::daemon::ready("up", &all);
    Ok(())
}

/// Until told to stop or one of them ends.
fn watch(services: &mut [Service], stop: &Stop) -> Result<()> {
    while !stop.asked() {
        for service in services.iter_mut() {
            if let Some(status) = service.ended()? {
                return Err(service.obituary(status)).context("stopping the others");
            }
        }
        thread::sleep(LOOK);
    }
    Ok(())
}
