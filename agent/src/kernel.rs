//! The border to the kernel: loads the probes, sets their constants, attaches them rung by rung,
//! and says what attached and why not. Dropping [`Kernel`] detaches everything.

use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use weir_ebpf::change::Facts;
use weir_ebpf::layout::shared::Scope;

mod attach;
pub mod btf;
mod cast;
pub mod counts;
pub mod diag;
mod load;
pub mod probes;
pub mod ring;

pub use attach::{Attached, Attempt};

/// How records travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One ring buffer for all CPUs (5.8).
    Ring,
    /// One perf buffer for each CPU.
    Perf,
}

/// Sizes and choices, fixed at load.
#[derive(Clone, Debug)]
pub struct Options {
    /// How records travel.
    pub transport: Transport,
    /// Bytes of the ring, or of each CPU's perf buffer; a power of two.
    pub ring_bytes: u32,
    /// Most sockets that are followed at once.
    pub max_connections: u32,
    /// Most sockets from before the start.
    pub max_seeds: u32,
    /// Most places for owners, `other` included.
    pub max_owners: u32,
    /// Peer groups: address prefix (IPv4 mapped), its length, group number from 1 on.
    pub peers: Vec<([u8; 16], u32, u8)>,
    /// The only rung to try for sends, if any.
    pub send_rung: Option<String>,
    /// Probes that are not wanted.
    pub disabled: Vec<String>,
    /// Level of the probes' own log: 0 is off.
    pub log_level: u8,
}

/// The loaded probes.
pub struct Kernel {
    ebpf: Ebpf,
    maps: counts::Maps,
    attached: Vec<Attached>,
    walk: Walk,
    walks: u64,
    options: Options,
}

/// How open sockets are summed up.
enum Walk {
    All,
    OneByOne,
}

impl Kernel {
    /// Loads and attaches. An error names what is missing and the way out.
    pub fn start(options: Options) -> Result<Self> {
        load::check_capabilities()?;
        let btf = load::read_btf()?;
        let fields = btf.fields();
        if let Some(missing) = probes::BASE
            .iter()
            .find(|name| fields.has(name) != Some(true))
        {
            bail!(
                "the kernel's BTF has no field {missing}: this kernel is not supported, see the README's kernel table"
            );
        }
        let (mut ebpf, walk) = load::load_best(&options, &fields, &btf)?;
        load::fill(&mut ebpf, &options)?;
        let maps = counts::Maps::take(&mut ebpf)?;
        let attached = attach::attach_all(&mut ebpf, &btf, &fields, &options);
        Ok(Self {
            ebpf,
            maps,
            attached,
            walk,
            walks: 0,
            options,
        })
    }

    /// What attached, one for each probe.
    pub fn attached(&self) -> &[Attached] {
        &self.attached
    }

    /// Sizes in force.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The maps.
    pub fn maps(&mut self) -> &mut counts::Maps {
        &mut self.maps
    }

    /// Takes the source of records out; once.
    pub fn records(&mut self) -> Result<ring::Records> {
        let name = match self.options.transport {
            Transport::Ring => "RING",
            Transport::Perf => "PERF",
        };
        let map = self
            .ebpf
            .take_map(name)
            .with_context(|| format!("no kernel map {name}"))?;
        ring::Records::new(map, self.options.transport, self.options.ring_bytes)
    }

    /// Sums up the open sockets. Returns the number of this walk, by which [`counts::Maps::live`]
    /// knows its sums, and how many sockets are followed. `seeding`: sockets that had an event
    /// before their seed was there take it over.
    pub fn walk(&mut self, seeding: bool) -> Result<(u64, usize)> {
        self.walks += 1;
        let scope = if seeding { Scope::Seeding } else { Scope::All };
        let sockets = self.walk_by(scope)?;
        Ok((self.walks, sockets))
    }

    /// The same for the sockets of some places only: all are visited, but few are summed up.
    pub fn walk_places(&mut self, places: &[u32]) -> Result<u64> {
        self.walks += 1;
        for slot in places {
            self.maps.mark(*slot, self.walks)?;
        }
        self.walk_by(Scope::Marked)?;
        Ok(self.walks)
    }

    /// Asks the probes to tell of these rare facts as they happen, and of no others.
    pub fn ask(&mut self, facts: Facts) -> Result<()> {
        self.maps
            .ask(facts)
            .context("cannot write the kernel map SHARED")
    }

    fn walk_by(&mut self, scope: Scope) -> Result<usize> {
        let arguments = [self.walks, scope as u64];
        let sockets = match self.walk {
            Walk::All => {
                run(&self.ebpf, probes::WALK_ALL, &arguments)?;
                self.maps.walked()
            }
            Walk::OneByOne => {
                let sockets = self.maps.socket_keys();
                for key in &sockets {
                    run(
                        &self.ebpf,
                        probes::WALK_ONE[0],
                        &[arguments[0], arguments[1], *key],
                    )?;
                }
                for cookie in self.maps.seed_keys() {
                    run(
                        &self.ebpf,
                        probes::WALK_ONE[1],
                        &[arguments[0], arguments[1], cookie],
                    )?;
                }
                sockets.len()
            }
        };
        Ok(sockets)
    }

    /// Descriptors of the programs that run, by name; for reading what the kernel says of them.
    pub fn programs(&self) -> Vec<(&'static str, RawFd)> {
        let running = self
            .attached
            .iter()
            .filter(|probe| !probe.shed)
            .flat_map(|probe| &probe.programs);
        running
            .filter_map(|name| {
                let fd = self.ebpf.program(name)?.fd().ok()?;
                Some((*name, fd.as_fd().as_raw_fd()))
            })
            .collect()
    }

    /// Descriptors of the maps, by the names that metrics use.
    pub fn map_descriptors(&self) -> Vec<(&'static str, RawFd)> {
        self.maps.descriptors()
    }

    /// Sends the probes' own messages to the agent's log, from a task of the running runtime.
    pub fn forward_log(&mut self) -> Result<()> {
        let logger = aya_log::EbpfLogger::init(&mut self.ebpf)?;
        let mut logger = ring::watch(logger)?;
        tokio::spawn(async move {
            while let Ok(mut guard) = logger.readable_mut().await {
                guard.get_inner_mut().flush();
                guard.clear_ready();
            }
        });
        Ok(())
    }

    /// Switches a probe off for good; used to keep within the overhead budget.
    pub fn detach(&mut self, probe: &str) -> Result<()> {
        attach::detach(&mut self.ebpf, &mut self.attached, probe)
    }

    /// Attaches a probe again after [`detach`](Self::detach).
    pub fn attach_again(&mut self, probe: &str) -> Result<()> {
        attach::again(&mut self.ebpf, &mut self.attached, probe)
    }
}

/// The clock that records carry, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Runs one of the programs that are attached nowhere.
fn run(ebpf: &Ebpf, name: &str, arguments: &[u64]) -> Result<()> {
    let program = ebpf
        .program(name)
        .with_context(|| format!("no kernel program {name}"))?;
    let program: &RawTracePoint = program.try_into()?;
    let mut options = RawTracePointRunOptions::new();
    for (slot, argument) in options.args.iter_mut().zip(arguments) {
        *slot = *argument;
    }
    program
        .test_run(options)
        .with_context(|| format!("cannot run the kernel program {name}"))?;
    Ok(())
}
