//! Run-queue delay: how long the threads of observed processes were runnable but not running.

use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint};
use aya_ebpf::programs::{BtfTracePointContext, RawTracePointContext};
use weir_ebpf::field::ABSENT;
use weir_ebpf::layout::shared::OBSERVED;
use weir_ebpf::layout::{Lost, Thread};

use crate::ctx::{arg, now, read, read_task};
use crate::maps::{PROCESSES, SHARED, THREADS, THREADS_LEN, field, lost, observe, stats};

#[raw_tracepoint(tracepoint = "sched_wakeup")]
pub fn wakeup_raw(ctx: RawTracePointContext) -> i32 {
    queue(arg(&ctx, 0));
    0
}

#[btf_tracepoint(function = "sched_wakeup")]
pub fn wakeup_btf(ctx: BtfTracePointContext) -> i32 {
    queue(arg(&ctx, 0));
    0
}

#[raw_tracepoint(tracepoint = "sched_wakeup_new")]
pub fn wakeup_new_raw(ctx: RawTracePointContext) -> i32 {
    queue(arg(&ctx, 0));
    0
}

#[btf_tracepoint(function = "sched_wakeup_new")]
pub fn wakeup_new_btf(ctx: BtfTracePointContext) -> i32 {
    queue(arg(&ctx, 0));
    0
}

#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn switch_raw(ctx: RawTracePointContext) -> i32 {
    switch(arg(&ctx, 0) & 1 == 1, arg(&ctx, 1), arg(&ctx, 2));
    0
}

#[btf_tracepoint(function = "sched_switch")]
pub fn switch_btf(ctx: BtfTracePointContext) -> i32 {
    switch(arg(&ctx, 0) & 1 == 1, arg(&ctx, 1), arg(&ctx, 2));
    0
}

#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exit_raw(ctx: RawTracePointContext) -> i32 {
    exit(arg(&ctx, 0));
    0
}

#[btf_tracepoint(function = "sched_process_exit")]
pub fn exit_btf(ctx: BtfTracePointContext) -> i32 {
    exit(arg(&ctx, 0));
    0
}

#[inline(always)]
fn place(tid: u32) -> Option<&'static mut Thread> {
    let place = THREADS.get_ptr_mut(tid & (THREADS_LEN - 1))?;
    // SAFETY: points into the map; see `send::thread`.
    Some(unsafe { &mut *place })
}

/// A thread became runnable.
#[inline(always)]
fn queue(task: u64) {
    let tid: u32 = read_task(task, field!(task_pid));
    let Some(thread) = place(tid) else { return };
    if observed(thread, task, tid) {
        thread.queued_at_ns = now();
    }
}

/// Whether the thread's process is observed; looked up again only when a process was added.
#[inline(always)]
fn observed(thread: &mut Thread, task: u64, tid: u32) -> bool {
    let Some(generation) = SHARED.get(OBSERVED) else {
        return false;
    };
    if thread.tid == tid && thread.generation == *generation {
        return thread.slot != 0;
    }
    let tgid: u32 = read_task(task, field!(task_tgid));
    // SAFETY: the value is copied before any other call.
    let slot = unsafe { PROCESSES.get(tgid) }.copied().unwrap_or(0);
    if thread.tid != tid {
        if slot == 0 {
            // Not worth driving another thread from the place.
            return false;
        }
        if thread.queued_at_ns != 0 {
            lost(Lost::Sched);
        }
        if thread.send_at_ns != 0 {
            lost(Lost::Send);
        }
        thread.send_at_ns = 0;
        thread.queued_at_ns = 0;
        thread.tid = tid;
    }
    thread.slot = slot;
    thread.generation = *generation;
    slot != 0
}

/// The CPU goes from one thread to another.
#[inline(always)]
fn switch(preempted: bool, prev: u64, next: u64) {
    let prev_tid: u32 = read_task(prev, field!(task_pid));
    if prev_tid != 0 && (preempted || is_runnable(prev)) {
        queue(prev);
    }
    let tid: u32 = read_task(next, field!(task_pid));
    let Some(thread) = place(tid) else { return };
    if tid == 0 || thread.tid != tid || thread.queued_at_ns == 0 {
        return;
    }
    let waited = now().saturating_sub(thread.queued_at_ns);
    thread.queued_at_ns = 0;
    if let Some(stats) = stats(thread.slot) {
        // SAFETY: points into `STATS`; only this program writes the histogram.
        observe(unsafe { &raw mut (*stats).sched }, waited);
    }
}

/// The field was called `state` before 5.14.
#[inline(always)]
fn is_runnable(task: u64) -> bool {
    if field!(task_state) == ABSENT {
        read::<u64>(task, field!(task_state_old)) == 0
    } else {
        read_task::<u32>(task, field!(task_state)) == 0
    }
}

/// A thread is over: its id may come back as another's.
#[inline(always)]
fn exit(task: u64) {
    let tid: u32 = read_task(task, field!(task_pid));
    if let Some(thread) = place(tid)
        && thread.tid == tid
    {
        thread.tid = 0;
        thread.send_at_ns = 0;
        thread.queued_at_ns = 0;
        thread.generation = 0;
    }
    let tgid: u32 = read_task(task, field!(task_tgid));
    if tgid == tid {
        let _ = PROCESSES.remove(tgid);
    }
}
