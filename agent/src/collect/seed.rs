//! Sockets that were open before the probes: found by a socket dump in every network namespace,
//! attributed to the processes that hold them, and handed to the probes with their baselines.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::net::{IpAddr, SocketAddr};

use tracing::{debug, warn};
use weir_ebpf::layout::{COMM, Flow, Listener, ListenerKey, Owner, OwnerKey, Seed};
use weir_ebpf::tcp::{Role, state};

use super::clock::Tick;
use super::name::Names;
use crate::event::Place;
use crate::kernel::Kernel;
use crate::kernel::diag::{DiagSocket, dump};
use crate::service::SocketOwners;

/// A network namespace that could be opened.
struct Space {
    inode: u32,
    /// `None` is the agent's own.
    file: Option<File>,
}

/// Finds them all. Returns how many were handed over.
pub(super) fn seed(kernel: &mut Kernel, names: &mut Names, tick: &mut Tick) -> usize {
    // A first walk tells the length of a tick, in which the kernel keeps its clocks.
    if kernel.walk(false).is_ok() {
        let (at_ns, ticks) = kernel.maps().clocks();
        tick.learn(at_ns, ticks);
    }
    let max = kernel.options().max_connections as usize;
    let holders = names.resolver.scan_sockets(max).unwrap_or_else(|why| {
        warn!("sockets that are open already stay without owner: cannot list processes: {why}");
        SocketOwners::default()
    });
    let mut seeder = Seeder {
        kernel,
        names,
        tick,
        holders,
        owners: HashMap::new(),
    };
    let spaces = seeder.spaces();
    let seeded: HashSet<u64> = spaces
        .iter()
        .flat_map(|space| seeder.space(space))
        .collect();
    // What closed before its seed was there will never use it.
    let open: HashSet<u64> = spaces
        .iter()
        .flat_map(|space| look(space, max))
        .map(|socket| socket.cookie)
        .collect();
    for cookie in seeded.difference(&open) {
        seeder.kernel.maps().remove_seed(*cookie);
    }
    // What had an event before its seed was there takes it over now.
    if let Err(why) = seeder.kernel.walk(true) {
        warn!("sockets that are open already may be counted twice: {why:#}");
    }
    seeded.len()
}

/// All TCP sockets of a namespace; none, with a warning, if it cannot be entered.
fn look(space: &Space, max: usize) -> Vec<DiagSocket> {
    match dump(space.file.as_ref(), max) {
        Ok(dump) => {
            let missing = dump.left_out + dump.unreadable;
            if missing > 0 {
                warn!(
                    namespace = space.inode,
                    missing, "some open sockets are not covered"
                );
            }
            dump.sockets
        }
        Err(why) => {
            warn!(
                namespace = space.inode,
                "open sockets are not covered: {why}"
            );
            Vec::new()
        }
    }
}

struct Seeder<'a> {
    kernel: &'a mut Kernel,
    names: &'a mut Names,
    tick: &'a Tick,
    holders: SocketOwners,
    owners: HashMap<u32, Option<Listener>>,
}

