//! From the configuration to loaded probes and a collector.

use anyhow::{Result, bail};

use crate::collect::Collector;
use crate::config::{Config, LogLevel, SendRung, Transport as Wanted};
use crate::kernel::{Kernel, Options, Transport, probes};
use crate::service::{NoPodNames, Resolver};
use weir_ebpf::layout::{Live, Owner, OwnerKey, Seed, Socket, Stats, Told};

/// Loads and attaches the probes as configured.
///
/// # Errors
/// If they cannot be loaded, or one that is required cannot attach.
pub fn kernel(config: &Config) -> Result<Kernel> {
    let unknown = config.kernel.required.iter().chain(&config.kernel.disabled);
    if let Some(name) = unknown
        .into_iter()
        .find(|name| probes::find(name).is_none())
    {
        let known: Vec<_> = probes::PROBES.iter().map(|probe| probe.name).collect();
        bail!(
            "[kernel] names the probe {name}, which does not exist: there are {}",
            known.join(", ")
        );
    }
    let kernel = Kernel::start(options(config))?;
    for probe in kernel.attached() {
        let forced = probe.probe == "tcp_send" && config.kernel.send_rung != SendRung::Auto;
        if probe.rung.is_none()
            && (forced
                || config
                    .kernel
                    .required
                    .iter()
                    .any(|name| name == probe.probe))
        {
            let why: Vec<_> = probe
                .failed
                .iter()
                .map(|failed| format!("{}: {}", failed.rung, failed.reason()))
                .collect();
            let setting = if forced { "send_rung" } else { "required" };
            bail!(
                "the probe {} cannot attach: {}; change [kernel] {setting} to start without it",
                probe.probe,
                why.join("; ")
            );
        }
    }
    Ok(kernel)
}

/// Wraps the probes up with the names of services.
pub fn collector(config: &Config, kernel: Kernel) -> Collector {
    let groups = config
        .peer_groups
        .iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    let resolver = Resolver::new(Box::new(NoPodNames));
    Collector::new(kernel, resolver, &config.labels, &config.limits, groups)
}

fn options(config: &Config) -> Options {
    let kernel = &config.kernel;
    let open_sockets = Resolver::new(Box::new(NoPodNames)).tcp_sockets();
    let transport = match kernel.transport {
        Wanted::Auto if has_ring() => Transport::Ring,
        Wanted::Ring => Transport::Ring,
        Wanted::Auto | Wanted::Perf => Transport::Perf,
    };
    let send_rung = match kernel.send_rung {
        SendRung::Auto => None,
        SendRung::Fentry => Some("fentry"),
        SendRung::Kprobe => Some("kprobe"),
        SendRung::Tracepoint => Some("tracepoint"),
        SendRung::Syscall => Some("syscall"),
    };
    Options {
        transport,
        ring_bytes: kernel.ring_bytes,
        max_connections: kernel.max_connections,
        max_seeds: max_seeds(kernel.max_connections, open_sockets),
        max_owners: max_owners(config, open_sockets),
        peers: config.peer_groups.table(),
        send_rung: send_rung.map(str::to_owned),
        disabled: kernel.disabled.clone(),
        log_level: match config.log.level {
            LogLevel::Trace => 5,
            LogLevel::Debug => 4,
            LogLevel::Info | LogLevel::Warn | LogLevel::Error => 0,
        },
    }
}

fn has_ring() -> bool {
    aya::sys::is_map_supported(aya::maps::MapType::RingBuf).unwrap_or(false)
}

/// Room for the sockets that are open now, and those that open until the dump.
fn max_seeds(max_connections: u32, open_sockets: u32) -> u32 {
    (open_sockets * 2).clamp(1024, max_connections.max(1024))
}

/// Places for owners: as many as wanted, or as fit into the memory that the other maps leave.
fn max_owners(config: &Config, open_sockets: u32) -> u32 {
    /// What the kernel adds to an entry of a hash map: `struct htab_elem` and its bucket.
    const ENTRY: usize = 48 + 16;
    /// The maps of fixed size together.
    const REST: u64 = 7 << 19;
    const MAX: u64 = 1 << 16;
    let kernel = &config.kernel;
    if kernel.max_services != 0 {
        return kernel.max_services.saturating_add(1);
    }
    let cpus = aya::util::nr_cpus().map_or(1, |cpus| cpus as u64);
    let place = cpus * size_of::<Stats>() as u64
        + (size_of::<Live>() + size_of::<Told>()) as u64
        + (size_of::<OwnerKey>() + size_of::<Owner>() + ENTRY + 8) as u64;
    let sockets = u64::from(kernel.max_connections) * (size_of::<Socket>() + 8 + ENTRY) as u64;
    let seeds = u64::from(max_seeds(kernel.max_connections, open_sockets))
        * (size_of::<Seed>() + 8 + ENTRY) as u64;
    let others = sockets + seeds + u64::from(kernel.ring_bytes) + REST;
    let left = kernel.memory_bytes.saturating_sub(others);
    u32::try_from((left / place).clamp(16, MAX)).unwrap_or(u32::MAX)
}
