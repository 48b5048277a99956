//! Sums over the open sockets, made when the agent asks: the kernel keeps the counters, so nothing
//! is added per packet. The agent runs these programs itself; they are attached nowhere.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_for_each_map_elem;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use weir_ebpf::layout::shared::{Scope, WALKED, WALKED_AT, WALKED_TICKS};
use weir_ebpf::layout::{Live, Seed, Socket};

use crate::ctx::{all_ticks, arg, now, read};
use crate::maps::{LIVE, SEEDS, SHARED, SOCKETS, field};
use crate::socket;

/// What the callbacks need.
struct Walk {
    /// Number of this walk.
    walk: u64,
    /// A `Scope`.
    scope: u64,
    now: u64,
}

/// Walks all sockets (5.13) and notes how many there are. Arguments: number of the walk, its scope.
#[raw_tracepoint]
pub fn walk_all(ctx: RawTracePointContext) -> i32 {
    let mut walk = begin(arg(&ctx, 0), arg(&ctx, 1));
    // SAFETY: maps, callbacks of the type the kernel calls, and a context that outlives the call.
    let sockets = unsafe {
        let sockets = bpf_for_each_map_elem(
            (&raw const SOCKETS).cast_mut().cast(),
            each_socket as *mut c_void,
            (&raw mut walk).cast(),
            0,
        );
        bpf_for_each_map_elem(
            (&raw const SEEDS).cast_mut().cast(),
            each_seed as *mut c_void,
            (&raw mut walk).cast(),
            0,
        );
        sockets
    };
    // The entry macro makes the program return 0, whatever this function does.
    if let Some(walked) = SHARED.get_ptr_mut(WALKED) {
        // SAFETY: points into the map; one walk runs at a time.
        unsafe { walked.write(sockets as u64) };
    }
    0
}

/// The same for one socket, for older kernels. Further argument: its key.
#[raw_tracepoint]
pub fn walk_one(ctx: RawTracePointContext) -> i32 {
    let walk = begin(arg(&ctx, 0), arg(&ctx, 1));
    let sk = arg(&ctx, 2);
    if let Some(state) = SOCKETS.get_ptr_mut(sk) {
        // SAFETY: points into `SOCKETS`.
        visit(sk, unsafe { &mut *state }, &walk);
    }
    0
}

/// And for one seed.
#[raw_tracepoint]
pub fn walk_seed(ctx: RawTracePointContext) -> i32 {
    let walk = begin(arg(&ctx, 0), arg(&ctx, 1));
    // SAFETY: the reference is read before any other call.
    if let Some(seed) = unsafe { SEEDS.get(arg(&ctx, 2)) } {
        visit_seed(seed.slot, &walk);
    }
    0
}

/// Also notes the clocks side by side, from which the agent finds the length of a tick.
#[inline(always)]
fn begin(walk: u64, scope: u64) -> Walk {
    let now = now();
    if let (Some(at), Some(count)) = (
        SHARED.get_ptr_mut(WALKED_AT),
        SHARED.get_ptr_mut(WALKED_TICKS),
    ) {
        // SAFETY: both point into the map; one walk runs at a time.
        unsafe {
            at.write(now);
            count.write(all_ticks());
        }
    }
    Walk { walk, scope, now }
}

extern "C" fn each_socket(
    _map: *mut c_void,
    key: *const u64,
    value: *mut Socket,
    walk: *const Walk,
) -> u64 {
    // SAFETY: the kernel passes a key, a value and our context.
    unsafe { visit(*key, &mut *value, &*walk) };
    0
}

extern "C" fn each_seed(
    _map: *mut c_void,
    _key: *const u64,
    value: *const Seed,
    walk: *const Walk,
) -> u64 {
    // SAFETY: as above.
    unsafe { visit_seed((*value).slot, &*walk) };
    0
}

#[inline(always)]
fn visit(sk: u64, state: &mut Socket, walk: &Walk) {
    if walk.scope == Scope::Seeding as u64 {
        seed(sk, state);
    }
    let Some(live) = live(state.slot, walk) else {
        return;
    };
    live.sockets += 1;
    if state.established == 0 {
        return;
    }
    let flow = socket::done(sk, state, walk.now);
    live.open += 1;
    live.flow.add(&flow);
}

/// A socket that had an event before the dump was known: it has its baseline, not its owner.
#[inline(always)]
fn seed(sk: u64, state: &mut Socket) {
    let cookie: u64 = read(sk, field!(sk_cookie));
    // SAFETY: the reference is copied from before any other call.
    if let Some(seed) = unsafe { SEEDS.get(cookie) } {
        if state.claimed == 0 {
            socket::take_over(state, seed);
        }
        let _ = SEEDS.remove(cookie);
    }
}

#[inline(always)]
fn visit_seed(slot: u32, walk: &Walk) {
    if let Some(live) = live(slot, walk) {
        live.sockets += 1;
        live.open += 1;
    }
}

/// The sums of a place, if it is to be summed up; what an earlier walk left is wiped. One walk runs
/// at a time.
#[inline(always)]
fn live(slot: u32, walk: &Walk) -> Option<&'static mut Live> {
    let live = LIVE.get_ptr_mut(slot)?;
    // SAFETY: points into the map.
    let live = unsafe { &mut *live };
    if live.walk != walk.walk {
        if walk.scope == Scope::Marked as u64 {
            return None;
        }
        *live = Live {
            walk: walk.walk,
            ..Live::default()
        };
    }
    Some(live)
}
