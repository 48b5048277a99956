//! An origin with a looped ladder, and a crowd of one real player; what is missing is said and
//! skipped.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::media::{ladder, program, skip};
use crate::ready::start;

/// Between two looks at the truth.
const LOOK: Duration = Duration::from_millis(50);

/// One viewer who comes at once, stays, and leaves the controls alone.
const SCENE: &str = "[players]\narrive_over_s = 0.0\nstay_s = 600.0\nstay_least_s = 600.0\n";

/// hls.js where `weir-stack media` puts it, with a Chromium to play in.
pub(crate) fn player() -> Option<PathBuf> {
    if !program("chromium") {
        return None;
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let script = cache.or_else(home)?.join("weir/media/player/hls.min.js");
    if !script.is_file() {
        skip(&format!(
            "no {} (cargo xtask setup bench, or weir-stack media)",
            script.display()
        ));
        return None;
    }
    Some(script)
}

/// A running origin; stopped when it is dropped.
pub(crate) struct Origin {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Origin {
    /// One with the stream `demo`; nothing without ffmpeg.
    pub(crate) fn start() -> Option<Self> {
        let media = ladder()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-stack"));
        command
            .args(["origin", "--listen", "127.0.0.1:0", "--stream", "demo"])
            .args(["--seconds", "8", "--media"])
            .arg(&media);
        let (child, ready) = start(command);
        let http = ready["addresses"]["http"].as_str().unwrap();
        let address = http.trim_start_matches("http://").trim_end_matches('/');
        Some(Self {
            child,
            address: address.parse().unwrap(),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/live/demo/master.m3u8", self.address)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _gone = (self.child.kill(), self.child.wait());
    }
}

/// A crowd of one real player.
pub(crate) struct Crowd {
    child: Child,
    truth: PathBuf,
    _folder: tempfile::TempDir,
}

impl Crowd {
    pub(crate) fn start(stream: &str, player: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (scene, truth) = (
            folder.path().join("scene.toml"),
            folder.path().join("t.jsonl"),
        );
        fs::write(&scene, SCENE).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_weir-stack"))
            .args(["crowd", "--browser", "1", "--seconds", "400"])
            .args(["--stream", stream, "--hls-js"])
            .arg(player)
            .arg("--scene")
            .arg(scene)
            .arg("--truth")
            .arg(&truth)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            truth,
            _folder: folder,
        }
    }

    /// The lines written so far; the last may be half there.
    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.truth).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    pub(crate) fn wait_for(
        &mut self,
        kind: &str,
        within: Duration,
        is_it: impl Fn(&Value) -> bool,
    ) -> Value {
        let until = Instant::now() + within;
        loop {
            let ended = self.child.try_wait().unwrap();
            let lines = self.lines();
            if let Some(line) = lines
                .iter()
                .find(|line| line["kind"] == kind && is_it(line))
            {
                return line.clone();
            }
            assert!(ended.is_none(), "{ended:?} before {kind}: {lines:?}");
            assert!(Instant::now() < until, "no {kind} in {within:?}: {lines:?}");
            std::thread::sleep(LOOK);
        }
    }

    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    /// Kills the browser's main process, whose parent the crowd is.
    pub(crate) fn kill_chromium(&self) {
        let parent = format!("PPid:\t{}", self.child.id());
        let children: Vec<i32> = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                fs::read_to_string(format!("/proc/{pid}/status"))
                    .is_ok_and(|status| status.lines().any(|line| line == parent))
            })
            .collect();
        assert_eq!(children.len(), 1, "the crowd's only child is Chromium");
        kill_process(Pid::from_raw(children[0]).unwrap(), Signal::KILL).unwrap();
    }

    /// The whole truth, once the crowd has ended well.
    pub(crate) fn finish(mut self, within: Duration) -> Vec<Value> {
        let until = Instant::now() + within;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "goes on: {:?}", self.lines());
            std::thread::sleep(LOOK);
        };
        assert!(status.success(), "{status}");
        self.lines()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _gone = (self.child.kill(), self.child.wait());
    }
}
