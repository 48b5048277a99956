//! A topology raised by the real program, and ways into its namespaces.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::ready::start;

pub(crate) struct Stage {
    child: Child,
    ready: Value,
    pub(crate) control: PathBuf,
}

impl Stage {
    /// None, said aloud, where this machine does not let us.
    pub(crate) fn raise(topology: &str) -> Option<Self> {
        if let Some(why) = hindrance() {
            eprintln!("SKIP a network of namespaces: {why}");
            return None;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), topology).unwrap();
        let mut command = Command::new(program());
        command.args(["link", "up"]).arg(file.path());
        let (child, ready) = start(command);
        let control = PathBuf::from(ready["addresses"]["control"].as_str().unwrap());
        Some(Self {
            child,
            ready,
            control,
        })
    }

    pub(crate) fn namespace(&self, node: &str) -> &str {
        self.ready["addresses"][format!("namespace.{node}")]
            .as_str()
            .unwrap()
    }

    pub(crate) fn command(&self, node: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", self.namespace(node)])
            .args(words);
        command
    }

    pub(crate) fn change(&self, link: &str, set: &Value) -> Result<(), String> {
        let mut command = Command::new(program());
        command
            .args(["link", "change", "--control"])
            .arg(&self.control)
            .args([link, &set.to_string()]);
        let output = command.output().unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    }

    pub(crate) fn counts(&self) -> Value {
        let mut command = Command::new(program());
        serde_json::from_str(&run(command
            .args(["link", "counts", "--control"])
            .arg(&self.control)))
        .unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        if self.child.try_wait().unwrap().is_none() {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
            let status = self.child.wait().unwrap();
            if std::thread::panicking() {
                return;
            }
            assert!(status.success());
            let namespaces = self.ready["addresses"].as_object().unwrap();
            for (key, name) in namespaces {
                let left = key.starts_with("namespace.")
                    && Path::new("/run/netns")
                        .join(name.as_str().unwrap())
                        .exists();
                assert!(!left, "{name} is left");
            }
        }
    }
}

pub(crate) fn program() -> &'static str {
    env!("CARGO_BIN_EXE_weir-stack")
}

pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs on a thread inside a namespace: sockets made there stay there.
pub(crate) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(Path::new("/run/netns").join(namespace)).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

fn hindrance() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("needs /dev/net/tun".to_owned());
    }
    let programs = [
        ("ip", "iproute2"),
        ("tc", "iproute2"),
        ("nft", "nftables"),
        ("ping", "iputils-ping"),
        ("setpriv", "util-linux"),
    ];
    let missing = programs.into_iter().find(|(name, _)| {
        !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|path| path.join(name).exists())
    });
    missing.map(|(name, package)| format!("needs {name} (Debian package {package})"))
}
