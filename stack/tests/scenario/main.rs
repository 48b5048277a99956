//! Scenarios with programs that are always there, so that what is tested is the conductor: faults
//! happen and are written down, and nothing is left behind. Needs root; skips loudly without.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PREFIX: &str = "weir-stack-";

struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    /// None, said aloud, where this machine does not let us.
    fn new(scenario: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP a scenario: needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let scenario = scenario.replace("FOLDER", folder.path().to_str().unwrap());
        std::fs::write(folder.path().join("scenario.toml"), scenario).unwrap();
        Some(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_weir-stack"))
            .args(["scenario", "run"])
            .arg(self.path("scenario.toml"))
            .arg("--out")
            .arg(self.path("out"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn finish(&self, child: Child) -> Output {
        let mark = mark(child.id());
        let output = child.wait_with_output().unwrap();
        assert_eq!(left(&mark), Vec::<PathBuf>::new());
        output
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn faults(&self) -> Vec<Value> {
        let lines = self.read("out/faults.jsonl");
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["kind"] == "fault").collect()
    }

    fn summary(&self) -> Value {
        serde_json::from_str(&self.read("out/summary.json")).unwrap()
    }
}

/// What names of this run's things begin with.
fn mark(pid: u32) -> String {
    format!("{PREFIX}{pid}-")
}

/// Namespaces, directories, mounts and cgroups of a run.
fn left(mark: &str) -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_weir-stack"))
        .parent()
        .unwrap();
    let groups = [
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/unified",
        "/sys/fs/cgroup/cpu",
        "/sys/fs/cgroup/cpu,cpuacct",
    ];
    let places = ["/run/netns", "/run"]
        .into_iter()
        .chain(groups)
        .map(Path::new)
        .chain([beside]);
    let entries = places
        .filter_map(|place| std::fs::read_dir(place).ok())
        .flatten()
        .flatten();
    let mut left: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(mark)
        })
        .collect();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(mark))
            .map(PathBuf::from),
    );
    left
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{what} does not happen"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

const HEAD: &str = "name = \"test\"\nabout = \"A test.\"\nseed = 3\nseconds = 4\n";

#[test]
fn a_stopped_program_stands_still_between_the_marks_of_truth() {
    let text = format!(
        "{HEAD}[[program]]\nname = \"ticker\"\n\
         command = [\"sh\", \"-c\", \"while :; do date +%s%N >> FOLDER/ticks; sleep 0.02; done\"]\n\
         [[fault]]\nat_s = 1\nlasts_s = 2\nname = \"pause_producer\"\nstop = \"ticker\"\n"
    );
    let Some(run) = Run::new(&text) else { return };
    let output = run.finish(run.start());
    assert!(output.status.success(), "{output:?}");
    let faults = run.faults();
    assert_eq!(faults.len(), 2);
    assert_eq!(
        (&faults[0]["phase"], &faults[1]["phase"]),
        (&"begin".into(), &"end".into())
    );
    assert_eq!(
        (&faults[0]["fault"], &faults[0]["target"]),
        (&"pause_producer".into(), &"ticker".into())
    );
    let [begin, end] = [&faults[0], &faults[1]].map(|fault| fault["wall_ns"].as_u64().unwrap());
    // The beginning may come a little late, the end does not wait for it.
    assert!(end - begin >= 1_500_000_000);
    let ticks: Vec<u64> = run
        .read("ticks")
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    // A `date` that had begun may still write; the next one cannot start.
    let (inside, outside): (Vec<u64>, Vec<u64>) = ticks
        .iter()
        .partition(|&&tick| tick > begin + 500_000_000 && tick < end);
    assert!(inside.is_empty(), "{inside:?} in {begin} to {end}");
    assert!(outside.iter().any(|&tick| tick > end) && outside.iter().any(|&tick| tick < begin));
    assert_eq!(run.summary()["ran_as_written"], true);
    let merged = run.read("out/truth.jsonl");
    assert!(merged.contains("pause_producer") && merged.contains("\"kind\":\"run\""));
}

#[test]
fn a_killed_program_is_started_again() {
    let text = format!(
        "{HEAD}[[program]]\nname = \"once\"\ncommand = [\"sh\", \"-c\", \"echo $$ >> FOLDER/pids; exec sleep 60\"]\n\
         [[fault]]\nat_s = 1\nlasts_s = 1\nkill = \"once\"\n"
    );
    let Some(run) = Run::new(&text) else { return };
    let output = run.finish(run.start());
    assert!(output.status.success(), "{output:?}");
    let pids: Vec<String> = run.read("pids").lines().map(str::to_owned).collect();
    assert!(pids.len() == 2 && pids[0] != pids[1], "{pids:?}");
}

