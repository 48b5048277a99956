//! Takes places of the kernel's tables back when their owners are gone, in two steps: first nobody
//! new can come to a place, and at a later look, when nothing uses it any more, it is wiped.

use std::collections::HashMap;

use tracing::{debug, warn};
use weir_ebpf::layout::Stats;

use super::name::Names;
use super::sum::Sums;
use super::{Kernel, command};

/// Looks that a place must be unused in a row before its owner is let go: with one look a minute
/// the series of a gone service stay for about ten.
const PATIENCE: u32 = 10;

/// Observed processes from which on those that are gone are looked for: the probes let go of them
/// at their exit, but not while the scheduler's are off. The kernel map has room for 16,384.
const CROWDED: usize = 12_288;

/// Places on their way out.
#[derive(Default)]
pub(super) struct Reclaim {
    idle: HashMap<u32, Idle>,
}

/// A place that was unused at the last look.
#[derive(Clone, Copy)]
struct Idle {
    looks: u32,
    closed: bool,
    connections: u64,
}

/// What to do with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// Nobody new may come to it.
    Close,
    /// Nobody is left.
    Free,
}

impl Reclaim {
    /// One look at all places.
    pub(super) fn step(&mut self, kernel: &mut Kernel, names: &mut Names, sums: &mut Sums) {
        let walk = match kernel.walk(false) {
            Ok((walk, _)) => walk,
            Err(why) => return warn!("cannot look for unused places: {why:#}"),
        };
        let mut closing = HashMap::new();
        let mut freed = Vec::new();
        for (slot, known) in names.places() {
            let Ok(stats) = kernel.maps().stats(slot) else {
                continue;
            };
            let connections = stats.connections.iter().flatten().sum();
            let sockets = kernel.maps().live(slot, walk).sockets;
            let is_alive = || {
                names
                    .resolver
                    .is_alive(known.first.tgid, known.first.start_ns)
            };
            match self.judge(slot, connections, sockets > 0, is_alive) {
                Verdict::Keep => {}
                Verdict::Close => {
                    let command = command(&known.key);
                    debug!(slot, command, "owner is gone, taking its place back");
                    closing.insert(slot, known.key);
                }
                Verdict::Free => freed.push((slot, stats)),
            }
        }
        kernel.maps().close_places(&closing);
        for (slot, stats) in freed {
            self.free(slot, &stats, kernel, names, sums);
        }
        let observed = kernel.maps().processes();
        if observed.len() >= CROWDED {
            let is_gone = |tgid: &&u32| !names.resolver.is_alive(**tgid, 0);
            for tgid in observed.iter().filter(is_gone) {
                kernel.maps().forget_process(*tgid);
            }
        }
    }

    /// `connections` is the number of connections so far, of whatever outcome.
    fn judge(
        &mut self,
        slot: u32,
        connections: u64,
        has_sockets: bool,
        is_alive: impl FnOnce() -> bool,
    ) -> Verdict {
        let idle = self.idle.entry(slot).or_insert(Idle {
            looks: 0,
            closed: false,
            connections,
        });
        if idle.closed {
            // Who was on the way when it closed has arrived, and may stay for long.
            return if has_sockets {
                Verdict::Keep
            } else {
                Verdict::Free
            };
        }
        if has_sockets || idle.connections != connections || is_alive() {
            self.idle.remove(&slot);
            return Verdict::Keep;
        }
        idle.looks += 1;
        if idle.looks < PATIENCE {
            return Verdict::Keep;
        }
        idle.closed = true;
        Verdict::Close
    }

    fn free(
        &mut self,
        slot: u32,
        stats: &Stats,
        kernel: &mut Kernel,
        names: &mut Names,
        sums: &mut Sums,
    ) {
        let subject = names.subject(slot);
        names.forget(slot);
        let goes_on = names.is_named(&subject);
        sums.retire(subject, stats, goes_on);
        self.idle.remove(&slot);
        if let Err(why) = kernel.maps().free_place(slot) {
            warn!(slot, "cannot free a place of the kernel's tables: {why:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(reclaim: &mut Reclaim, times: u32, connections: u64, has_sockets: bool) -> Verdict {
        let mut verdict = Verdict::Keep;
        for _ in 0..times {
            verdict = reclaim.judge(7, connections, has_sockets, || false);
        }
        verdict
    }

    #[test]
    fn a_place_is_closed_after_enough_looks_and_freed_at_the_next() {
        let mut reclaim = Reclaim::default();
        assert_eq!(looks(&mut reclaim, PATIENCE - 1, 5, false), Verdict::Keep);
        assert_eq!(looks(&mut reclaim, 1, 5, false), Verdict::Close);
        assert_eq!(looks(&mut reclaim, 1, 5, false), Verdict::Free);
    }

    #[test]
    fn whatever_happens_there_starts_the_wait_again() {
        let mut reclaim = Reclaim::default();
        looks(&mut reclaim, PATIENCE - 1, 5, false);
        assert_eq!(looks(&mut reclaim, 1, 6, false), Verdict::Keep);
        looks(&mut reclaim, PATIENCE - 1, 6, false);
        assert_eq!(looks(&mut reclaim, 1, 6, true), Verdict::Keep);
        looks(&mut reclaim, PATIENCE - 1, 6, false);
        assert_eq!(reclaim.judge(7, 6, false, || true), Verdict::Keep);
        assert_eq!(looks(&mut reclaim, PATIENCE - 1, 6, false), Verdict::Keep);
        assert_eq!(looks(&mut reclaim, 1, 6, false), Verdict::Close);
    }

    #[test]
    fn a_closed_place_waits_for_the_last_socket() {
        let mut reclaim = Reclaim::default();
        assert_eq!(looks(&mut reclaim, PATIENCE, 5, false), Verdict::Close);
        assert_eq!(looks(&mut reclaim, 100, 6, true), Verdict::Keep);
        assert_eq!(looks(&mut reclaim, 1, 6, false), Verdict::Free);
    }
}
