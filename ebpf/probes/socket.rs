//! State of a socket between events: found, or begun for one that was open before the start.

use weir_ebpf::layout::{Bounded, Flow, Seed, Socket};
use weir_ebpf::tcp::SendSide;

use crate::ctx::{read, read_bits, read_tcp, ticks};
use crate::maps::{PEERS, SEEDS, SOCKETS, add, field, refused, setting, stats};

const AF_INET: u16 = 2;

/// State of a socket; begins one if there is none, which is a socket from before the start.
#[inline(always)]
pub fn state(sk: u64) -> Option<*mut Socket> {
    match SOCKETS.get_ptr_mut(sk) {
        Some(socket) => Some(socket),
        None => adopt(sk),
    }
}

/// Begins to count for a socket that was open before. The baseline is from the socket dump: what the
/// first event tells of is in the kernel's counters already. Without it, what the socket did so far
/// is the baseline.
#[inline(never)]
pub fn adopt(sk: u64) -> Option<*mut Socket> {
    let socket = begin(sk)?;
    // SAFETY: points into `SOCKETS`; see `send::end`.
    let state = unsafe { &mut *socket };
    state.base = flow(sk);
    let cookie: u64 = read(sk, field!(sk_cookie));
    // SAFETY: the reference is copied from before any other call.
    if let Some(seed) = unsafe { SEEDS.get(cookie) } {
        take_over(state, seed);
        state.base = seed.base;
        let _ = SEEDS.remove(cookie);
    } else {
        state.group = group(sk);
    }
    // Last, since a walk counts what is established, and must not do so without the baseline.
    // SAFETY: a field of a live reference.
    unsafe { (&raw mut state.established).write_volatile(1) };
    Some(socket)
}

/// Owner and role from the socket dump.
#[inline(always)]
pub fn take_over(socket: &mut Socket, seed: &Seed) {
    socket.slot = seed.slot;
    socket.role = seed.role;
    socket.group = seed.group;
    socket.claimed = 1;
}

/// Begins the state of a socket; filled in place, since the stack of BPF is small.
#[inline(always)]
pub fn begin(sk: u64) -> Option<*mut Socket> {
    static NEW: &Socket = &Socket::NEW;
    if SOCKETS.insert(sk, NEW, 0).is_err() {
        refused(Bounded::Sockets);
        return None;
    }
    SOCKETS.get_ptr_mut(sk)
}

/// The kernel's own counters of a socket.
#[inline(always)]
pub fn flow(sk: u64) -> Flow {
    let una: u32 = read_tcp(sk, field!(snd_una));
    let write: u32 = read_tcp(sk, field!(write_seq));
    let acked: u64 = read_tcp(sk, field!(bytes_acked));
    let unread =
        read_tcp::<u32>(sk, field!(rcv_nxt)).wrapping_sub(read_tcp(sk, field!(copied_seq)));
    let received: u64 = read_tcp(sk, field!(bytes_received));
    // chrono_stat holds finished intervals of: busy, limited by the window, by the buffer; the
    // open one is of chrono_type 1, 2 or 3 (include/linux/tcp.h, enum tcp_chrono).
    let clock = |at: u32| read_tcp::<u32>(sk, field!(chrono_stat) + 4 * at);
    let mut clocks = [clock(0), clock(1), clock(2)];
    let open = ticks().wrapping_sub(read_tcp(sk, field!(chrono_start)));
    match read_bits(sk, field!(chrono_type)) {
        1 => clocks[0] = clocks[0].wrapping_add(open),
        2 => clocks[1] = clocks[1].wrapping_add(open),
        3 => clocks[2] = clocks[2].wrapping_add(open),
        _ => {}
    }
    Flow {
        sent: acked.wrapping_add(u64::from(write.wrapping_sub(una))),
        received: received.saturating_sub(u64::from(unread)),
        acked,
        busy: u64::from(clocks[0]),
        rwnd_limited: u64::from(clocks[1]),
        sndbuf_limited: u64::from(clocks[2]),
        dsacks: u64::from(read_tcp::<u32>(sk, field!(dsack_dups))),
        zero_window_ns: 0,
    }
}

/// What a socket did since Weir knows it, an open shut-window interval included.
#[inline(always)]
pub fn done(sk: u64, socket: &Socket, now: u64) -> Flow {
    let mut flow = flow(sk).since(&socket.base);
    flow.zero_window_ns = socket.zero_done_ns;
    if socket.zero_since_ns != 0 {
        flow.zero_window_ns += now.saturating_sub(socket.zero_since_ns);
    }
    flow
}

/// Adds what a closed socket did to its owner.
#[inline(always)]
pub fn settle(slot: u32, flow: &Flow) {
    let Some(stats) = stats(slot) else { return };
    // SAFETY: points into `STATS`.
    unsafe {
        let closed = &raw mut (*stats).closed;
        add(&raw mut (*closed).sent, flow.sent);
        add(&raw mut (*closed).received, flow.received);
        add(&raw mut (*closed).acked, flow.acked);
        add(&raw mut (*closed).busy, flow.busy);
        add(&raw mut (*closed).rwnd_limited, flow.rwnd_limited);
        add(&raw mut (*closed).sndbuf_limited, flow.sndbuf_limited);
        add(&raw mut (*closed).dsacks, flow.dsacks);
        add(&raw mut (*closed).zero_window_ns, flow.zero_window_ns);
    }
}

/// Peer group of a socket's peer, 0 if none is configured.
#[inline(always)]
pub fn group(sk: u64) -> u8 {
    if setting!(peer_groups) == 0 {
        return 0;
    }
    let mut address = [0; 16];
    if read::<u16>(sk, field!(sk_family)) == AF_INET {
        address[10] = 0xff;
        address[11] = 0xff;
        let v4: [u8; 4] = read(sk, field!(sk_daddr));
        address[12] = v4[0];
        address[13] = v4[1];
        address[14] = v4[2];
        address[15] = v4[3];
    } else {
        address = read(sk, field!(sk_v6_daddr));
    }
    let key = aya_ebpf::maps::lpm_trie::Key::new(128, address);
    PEERS.get(key).map_or(0, |group| *group as u8)
}

/// Whether data waits that was never sent: only then can a window hold it back.
#[inline(always)]
pub fn has_unsent(sk: u64) -> bool {
    read_tcp::<u32>(sk, field!(sk_write_queue_len)) != 0
}

/// The send side as the kernel has it.
#[inline(always)]
pub fn send_side(sk: u64) -> SendSide {
    SendSide {
        una: read_tcp(sk, field!(snd_una)),
        nxt: read_tcp(sk, field!(snd_nxt)),
        write: read_tcp(sk, field!(write_seq)),
        window: read_tcp(sk, field!(snd_wnd)),
        mss: read_tcp(sk, field!(mss_cache)),
    }
}

/// Begins or ends the time in which the window is shut; says whether it begins.
#[inline(always)]
pub fn mark_window(socket: &mut Socket, shut: bool, now: u64) -> bool {
    if shut {
        let begins = socket.zero_since_ns == 0;
        if begins {
            socket.zero_since_ns = now;
        }
        return begins;
    }
    if socket.zero_since_ns != 0 {
        socket.zero_done_ns += now.saturating_sub(socket.zero_since_ns);
        socket.zero_since_ns = 0;
    }
    false
}