#[test]
fn a_full_disk_is_full_between_the_marks_and_a_link_changes() {
    let text = format!(
        "{HEAD}[network]\nnodes = [\"a\", \"b\"]\n[[network.link]]\nname = \"ab\"\nfrom = \"a\"\nto = \"b\"\n\
         addresses = [\"10.93.1.1/24\", \"10.93.1.2/24\"]\n\
         [[disk]]\nname = \"small\"\nmib = 1\n\
         [[program]]\nname = \"writer\"\nnode = \"a\"\n\
         command = [\"sh\", \"-c\", \"while :; do if echo x > {{disk.small}}/$(date +%s%N); then echo fine; else echo full; fi >> FOLDER/said; sleep 0.1; done\"]\n\
         [[program]]\nname = \"echo\"\nnode = \"b\"\ncommand = [\"ping\", \"-i\", \"0.1\", \"-w\", \"20\", \"10.93.1.1\"]\n\
         [[fault]]\nat_s = 1\nlasts_s = 1\nfill = {{ disk = \"small\" }}\n\
         [[fault]]\nat_s = 1\nlasts_s = 2\nlink = {{ name = \"ab\", set = {{ outage = \"drop\" }} }}\n"
    );
    let Some(run) = Run::new(&text) else { return };
    let output = run.finish(run.start());
    assert!(output.status.success(), "{output:?}");
    let said = run.read("said");
    let mut changes: Vec<&str> = said.lines().collect();
    changes.dedup();
    assert_eq!(changes, ["fine", "full", "fine"]);
    assert_eq!(run.faults().len(), 4);
    let links = run.summary()["links"].clone();
    assert!(
        links["ab"]["backward"]["outage"].as_u64() > Some(5),
        "{links}"
    );
    assert!(
        links["ab"]["forward"]["delivered"].as_u64() > Some(5),
        "{links}"
    );
}

#[test]
fn a_capped_program_is_throttled() {
    let text = format!(
        "{HEAD}[[program]]\nname = \"burner\"\ncommand = [\"sh\", \"-c\", \"while :; do :; done\"]\n\
         [[fault]]\nat_s = 0.5\nlasts_s = 3\ncpu = {{ target = \"burner\", cpus = 0.1 }}\n"
    );
    let Some(run) = Run::new(&text) else { return };
    let child = run.start();
    let group = mark(child.id());
    let mut quota = String::new();
    let start = Instant::now();
    while quota.is_empty() && start.elapsed() < Duration::from_secs(10) {
        for path in left(&group)
            .iter()
            .filter(|path| path.starts_with("/sys/fs/cgroup"))
        {
            for (file, capped) in [("cpu.cfs_quota_us", "10000"), ("cpu.max", "10000 100000")] {
                let text = std::fs::read_to_string(path.join(file)).unwrap_or_default();
                let inside = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
                if text.trim() == capped && !inside.is_empty() {
                    quota = text;
                }
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = run.finish(child);
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("cpu controller") {
        eprintln!("SKIP capping CPU time: no cgroup hierarchy here has a cpu controller");
        return;
    }
    assert!(output.status.success(), "{said}");
    assert!(!quota.is_empty());
}

#[test]
fn a_program_that_dies_makes_the_run_fail_and_is_named() {
    let text = format!(
        "{HEAD}[[program]]\nname = \"frail\"\ncommand = [\"sh\", \"-c\", \"sleep 1; echo because >&2; exit 7\"]\n"
    );
    let Some(run) = Run::new(&text) else { return };
    let output = run.finish(run.start());
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("frail") && said.contains("because") && said.contains('7'),
        "{said}"
    );
    let summary = run.summary();
    assert_eq!(summary["ran_as_written"], false);
    assert!(summary["problems"][0].as_str().unwrap().contains("frail"));
}

#[test]
fn an_interrupted_run_ends_all_and_says_so() {
    let text = format!(
        "{HEAD}[network]\nnodes = [\"a\"]\n[[program]]\nname = \"idle\"\nnode = \"a\"\ncommand = [\"sleep\", \"77\"]\n"
    );
    let Some(run) = Run::new(&text) else { return };
    let child = run.start();
    until("the namespace", || {
        left(&mark(child.id()))
            .iter()
            .any(|path| path.starts_with("/run/netns"))
    });
    std::thread::sleep(Duration::from_millis(500));
    signal(&child, Signal::INT);
    let output = run.finish(child);
    assert!(!output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("told to stop")
    );
}

#[test]
fn what_a_killed_run_leaves_is_cleared_by_the_next() {
    let text = format!(
        "{HEAD}[network]\nnodes = [\"a\"]\n[[disk]]\nname = \"d\"\nmib = 1\n\
         [[program]]\nname = \"stuck\"\nnode = \"a\"\ncommand = [\"sleep\", \"78\"]\n[[fault]]\nat_s = 1\nlasts_s = 3\nstop = \"stuck\"\n"
    );
    let Some(run) = Run::new(&text) else { return };
    let mut child = run.start();
    until("the fault", || !run.faults().is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    let mark = mark(child.id());
    assert!(left(&mark).len() >= 3, "{:?}", left(&mark));
    let clear = Command::new(env!("CARGO_BIN_EXE_weir-stack"))
        .args(["link", "clear"])
        .output()
        .unwrap();
    assert!(clear.status.success());
    assert_eq!(left(&mark), Vec::<PathBuf>::new());
}

#[test]
fn a_directory_with_something_in_it_is_not_overwritten() {
    let Some(run) = Run::new(HEAD) else { return };
    std::fs::create_dir(run.path("out")).unwrap();
    std::fs::write(run.path("out/mine"), "x").unwrap();
    let output = run.finish(run.start());
    assert!(!output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("not empty")
    );
}
