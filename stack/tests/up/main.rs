//! `weir-stack up` with the real services on free ports.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const FREE_PORTS: &str = r#"
[chat]
listen = "127.0.0.1:0"
storage = "memory"
[game]
grpc = "127.0.0.1:0"
http = "127.0.0.1:0"
"#;

struct Up {
    child: Child,
    out: BufReader<ChildStdout>,
    addresses: BTreeMap<String, String>,
    _config: tempfile::NamedTempFile,
}

impl Up {
    fn start() -> Self {
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), FREE_PORTS).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir-stack"))
            .args(["up", "--only", "chat,game", "--config"])
            .arg(config.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("\"ready\":\"up\"") {
            line.clear();
            assert!(
                out.read_line(&mut line).unwrap() > 0,
                "up ended before it was ready"
            );
        }
        let ready: Value = serde_json::from_str(&line).unwrap();
        let addresses = serde_json::from_value(ready["addresses"].clone()).unwrap();
        Self {
            child,
            out,
            addresses,
            _config: config,
        }
    }

    /// Own children by command name.
    fn service(&self, name: &str) -> Option<Pid> {
        child_of(self.child.id(), name)
    }

    /// How it ended, and what it said.
    fn finish(mut self) -> (bool, String) {
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        self.out.read_to_string(&mut String::new()).unwrap();
        (self.child.wait().unwrap().success(), said)
    }
}

fn child_of(parent: u32, name: &str) -> Option<Pid> {
    let parent = parent.to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let found = pids.into_iter().find(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let Some((head, tail)) = stat.rsplit_once(") ") else {
            return false;
        };
        head.ends_with(&format!("({name}")) && tail.split(' ').nth(1) == Some(parent.as_str())
    });
    found.and_then(Pid::from_raw)
}

fn signal(pid: Pid, signal: Signal) {
    kill_process(pid, signal).unwrap();
}

fn is_there(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}

#[test]
fn services_run_under_their_own_names_and_end_with_up() {
    let up = Up::start();
    let services = ["weir-chat", "weir-game"]
        .map(|name| up.service(name).unwrap_or_else(|| panic!("no {name}")));
    let game = u32::try_from(services[1].as_raw_nonzero().get()).unwrap();
    let arena = child_of(game, "weir-arena").expect("no weir-arena");
    let names = ["weir-chat", "weir-game", "weir-arena"];
    for (service, name) in services.iter().chain([&arena]).zip(names) {
        let program =
            std::fs::read_link(format!("/proc/{}/exe", service.as_raw_nonzero())).unwrap();
        assert_eq!(program.file_name().unwrap().to_str(), Some(name));
    }
    for key in ["chat.ws", "game.grpc", "game.http"] {
        assert!(!up.addresses[key].ends_with(":0"), "{:?}", up.addresses);
    }
    signal(Pid::from_child(&up.child), Signal::INT);
    let (fine, said) = up.finish();
    assert!(fine, "{said}");
    assert!(!services.into_iter().any(is_there));
}

#[test]
fn when_one_ends_it_is_said_and_all_end() {
    let up = Up::start();
    let (chat, game) = (
        up.service("weir-chat").unwrap(),
        up.service("weir-game").unwrap(),
    );
    signal(chat, Signal::KILL);
    let (fine, said) = up.finish();
    assert!(!fine);
    assert!(
        said.contains("chat ended") && said.contains("SIGKILL"),
        "{said}"
    );
    assert!(!is_there(game));
}

#[test]
fn services_end_when_up_is_killed() {
    let up = Up::start();
    let services = ["weir-chat", "weir-game"].map(|name| up.service(name).unwrap());
    signal(Pid::from_child(&up.child), Signal::KILL);
    // Their end closes the pipe that `finish` reads to its end.
    let (fine, _) = up.finish();
    assert!(!fine);
    let start = std::time::Instant::now();
    while services.into_iter().any(is_there) {
        assert!(start.elapsed().as_secs() < 20, "services outlive up");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // What is not a process is cleared by whoever comes next.
    assert!(
        Command::new(env!("CARGO_BIN_EXE_weir-stack"))
            .args(["link", "clear"])
            .status()
            .unwrap()
            .success()
    );
}
