//! Lines of results, and the checks behind them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// How often a comparison may be tried where it may be tried again. A fault of the probes fails
/// every time.
const TRIES: u32 = 3;

/// Whether a failure now is followed by another try.
static MAY_TRY_AGAIN: AtomicBool = AtomicBool::new(false);

/// Runs a test that counts what also happens in interrupts. In the virtual machines it gets one
/// try. The kernel of a sandbox may run no program while a process of the sandbox itself is current
/// (seen on one: bpftrace counted 119 switches to such a thread and none away from it), so that an
/// event in an interrupt on top of that process is hidden from every tracer: there, again.
pub(crate) fn count_in_tries(test: impl Fn()) {
    if is_emulated() {
        test();
    } else {
        in_tries(test);
    }
}

/// Runs a test that compares times, again if it fails, and says so: Weir and its counterpart look
/// at slightly different moments, and whatever else the machine does may come between.
pub(crate) fn in_tries(test: impl Fn()) {
    for left in (1..TRIES).rev() {
        MAY_TRY_AGAIN.store(true, Ordering::Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(&test));
        MAY_TRY_AGAIN.store(false, Ordering::Relaxed);
        if outcome.is_ok() {
            return;
        }
        println!("\nTRY AGAIN: did not agree; {left} left");
    }
    test();
}

/// Runs the checks of a fact and prints its line: `check` adds figures as it goes.
pub(crate) fn fact(name: &str, rung: &str, check: impl FnOnce(&mut Vec<String>)) {
    let mut figures = Vec::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| check(&mut figures)));
    let figures = figures.join(" ");
    // The harness may have left its line open.
    if outcome.is_err() && MAY_TRY_AGAIN.load(Ordering::Relaxed) {
        println!("\nTRY {name} {rung} {figures}");
    } else {
        let result = if outcome.is_ok() { "ok" } else { "fail" };
        println!("\nFACT {name} {rung} {result} {figures}");
    }
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Says that a fact cannot be had here, and why.
pub(crate) fn skip(name: &str, rung: &str, why: &str) {
    println!("\nFACT {name} {rung} skip {why}");
    println!("SKIP {name} on rung {rung}: {why}");
}

/// Whether the test may run at all: only root may load probes.
pub(crate) fn may_run(name: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    skip(name, "-", "loading probes needs root");
    false
}

/// Whether this is a guest under emulation, where everything takes longer.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os("WEIR_IN_VM").is_some()
}

/// Fails unless `seen` is within `share` of `truth`.
pub(crate) fn assert_near(what: &str, seen: f64, truth: f64, share: f64) {
    let off = (seen / truth - 1.0).abs();
    assert!(
        off <= share,
        "{what}: Weir says {seen}, the truth is {truth}: {:.1} % off",
        off * 100.0
    );
}
