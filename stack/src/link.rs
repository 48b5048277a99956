//! The network between: topologies of network namespaces, joined by veth pairs or by a relay of our
//! own that delays, spreads, reorders, loses and limits by seed or trace.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use serde_json::{Value, json};

pub(crate) mod command;
pub(crate) mod control;
pub(crate) mod fate;
pub(crate) mod impairment;
pub(crate) mod leftover;
pub(crate) mod mark;
pub(crate) mod namespace;
pub(crate) mod network;
mod pipe;
mod relay;
mod schedule;
mod shape;
pub(crate) mod topology;
mod trace;

use control::{Change, Request};
use fate::{Direction, Fates};
use impairment::Impairment;
use network::Network;
use topology::Topology;

use crate::up::directory::Directory;
use crate::up::stop::Stop;

/// Arguments of `weir-stack link`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build a topology, print where it is, take it away on Ctrl-C
    Up {
        /// TOML file: nodes, links
        file: PathBuf,
        /// Seed of packet fates for links that name none
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Change a link while packets flow
    Change {
        /// The control socket that `link up` printed
        #[arg(long)]
        control: PathBuf,
        /// Only this direction
        #[arg(long)]
        direction: Option<Direction>,
        /// Name of the link
        link: String,
        /// Keys of an impairment as JSON, such as '{"delay_ms": 80, "loss": 0.01}'
        set: String,
    },
    /// Print what became of all packets, by link and direction
    Counts {
        /// The control socket that `link up` printed
        #[arg(long)]
        control: PathBuf,
    },
    /// Print a trace as two columns: seconds, bits per second
    Trace {
        /// As in a topology, in JSON, such as '{"mahimahi": "FILE"}'
        trace: String,
    },
    /// Print the fates of the first packets of a direction, one JSON object a line
    Fates {
        /// Seed of the link
        #[arg(long)]
        seed: u64,
        /// Direction
        #[arg(long, default_value = "forward")]
        direction: Direction,
        /// How many
        #[arg(long, default_value_t = 100)]
        packets: u64,
        /// Impairment as JSON
        #[arg(value_parser = relay::parse, default_value = "{}")]
        impairment: Impairment,
    },
    /// Clear away what runs left that were killed
    Clear,
    /// Carry one link between two namespaces; started by `link up` and by scenarios
    Relay(Box<relay::Args>),
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    match args.command {
        Command::Up { file, seed } => up(&file, seed),
        Command::Change {
            control,
            direction,
            link,
            set,
        } => {
            let set = serde_json::from_str(&set).context("the change is no JSON object")?;
            control::ask(
                &control,
                &Request::Change(Change {
                    link: Some(link),
                    direction,
                    set,
                }),
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Counts { control } => {
            println!("{}", control::ask(&control, &Request::Counts)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Trace { trace } => print_trace(&trace),
        Command::Fates {
            seed,
            direction,
            packets,
            impairment,
        } => {
            let mut fates = Fates::new(seed, direction);
            for _ in 0..packets {
                println!("{}", serde_json::to_string(&fates.next(&impairment))?);
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Clear => {
            println!("{}", json!({ "cleared": leftover::clear() }));
            Ok(ExitCode::SUCCESS)
        }
        Command::Relay(args) => relay::run(*args),
    }
}

fn up(file: &Path, seed: u64) -> Result<ExitCode> {
    let _log = crate::log::start("link", &crate::log::Config::default())?;
    let topology = Topology::load(file)?;
    let stop = Stop::new()?;
    let directory = Directory::make("link")?;
    let network = Network::raise(&topology, seed, directory.path())?;
    let socket = directory.path().join("control.sock");
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("listening on {}", socket.display()))?;
    let mut addresses = vec![("control".to_owned(), socket.display().to_string())];
    addresses.extend(
        network
            .nodes()
            .iter()
            .map(|(node, name)| (format!("namespace.{node}"), name.clone())),
    );
    // Taken out at the end: the thread that answers has no end.
    let network = Arc::new(Mutex::new(Some(network)));
    let shared = Arc::clone(&network);
    thread::spawn(move || control::serve(&listener, |request| answer(&shared, request)));
    let addresses: Vec<(&str, String)> = addresses
        .iter()
        .map(|(key, at)| (key.as_str(), at.clone()))
        .collect();
    crate::daemon::ready("link", &addresses);
    let result = watch(&network, &stop);
    drop(
        network
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(),
    );
    result.map(|()| ExitCode::SUCCESS)
}

fn watch(network: &Mutex<Option<Network>>, stop: &Stop) -> Result<()> {
    while !stop.asked() {
        if let Some(network) = network
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            network.check()?;
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn answer(network: &Mutex<Option<Network>>, request: Request) -> Result<Value> {
    let mut network = network.lock().unwrap_or_else(PoisonError::into_inner);
    let network = network
        .as_mut()
        .context("the network is being taken away")?;
    match request {
        Request::Change(change) => {
            let link = change.link.as_deref().context("the change names no link")?;
            network.change(link, change.direction, &change.set)?;
            Ok(json!({}))
        }
        Request::Counts => network.counts(),
    }
}

fn print_trace(trace: &str) -> Result<ExitCode> {
    let trace: trace::Trace =
        serde_json::from_str(trace).context("the trace is none as in a topology")?;
    let schedule = trace.load()?;
    println!("# mean {} bit/s", schedule.mean_bps());
    let mut from = 0;
    for piece in schedule.pieces() {
        println!("{:.3} {}", from as f64 / 1e9, piece.bps);
        from = piece.until_ns;
    }
    Ok(ExitCode::SUCCESS)
}
