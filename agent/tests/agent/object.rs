//! The kernel objects of an agent: its programs and maps.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::running::{Agent, PATIENCE};

/// Kind and id of kernel objects. Ids are not used again soon.
#[derive(Debug)]
pub(crate) struct Objects(BTreeSet<(&'static str, u32)>);

/// A link lives no longer than its program, since it holds it.
const KINDS: [(&str, &str); 2] = [("prog_id:", "program"), ("map_id:", "map")];

impl Objects {
    /// Those that an agent holds.
    pub(crate) fn of(agent: &Agent) -> Self {
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(format!("/proc/{}/fdinfo", agent.pid())).unwrap() {
            // Connections may come and go.
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
            for line in text.lines() {
                for (label, kind) in KINDS {
                    if let Some(id) = line.strip_prefix(label) {
                        found.insert((kind, id.trim().parse().unwrap()));
                    }
                }
            }
        }
        let count = |kind| found.iter().filter(|(found, _)| *found == kind).count();
        assert!(count("program") >= 7 && count("map") >= 10, "{found:?}");
        assert!(found.is_subset(&loaded()), "{found:?}");
        Self(found)
    }

    /// Waits until the kernel has none of them any more; it lets go of them a moment later.
    pub(crate) fn must_go(&self) {
        let began = Instant::now();
        loop {
            let all = loaded();
            let left: Vec<_> = self.0.intersection(&all).collect();
            if left.is_empty() {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "left in the kernel: {left:?}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

fn loaded() -> BTreeSet<(&'static str, u32)> {
    let programs = aya::programs::loaded_programs().flatten();
    let programs = programs.map(|program| ("program", program.id()));
    let maps = aya::maps::loaded_maps().flatten();
    let maps = maps.map(|map| ("map", map.id()));
    programs.chain(maps).collect()
}

/// What is pinned below the BPF file system, if it is mounted.
pub(crate) fn pinned() -> BTreeSet<std::path::PathBuf> {
    let entries = std::fs::read_dir("/sys/fs/bpf").into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}
