//! Finds cgroups by id: the id that the kernel gives is the inode number of the directory.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Paths kept; about 1 MB with those that Kubernetes makes. Nodes with more are walked again.
const MAX_KEPT: usize = 4096;
/// Directories looked at in one walk.
const MAX_WALKED: usize = 65_536;
/// A walk may take this share of the time between two walks.
const WALK_SHARE: u32 = 50;
/// Least time between two walks.
const MIN_GAP: Duration = Duration::from_millis(100);

/// Paths below the mount point, by id. Ids are never used twice, so what is known stays true, also
/// of cgroups that are gone: their last processes' records may still be on the way.
pub(super) struct CgroupIndex {
    root: PathBuf,
    root_id: u64,
    paths: HashMap<u64, Box<str>>,
    next_walk: Option<Instant>,
}

impl CgroupIndex {
    pub(super) fn new(root: PathBuf) -> Self {
        let root_id = fs::metadata(&root).map_or(0, |meta| meta.ino());
        Self {
            root,
            root_id,
            paths: HashMap::new(),
            next_walk: None,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Keeps a path learnt elsewhere.
    pub(super) fn remember(&mut self, id: u64, path: &str) {
        if id == 0 || self.paths.get(&id).is_some_and(|known| **known == *path) {
            return;
        }
        if self.paths.len() >= MAX_KEPT {
            self.paths.clear();
        }
        self.paths.insert(id, path.into());
    }

    /// The path of a cgroup, `/` for the root. What is not known is looked for, but not more often
    /// than walks may take time.
    pub(super) fn path(&mut self, id: u64) -> Option<&str> {
        if id == 0 {
            return None;
        }
        if id == self.root_id {
            return Some("/");
        }
        if !self.paths.contains_key(&id) {
            let start = Instant::now();
            if self.next_walk.is_some_and(|next| start < next) {
                return None;
            }
            self.walk(id);
            let gap = (start.elapsed() * WALK_SHARE).max(MIN_GAP);
            self.next_walk = Some(Instant::now() + gap);
        }
        self.paths.get(&id).map(|path| &**path)
    }

    /// Learns the tree breadth first until the bounds; the cgroup that is sought is kept in any case.
    fn walk(&mut self, sought: u64) {
        let mut found = HashMap::new();
        let mut queue = VecDeque::from([String::new()]);
        let mut walked = 0;
        while let Some(dir) = queue.pop_front() {
            let Ok(entries) = fs::read_dir(self.root.join(dir.trim_start_matches('/'))) else {
                continue;
            };
            for entry in entries.flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                walked += 1;
                let path = format!("{dir}/{}", entry.file_name().to_string_lossy());
                if found.len() < MAX_KEPT || entry.ino() == sought {
                    found.insert(entry.ino(), path.clone().into_boxed_str());
                }
                if walked < MAX_WALKED {
                    queue.push_back(path);
                }
            }
        }
        if self.paths.len() + found.len() > MAX_KEPT {
            self.paths.clear();
        }
        self.paths.extend(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(path: &Path) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn a_directory_is_found_by_its_inode_and_known_after_its_end() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("system.slice/nginx.service");
        fs::create_dir_all(&inner).unwrap();
        fs::write(root.path().join("cgroup.procs"), "").unwrap();
        let id = id_of(&inner);
        let mut index = CgroupIndex::new(root.path().to_owned());
        assert_eq!(index.path(id), Some("/system.slice/nginx.service"));
        fs::remove_dir(&inner).unwrap();
        assert_eq!(index.path(id), Some("/system.slice/nginx.service"));
        assert_eq!(index.path(id_of(root.path())), Some("/"));
        assert_eq!(index.path(0), None);
    }

    #[test]
    fn unknown_ids_do_not_make_it_walk_again_at_once() {
        let root = tempfile::tempdir().unwrap();
        let mut index = CgroupIndex::new(root.path().to_owned());
        assert_eq!(index.path(u64::MAX), None);
        let late = root.path().join("late");
        fs::create_dir(&late).unwrap();
        assert_eq!(index.path(id_of(&late)), None);
        std::thread::sleep(MIN_GAP + Duration::from_millis(10));
        assert_eq!(index.path(id_of(&late)), Some("/late"));
    }

    #[test]
    fn memory_is_bounded_and_what_is_sought_is_found_all_the_same() {
        let root = tempfile::tempdir().unwrap();
        for n in 0..MAX_KEPT + 100 {
            fs::create_dir(root.path().join(n.to_string())).unwrap();
        }
        for n in [0, MAX_KEPT / 2, MAX_KEPT + 99] {
            let mut index = CgroupIndex::new(root.path().to_owned());
            let id = id_of(&root.path().join(n.to_string()));
            assert_eq!(index.path(id), Some(format!("/{n}").as_str()));
            assert!(index.paths.len() <= MAX_KEPT + 1);
            for other in 0..10_000 {
                index.remember(u64::MAX - other, "/x");
            }
            assert!(index.paths.len() <= MAX_KEPT);
        }
    }
}
