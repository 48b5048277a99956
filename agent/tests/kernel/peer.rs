//! A child process with sockets in a network namespace that does as it is told, line by line.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::traffic::Traffic;

/// Says that a process is a peer.
const PEER: &str = "WEIR_TRUTH_PEER";
/// Begins each answer; other lines are for people.
const ANSWER: &str = "= ";

/// A child and the pipes to it.
pub(crate) struct Peer {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStderr>,
    link: PathBuf,
    /// Name of its executable, which no other process has: its service.
    pub(crate) service: String,
}

impl Peer {
    /// Starts a child in a namespace; in the test's own if the name is empty.
    pub(crate) fn new(role: &str, space: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let exe = std::env::current_exe().unwrap();
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let service = format!("{role}-{}-{n}", std::process::id());
        let link = exe.with_file_name(&service);
        let _ = fs::remove_file(&link);
        fs::hard_link(&exe, &link).unwrap();
        // Entered before it starts: a thread of the harness would enter for itself alone.
        let mut command = Command::new(&link);
        if !space.is_empty() {
            command = Command::new("ip");
            command.args(["netns", "exec", space]).arg(&link);
        }
        let mut child = command
            .args([
                "--exact",
                "peer::a_peer_does_as_it_is_told",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(PEER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            commands: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stderr.take().unwrap()),
            child,
            link,
            service,
        }
    }

    /// Gives a command without waiting for its answer.
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    /// Waits for the answer to the oldest command that has none.
    pub(crate) fn answer(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = self.answers.read_line(&mut line).unwrap();
            assert!(read > 0, "{} is gone", self.service);
            match line.strip_prefix(ANSWER) {
                Some(answer) => return answer.trim().to_owned(),
                None => print!("{}: {line}", self.service),
            }
        }
    }

    /// Gives a command and waits for the answer.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.tell(command);
        self.answer()
    }

    /// The same for an answer that is a number.
    pub(crate) fn number(&mut self, command: &str) -> u64 {
        let answer = self.ask(command);
        answer
            .parse()
            .unwrap_or_else(|_| panic!("{command}: {answer}"))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.link);
    }
}

/// Where a child begins; in a test run of its own it asks a child for an answer.
#[test]
fn a_peer_does_as_it_is_told() {
    if std::env::var_os(PEER).is_none() {
        let mut peer = Peer::new("peer", "");
        let port = peer.number("listen 0");
        assert_eq!(peer.ask(&format!("connect 127.0.0.1 {port}")), "0");
        assert_eq!(peer.ask("accept"), "1");
        assert_eq!(peer.ask("send 0 1000 100"), "ok");
        assert_eq!(peer.ask("receive 1 1000"), "ok");
        return;
    }
    let mut traffic = Traffic::default();
    // The parent's end of the pipe closes when it dies.
    for line in std::io::stdin().lines() {
        let answer = traffic.obey(&line.unwrap());
        eprintln!("{ANSWER}{answer}");
    }
    std::process::exit(0);
}
