//! Safe wrappers for reading the kernel. What is unsafe about that gathers here.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_task, bpf_jiffies64, bpf_ktime_get_coarse_ns,
    bpf_ktime_get_ns,
};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel};
use weir_ebpf::field::{Bits, CAST};

use crate::maps::setting;

/// Value of a kernel field; zero if the address is bad.
#[inline(always)]
pub fn read<T: Copy + Default>(base: u64, offset: u32) -> T {
    // SAFETY: the helper checks the address and fills a value of plain integers.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.unwrap_or_default()
}

/// Value of a field of a TCP socket; zero if the address is bad.
#[inline(always)]
pub fn read_tcp<T: Copy + Default>(sk: u64, offset: u32) -> T {
    load(sk, setting!(tcp_sock), offset)
}

/// Value of a field of a task; zero if the address is bad.
#[inline(always)]
pub fn read_task<T: Copy + Default>(task: u64, offset: u32) -> T {
    load(task, setting!(task), offset)
}

/// By a load if the structure's type is known, which takes a nanosecond; the helper takes 27.
#[inline(always)]
fn load<T: Copy + Default>(base: u64, type_id: u32, offset: u32) -> T {
    if type_id == 0 {
        return read(base, offset);
    }
    // SAFETY: the agent puts `bpf_rdonly_cast` here: its result may be loaded from whatever the
    // address is, a bad one reads as zero. Numbers of helpers are 32 bits wide.
    unsafe {
        let cast: extern "C" fn(u64, u32) -> u64 = core::mem::transmute(CAST as usize);
        let field = cast(base, type_id) + u64::from(offset);
        (field as *const T).read_volatile()
    }
}

/// Value of a bit field; zero if the address is bad.
#[inline(always)]
pub fn read_bits(base: u64, bits: Bits) -> u32 {
    u32::from(read::<u8>(base, bits.byte)) >> (bits.shift & 7) & bits.mask
}

/// Nanoseconds of the monotonic clock.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// The same to the tick, far cheaper where the kernel has it.
#[inline(always)]
pub fn coarse_now() -> u64 {
    if setting!(coarse_clock) == 1 {
        // SAFETY: no arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    } else {
        now()
    }
}

/// The kernel's tick count.
#[inline(always)]
pub fn all_ticks() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() }
}

/// Its lower half, as TCP keeps its times.
#[inline(always)]
pub fn ticks() -> u32 {
    all_ticks() as u32
}

/// Ids of the current process and thread.
#[inline(always)]
pub fn current_ids() -> (u32, u32) {
    let both = bpf_get_current_pid_tgid();
    ((both >> 32) as u32, both as u32)
}

/// Address of the current `task_struct`.
#[inline(always)]
pub fn current_task() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_task() }
}

/// Id of the current cgroup (v2).
#[inline(always)]
pub fn current_cgroup() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_cgroup_id() }
}

/// Argument `n` of a raw tracepoint, a BTF tracepoint, or a function's entry or exit: all four
/// contexts are an array of 64-bit words.
#[inline(always)]
pub fn arg(ctx: &impl EbpfContext, n: usize) -> u64 {
    // SAFETY: the verifier refuses a program that reads past the arguments of its hook.
    unsafe { *ctx.as_ptr().cast::<u64>().add(n) }
}
