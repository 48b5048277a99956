//! An agent that runs, and one that does not start.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::series::Series;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Agents see each other's traffic, so only one runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A running agent; ends with this value.
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    child: Child,
    dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Not by a signal that a stopped process would not get.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The agent's command with its configuration in `dir`; listens on a free port.
fn command(dir: &Path, config: &str, wrapper: &[&str]) -> Command {
    let file = dir.join("weir.toml");
    std::fs::write(&file, with_port(config)).unwrap();
    let mut words: Vec<String> = wrapper.iter().map(|&word| word.to_owned()).collect();
    words.extend([env!("CARGO_BIN_EXE_weir").to_owned(), "run".to_owned()]);
    words.extend(["--config".to_owned(), file.display().to_string()]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

fn with_port(config: &str) -> String {
    if config.contains("[prometheus]") {
        config.to_owned()
    } else {
        format!("{config}\n[prometheus]\nlisten = '127.0.0.1:0'\n")
    }
}

/// Runs an agent that is to fail; `wrapper` is a command that runs it.
pub(crate) fn fail(config: &str, wrapper: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    // Others must be able to read the configuration.
    set_mode(dir.path(), 0o755);
    let mut child = command(dir.path(), config, wrapper)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(20) {
            child.kill().unwrap();
            panic!("it runs: {config}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

impl Agent {
    pub(crate) fn start(config: &str) -> Self {
        Self::start_by(config, &[])
    }

    /// Starts it by a command such as `unshare -m`, and waits until it answers.
    pub(crate) fn start_by(config: &str, wrapper: &[&str]) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = command(dir.path(), config, wrapper)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut agent = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            child,
            dir,
            _turn: turn,
        };
        agent.until("it listens", |agent| {
            let exited = agent.child.try_wait().unwrap();
            assert!(exited.is_none(), "{exited:?}: {}", agent.log());
            match listening(&agent.log()) {
                Some(address) => agent.address = address,
                None => return false,
            }
            true
        });
        agent
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// All it said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.path().join("weir.toml")
    }

    /// Writes another configuration and sends SIGHUP.
    pub(crate) fn reload(&self, config: &str) {
        std::fs::write(self.config_file(), with_port(config)).unwrap();
        self.signal(Signal::HUP);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.child.wait().unwrap()
    }

    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            let log = self.log();
            assert!(began.elapsed() < PATIENCE, "never: {what}\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All series, in the text format.
    pub(crate) fn scrape(&self) -> Series {
        Series::parse(&self.text())
    }

    /// What a scrape in the text format brings.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.get("text/plain;version=0.0.4")).unwrap()
    }

    /// The body of /metrics in the wanted format.
    pub(crate) fn get(&self, accept: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET /metrics HTTP/1.0\r\nhost: x\r\naccept: {accept}\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let body = answer.split_off(end.unwrap() + 4);
        let head = String::from_utf8(answer).unwrap();
        assert!(head.contains(" 200 "), "{head}");
        body
    }
}

fn listening(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("watching metrics=http://")?;
    rest.split_once("/metrics")?.0.parse().ok()
}