impl Seeder<'_> {
    fn spaces(&self) -> Vec<Space> {
        let found = self.names.resolver.net_namespaces().unwrap_or_default();
        let own = self.names.resolver.own_net_namespace();
        let open = |space: crate::service::NetNamespace| {
            let inode = u32::try_from(space.inode).ok()?;
            if Some(space.inode) == own {
                return Some(Space { inode, file: None });
            }
            match space.open() {
                Ok(file) => Some(Space {
                    inode,
                    file: Some(file),
                }),
                Err(why) => {
                    debug!(namespace = inode, %why, "is gone or closed to us");
                    None
                }
            }
        };
        found.into_iter().filter_map(open).collect()
    }

    /// Hands a namespace's sockets over; returns their cookies.
    fn space(&mut self, space: &Space) -> Vec<u64> {
        let sockets = look(space, self.kernel.options().max_connections as usize);
        let is_listening = |socket: &&DiagSocket| u32::from(socket.state) == state::LISTEN;
        let ports: HashSet<u16> = sockets
            .iter()
            .filter(is_listening)
            .map(|socket| socket.local.port())
            .collect();
        let mut cookies = Vec::new();
        for socket in &sockets {
            let owner = self.holders.tgids.get(&socket.inode).copied();
            let owner = owner.and_then(|tgid| self.owner(tgid));
            match u32::from(socket.state) {
                state::LISTEN => self.listener(space, socket, owner),
                state::SYN_SENT | state::SYN_RECV | state::CLOSE => {}
                _ => {
                    let is_accepted = ports.contains(&socket.local.port());
                    let role = if is_accepted {
                        Role::Accepted
                    } else {
                        Role::Connected
                    };
                    if self.socket(socket, owner, role) {
                        cookies.push(socket.cookie);
                    }
                }
            }
        }
        cookies
    }

    /// Owner of a process's sockets, with its place.
    fn owner(&mut self, tgid: u32) -> Option<Listener> {
        if let Some(known) = self.owners.get(&tgid) {
            return *known;
        }
        let found = self.names.resolver.owner(tgid).ok().map(|owner| {
            let mut comm = [0; COMM];
            for (to, from) in comm.iter_mut().take(COMM - 1).zip(owner.comm.bytes()) {
                *to = from;
            }
            let key = OwnerKey {
                cgroup: owner.cgroup_id,
                comm,
                group: 0,
            };
            let start_ns = owner.start_boottime_ns;
            let slot = self.place(&key, tgid, start_ns);
            if slot != 0 && self.kernel.maps().observe(tgid, slot).is_err() {
                debug!(tgid, "no room to observe its threads");
            }
            Listener {
                key,
                owner: Owner {
                    start_ns,
                    tgid,
                    slot,
                },
            }
        });
        self.owners.insert(tgid, found);
        found
    }

    fn place(&mut self, key: &OwnerKey, tgid: u32, start_ns: u64) -> u32 {
        let slot = self.kernel.maps().place(key, tgid, start_ns);
        if slot != 0 {
            self.names.learn(
                key,
                Place {
                    slot,
                    tgid,
                    start_ns,
                },
            );
        }
        slot
    }

    fn listener(&mut self, space: &Space, socket: &DiagSocket, owner: Option<Listener>) {
        let Some(owner) = owner else { return };
        let key = ListenerKey {
            netns: space.inode,
            port: u32::from(socket.local.port()),
        };
        // Refused if the probes saw a newer one, which is right.
        let _ = self.kernel.maps().add_listener(key, &owner);
    }

    fn socket(&mut self, socket: &DiagSocket, owner: Option<Listener>, role: Role) -> bool {
        let group = self.group(socket.remote);
        let slot = match owner {
            None => 0,
            Some(owner) if group == 0 => owner.owner.slot,
            Some(owner) => {
                let key = OwnerKey {
                    group: u64::from(group),
                    ..owner.key
                };
                self.place(&key, owner.owner.tgid, owner.owner.start_ns)
            }
        };
        let ticks = |us: u64| (us as f64 / 1e6 / self.tick.seconds()).round() as u64;
        let counts = &socket.counts;
        let limited = counts.rwnd_limited_us + counts.sndbuf_limited_us;
        let base = Flow {
            sent: counts.bytes_acked + u64::from(socket.send_queue),
            received: counts
                .bytes_received
                .saturating_sub(u64::from(socket.receive_queue)),
            acked: counts.bytes_acked,
            busy: ticks(counts.busy_us.saturating_sub(limited)),
            rwnd_limited: ticks(counts.rwnd_limited_us),
            sndbuf_limited: ticks(counts.sndbuf_limited_us),
            dsacks: u64::from(counts.dsack_duplicates),
            zero_window_ns: 0,
        };
        let seed = Seed {
            base,
            slot,
            role: role as u8,
            group,
            pad: [0; 2],
        };
        self.kernel.maps().add_seed(socket.cookie, &seed).is_ok()
    }

    /// Peer group by the longest prefix, as the probes look it up.
    fn group(&self, peer: SocketAddr) -> u8 {
        let address = match peer.ip() {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let bits = u128::from(address);
        let holds = |(prefix, length, _): &&([u8; 16], u32, u8)| {
            *length == 0 || (bits ^ u128::from_be_bytes(*prefix)) >> (128 - length) == 0
        };
        let peers = self.kernel.options().peers.iter();
        peers
            .filter(holds)
            .max_by_key(|(_, length, _)| *length)
            .map_or(0, |(.., group)| *group)
    }
}
