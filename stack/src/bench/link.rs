//! What `link`'s relay costs and how exact it is: round-trip time against what was asked for, the
//! rate of one TCP flow beside a plain veth pair, and whether packet fates come out as foretold.
//! Needs root and Debian's iproute2 and iperf3.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};

use crate::link::fate::{Direction, Fates};
use crate::link::network::Network;
use crate::link::topology::Topology;
use crate::up::directory::Directory;

mod echo;
mod measure;

use echo::{round_trips, wakes};
use measure::{datagrams, flow};

/// One-way delays whose round trips are measured, in milliseconds.
const DELAYS_MS: [f64; 4] = [2.5, 10.0, 40.0, 100.0];
/// Sleeps that tell how late the machine itself wakes a thread.
const WAKES: u32 = 2000;
/// What the relay of the third part does.
const LOSS: &str = r#"{"loss": 0.02, "gilbert_elliott": {"worsen": 0.005, "recover": 0.25}}"#;
const SEED: u64 = 7;

/// Arguments of `weir-stack bench link`; the defaults are the published conditions.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Echoes of each round-trip time
    #[arg(long, default_value_t = 1000)]
    echoes: u32,
    /// Seconds of each flow
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Rounds of flows, ours and the baseline in turn; medians are reported
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Packets whose fates are compared
    #[arg(long, default_value_t = 20_000)]
    packets: u64,
}

/// Runs all measurements and prints them.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let _log = crate::log::start("bench-link", &crate::log::Config::default())?;
    let directory = Directory::make("bench-link")?;
    let result = json!({
        "conditions": conditions(args),
        "machine": quantiles("wake_late", wakes(WAKES)?),
        "round_trip": delays(args, &directory)?,
        "flow": flows(args, &directory)?,
        "fates": fates(args, &directory)?,
    });
    println!("{result}");
    Ok(ExitCode::SUCCESS)
}

fn conditions(args: &Args) -> Value {
    let read = |path: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    json!({
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "load": read("/proc/loadavg"),
        "congestion": read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "echoes": args.echoes,
        "seconds": args.seconds,
        "rounds": args.rounds,
    })
}

fn raise(kind: &str, directory: &Directory) -> Result<Network> {
    let text = format!(
        "nodes = [\"a\", \"b\"]\n[[link]]\nname = \"ab\"\nfrom = \"a\"\nto = \"b\"\nkind = \"{kind}\"\n\
         seed = {SEED}\naddresses = [\"10.92.1.1/24\", \"10.92.1.2/24\"]\n"
    );
    let topology: Topology = toml::from_str(&text).context("the topology of the benchmark")?;
    Network::raise(&topology, SEED, directory.path())
}

fn keys(text: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text).context("an impairment of the benchmark")
}

fn delays(args: &Args, directory: &Directory) -> Result<Value> {
    let mut network = raise("relay", directory)?;
    let mut all = Vec::new();
    for delay in DELAYS_MS {
        network.change("ab", None, &keys(&format!("{{\"delay_ms\": {delay}}}"))?)?;
        let times = round_trips(network.namespace("b")?, args.echoes)?;
        ensure!(
            times.len() >= args.echoes as usize * 9 / 10,
            "only {} echoes came back",
            times.len()
        );
        let asked = 2.0 * delay;
        let mut row = quantiles("error", times.iter().map(|time| time - asked).collect());
        row["asked_ms"] = asked.into();
        row["echoes"] = times.len().into();
        all.push(row);
    }
    Ok(all.into())
}

/// Quantiles of times in milliseconds, each under a name of its own.
fn quantiles(what: &str, mut times: Vec<f64>) -> Value {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len().saturating_sub(1) as f64 * share) as usize);
    json!({
        format!("{what}_median_ms"): at(0.5),
        format!("{what}_p95_ms"): at(0.95),
        format!("{what}_p99_ms"): at(0.99),
        format!("{what}_max_ms"): at(1.0),
    })
}

fn flows(args: &Args, directory: &Directory) -> Result<Value> {
    let (mut plain, mut relayed, mut delayed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        let veth = raise("veth", directory)?;
        plain.push(flow(&veth, args.seconds)?);
        drop(veth);
        let mut relay = raise("relay", directory)?;
        relayed.push(flow(&relay, args.seconds)?);
        relay.change("ab", None, &keys("{\"delay_ms\": 10}")?)?;
        delayed.push(flow(&relay, args.seconds)?);
    }
    let (plain, relayed, delayed) = (median(plain), median(relayed), median(delayed));
    Ok(json!({
        "veth_bps": plain,
        "relay_bps": relayed,
        "relay_20ms_bps": delayed,
        "relay_to_veth": relayed / plain,
    }))
}

fn fates(args: &Args, directory: &Directory) -> Result<Value> {
    let impairment = crate::link::impairment::Impairment::default().changed(&keys(LOSS)?)?;
    let mut stream = Fates::new(SEED, Direction::Forward);
    let foretold: Vec<u64> = (0..args.packets)
        .map(|_| stream.next(&impairment))
        .filter(|fate| !fate.lost)
        .map(|fate| fate.number)
        .collect();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let mut network = raise("relay", directory)?;
        network.change("ab", None, &keys(LOSS)?)?;
        runs.push(datagrams(&network, args.packets)?);
    }
    Ok(json!({
        "packets": args.packets,
        "lost": args.packets - foretold.len() as u64,
        "runs_agree": runs[0] == runs[1],
        "as_foretold": runs.iter().all(|run| *run == foretold),
    }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
