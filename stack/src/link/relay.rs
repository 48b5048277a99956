//! A process that carries one link: a TUN device in each of two network namespaces, and a thread
//! for each direction that moves packets from one to the other when the model says so. The devices
//! go when the process goes, however it ends.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tun_rs::{DeviceBuilder, SyncDevice};

use super::control::{Change, Request, serve};
use super::fate::Direction;
use super::impairment::Impairment;
use super::namespace::inside;

mod handle;
mod pump;

use handle::Handle;

/// Packets that the kernel holds for us: a burst that comes while both cores are busy.
const DEVICE_QUEUE: u32 = 10_000;

/// Arguments of `weir-stack link relay`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of both devices
    #[arg(long)]
    name: String,
    /// Network namespace of one end
    #[arg(long)]
    from: String,
    /// Network namespace of the other end
    #[arg(long)]
    to: String,
    /// Largest packet
    #[arg(long, default_value_t = 1500)]
    mtu: u16,
    /// Seed of packet fates
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Impairment from `from` to `to`, as JSON
    #[arg(long, default_value = "{}", value_parser = parse)]
    forward: Impairment,
    /// Impairment the other way, as JSON
    #[arg(long, default_value = "{}", value_parser = parse)]
    backward: Impairment,
    /// Unix socket to listen on for changes
    #[arg(long)]
    control: PathBuf,
}

/// An impairment in an argument.
pub(crate) fn parse(text: &str) -> Result<Impairment> {
    let impairment: Impairment = serde_json::from_str(text)?;
    impairment.check()?;
    Ok(impairment)
}

/// Carries packets until the process is ended.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let start = Instant::now();
    let ends = [&args.from, &args.to];
    let [from, to] = [open(ends[0], &args)?, open(ends[1], &args)?];
    let listener = UnixListener::bind(&args.control)
        .with_context(|| format!("listening on {}", args.control.display()))?;
    let mut forward = Handle::start(
        start,
        args.seed,
        Direction::Forward,
        args.forward,
        args.mtu,
        &from,
        &to,
    )?;
    let mut backward = Handle::start(
        start,
        args.seed,
        Direction::Backward,
        args.backward,
        args.mtu,
        &to,
        &from,
    )?;
    crate::daemon::ready("relay", &[("control", args.control.display().to_string())]);
    serve(&listener, |request| match request {
        Request::Change(change) => change_both(&change, &mut forward, &mut backward),
        Request::Counts => Ok(json!({
            "forward": forward.counts(missed(ends[0], &args.name))?,
            "backward": backward.counts(missed(ends[1], &args.name))?,
        })),
    });
    Ok(ExitCode::SUCCESS)
}

/// Checks all before any is put in force.
fn change_both(change: &Change, forward: &mut Handle, backward: &mut Handle) -> Result<Value> {
    let mut plans = Vec::new();
    for direction in change.directions() {
        let handle = match direction {
            Direction::Forward => &*forward,
            Direction::Backward => &*backward,
        };
        plans.push((direction, handle.plan(&change.set)?));
    }
    for (direction, plan) in plans {
        match direction {
            Direction::Forward => forward.change(plan)?,
            Direction::Backward => backward.change(plan)?,
        }
    }
    Ok(json!({}))
}

/// A device in a namespace. It is down: who built the topology gives it an address first.
fn open(namespace: &str, args: &Args) -> Result<Arc<SyncDevice>> {
    let build = || -> io::Result<SyncDevice> {
        let device = DeviceBuilder::new()
            .name(&args.name)
            .mtu(args.mtu)
            .enable(false)
            .with(|builder| {
                builder.offload(true).tx_queue_len(DEVICE_QUEUE);
            })
            .build_sync()?;
        device.set_nonblocking(true)?;
        Ok(device)
    };
    let device = inside(namespace, || {
        build().with_context(|| {
            format!(
                "opening the TUN device {} in {namespace} (needs /dev/net/tun and CAP_NET_ADMIN)",
                args.name
            )
        })
    })?;
    Ok(Arc::new(device))
}

/// Packets that the kernel dropped as its own queue before us was full: they have no fate.
fn missed(namespace: &str, name: &str) -> Option<u64> {
    let table = inside(namespace, || {
        Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?)
    })
    .ok()?;
    transmit_drops(&table, name)
}

fn transmit_drops(table: &str, name: &str) -> Option<u64> {
    let fields = table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    // Eight columns of what was received, then bytes, packets, errs, drop (net/core/net-procfs.c).
    fields.split_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_read_from_the_kernels_table() {
        let table = "Inter-| Receive | Transmit\n face |bytes ...\n  acc: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n";
        assert_eq!(transmit_drops(table, "acc"), Some(12));
        assert_eq!(transmit_drops(table, "ac"), None);
    }

    #[test]
    fn an_argument_is_checked_like_a_file() {
        assert!(parse("{\"delay_ms\": 3}").is_ok());
        assert!(parse("{\"loss\": 3}").is_err());
        assert!(parse("{\"los\": 0}").is_err());
    }
}
