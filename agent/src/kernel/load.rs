//! Loads the probes' object: checks what it needs, sets its constants and the sizes of its maps.

use std::borrow::Cow;
use std::fs;

use anyhow::{Context as _, Result, bail};
use aya::maps::{LpmTrie, Queue, lpm_trie};
use aya::programs::{ProgramType, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use tracing::debug;
use weir_ebpf::field::{Fields, Settings};

use super::{Options, Transport, Walk, attach, btf, cast, probes};

/// The probes' object; aligned, as the ELF reader wants it.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-probes"));

/// Says which capabilities are missing, since the kernel says EPERM only. Those of a user namespace
/// are not told from the host's here; then the kernel refuses.
pub(super) fn check_capabilities() -> Result<()> {
    use rustix::thread::CapabilitySet;
    let Ok(sets) = rustix::thread::capabilities(None) else {
        return Ok(());
    };
    if sets.effective.contains(CapabilitySet::SYS_ADMIN) {
        return Ok(());
    }
    let needed = [
        ("CAP_BPF", CapabilitySet::BPF),
        ("CAP_PERFMON", CapabilitySet::PERFMON),
    ];
    let missing: Vec<_> = needed
        .into_iter()
        .filter(|(_, capability)| !sets.effective.contains(*capability))
        .map(|(name, _)| name)
        .collect();
    if !missing.is_empty() {
        bail!(
            "cannot load the kernel probes without {}: run as root, or give the agent CAP_BPF and CAP_PERFMON",
            missing.join(" and ")
        );
    }
    Ok(())
}

pub(super) fn read_btf() -> Result<btf::Btf> {
    const NEEDED: &str =
        "Weir needs a kernel with CONFIG_DEBUG_INFO_BTF=y, as distributions have it from 5.10 on";
    let data = fs::read(btf::VMLINUX)
        .map_err(|why| anyhow::anyhow!("cannot read {}: {why}; {NEEDED}", btf::VMLINUX))?;
    let mut none = Fields::NONE;
    let structs: Vec<_> = none.places().map(|(owner, ..)| owner).collect();
    let mut hooks: Vec<&'static str> = attach::hook_names();
    hooks.push(cast::FUNCTION);
    btf::Btf::parse(data, &structs, &hooks)
        .map_err(|why| anyhow::anyhow!("cannot use {}: {why}; {NEEDED}", btf::VMLINUX))
}

/// Loads the probes with the kernel's cast where it has one, and without if it then refuses even
/// the programs that need least.
pub(super) fn load_best(
    options: &Options,
    fields: &Fields,
    btf: &btf::Btf,
) -> Result<(Ebpf, Walk)> {
    if let Some(cast) = cast::Cast::of(btf) {
        let mut ebpf = load(options, fields, btf, Some(cast))?;
        match load_walk(&mut ebpf) {
            Ok(walk) => return Ok((ebpf, walk)),
            Err(why) => debug!("the kernel refuses {}: {why:#}", cast::FUNCTION),
        }
    }
    let mut ebpf = load(options, fields, btf, None)?;
    let walk = load_walk(&mut ebpf)?;
    Ok((ebpf, walk))
}

fn load(
    options: &Options,
    fields: &Fields,
    btf: &btf::Btf,
    cast: Option<cast::Cast>,
) -> Result<Ebpf> {
    let coarse = aya::sys::is_helper_supported(
        ProgramType::RawTracePoint,
        aya::sys::BpfHelper::BPF_FUNC_ktime_get_coarse_ns,
    );
    let settings = Settings {
        perf: u32::from(options.transport == Transport::Perf),
        coarse_clock: u32::from(coarse.unwrap_or(false)),
        peer_groups: u32::from(!options.peers.is_empty()),
        tcp_sock: cast.map_or(0, |cast| cast.tcp_sock),
        task: cast.map_or(0, |cast| cast.task),
        retransmit_error: u32::from(
            btf.tracepoint("tcp_retransmit_skb")
                .is_some_and(|arguments| arguments > 2),
        ),
    };
    let peers = u32::try_from(options.peers.len())
        .unwrap_or(u32::MAX)
        .max(1);
    let mut loader = without_files(EbpfLoader::new)?;
    loader
        .btf(None)
        .override_global("FIELDS", fields, true)
        .override_global("SETTINGS", &settings, true)
        .override_global("AYA_LOG_LEVEL", &options.log_level, false)
        .map_max_entries("STATS", options.max_owners)
        .map_max_entries("LIVE", options.max_owners)
        .map_max_entries("TOLD", options.max_owners)
        .map_max_entries("FREE", options.max_owners.saturating_sub(1).max(1))
        .map_max_entries("OWNERS", options.max_owners)
        .map_max_entries("SOCKETS", options.max_connections)
        .map_max_entries("SEEDS", options.max_seeds)
        .map_max_entries("PEERS", peers)
        .map_max_entries("RING", options.ring_bytes)
        .load(&cast.map_or(Cow::Borrowed(OBJECT), |cast| Cow::Owned(cast.link(OBJECT))))
        .context("cannot load the kernel probes: run as root on the host (before 5.11 also with CAP_SYS_RESOURCE)")
}

/// Makes a loader that has not read the kernel's types: `EbpfLoader::new` (aya 0.14) reads them
/// whole, 25 ms and 15 MB for nothing since Weir has its own offsets, unless it cannot open the
/// file. So for this call nothing can be opened. The agent has one thread yet.
fn without_files<T>(make: impl FnOnce() -> T) -> Result<T> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(0),
            ..limit
        },
    )
    .context("setrlimit")?;
    let made = make();
    setrlimit(Resource::Nofile, limit).context("setrlimit")?;
    Ok(made)
}

/// Loads the programs that sum up open sockets; `bpf_for_each_map_elem` came with 5.13.
fn load_walk(ebpf: &mut Ebpf) -> Result<Walk> {
    if load_raw(ebpf, probes::WALK_ALL).is_ok() {
        return Ok(Walk::All);
    }
    for name in probes::WALK_ONE {
        load_raw(ebpf, name)?;
    }
    Ok(Walk::OneByOne)
}

fn load_raw(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("no kernel program {name}"))?;
    let program: &mut RawTracePoint = program.try_into()?;
    program
        .load()
        .with_context(|| format!("cannot load the kernel program {name}"))
}

/// Hands out the free places and the peer groups.
pub(super) fn fill(ebpf: &mut Ebpf, options: &Options) -> Result<()> {
    let map = ebpf.map_mut("FREE").context("no kernel map FREE")?;
    let mut free: Queue<_, u32> = Queue::try_from(map)?;
    for slot in 1..options.max_owners {
        free.push(slot, 0)
            .context("cannot fill the kernel map FREE")?;
    }
    let map = ebpf.map_mut("PEERS").context("no kernel map PEERS")?;
    let mut peers: LpmTrie<_, [u8; 16], u32> = LpmTrie::try_from(map)?;
    for (prefix, length, group) in &options.peers {
        let key = lpm_trie::Key::new(*length, *prefix);
        peers
            .insert(&key, u32::from(*group), 0)
            .context("cannot fill the kernel map PEERS")?;
    }
    Ok(())
}
