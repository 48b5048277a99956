//! Two network namespaces with a pair of virtual interfaces between them.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "truth-";

/// Address of the first side.
pub(crate) const A: &str = "10.77.0.1";
/// Address of the second side.
pub(crate) const B: &str = "10.77.0.2";

/// Both namespaces; removed when dropped.
pub(crate) struct Network {
    /// Name of the first namespace.
    pub(crate) a: String,
    /// Name of the second.
    pub(crate) b: String,
}

impl Network {
    /// Makes both and connects them; removes what killed runs left.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        remove_orphans();
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("{PREFIX}{}-{n}{side}", std::process::id());
        let net = Self {
            a: name('a'),
            b: name('b'),
        };
        for space in [&net.a, &net.b] {
            run(&["ip", "netns", "add", space]);
            run(&["ip", "-n", space, "link", "set", "lo", "up"]);
        }
        run(&[
            "ip", "-n", &net.a, "link", "add", "v", "type", "veth", "peer", "name", "v", "netns",
            &net.b,
        ]);
        for (space, address) in [(&net.a, A), (&net.b, B)] {
            run(&[
                "ip",
                "-n",
                space,
                "addr",
                "add",
                &format!("{address}/24"),
                "dev",
                "v",
            ]);
            run(&["ip", "-n", space, "link", "set", "v", "up"]);
            // Neither the host's choice nor memory of earlier connections may change what happens.
            net.sysctl(space, "net/ipv4/tcp_congestion_control", "reno");
            net.sysctl(space, "net/ipv4/tcp_no_metrics_save", "1");
        }
        net
    }

    /// Sends each segment by itself, so that a rule sees segments.
    pub(crate) fn single_segments(&self) {
        for space in [&self.a, &self.b] {
            run(&[
                "ip",
                "-n",
                space,
                "link",
                "set",
                "dev",
                "v",
                "gso_max_segs",
                "1",
            ]);
        }
    }

    /// Sets a sysctl of a namespace.
    pub(crate) fn sysctl(&self, space: &str, key: &str, value: &str) {
        let write = format!("echo {value} > /proc/sys/{key}");
        run(&["ip", "netns", "exec", space, "sh", "-c", &write]);
    }

    /// Adds rules for what arrives in a namespace, one a line.
    pub(crate) fn rule(&self, space: &str, rule: &str) {
        let text = format!(
            "table inet truth {{\nchain c {{\ntype filter hook input priority 0\n{rule}\n}}\n}}\n"
        );
        feed(&["ip", "netns", "exec", space, "nft", "-f", "-"], &text);
    }

    /// Removes the rules of a namespace.
    pub(crate) fn clear(&self, space: &str) {
        run(&[
            "ip", "netns", "exec", space, "nft", "delete", "table", "inet", "truth",
        ]);
    }

    /// Limits the rate out of a namespace; what waits makes the round trip long.
    pub(crate) fn limit_rate(&self, space: &str, rate: &str) {
        run(&[
            "tc", "-n", space, "qdisc", "add", "dev", "v", "root", "tbf", "rate", rate, "burst",
            "1600", "limit", "4mb",
        ]);
    }

    /// The kernel's counters of a namespace since its beginning.
    pub(crate) fn counters(&self, space: &str) -> HashMap<String, u64> {
        let text = run(&["ip", "netns", "exec", space, "nstat", "-asz"]);
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        };
        text.lines().filter_map(line).collect()
    }

    /// What `ss` says of the established connections of a namespace with this peer's port or own
    /// port.
    pub(crate) fn sockets(&self, space: &str, port: u16) -> Vec<Socket> {
        let filter = format!("( sport = :{port} or dport = :{port} )");
        let text = run(&[
            "ip",
            "netns",
            "exec",
            space,
            "ss",
            "-tinH",
            "state",
            "established",
            &filter,
        ]);
        let mut sockets: Vec<Socket> = Vec::new();
        for line in text.lines() {
            if line.starts_with(char::is_whitespace) {
                if let Some(socket) = sockets.last_mut() {
                    socket.0.push_str(line);
                }
            } else {
                sockets.push(Socket(line.to_owned()));
            }
        }
        sockets
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for space in [&self.a, &self.b] {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}

/// One socket as `ss -ti` prints it.
#[derive(Clone, Debug)]
pub(crate) struct Socket(String);

impl Socket {
    /// Text of `name:value`; none if `ss` left it out, as it does with zeros.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let is_it = |word: &&str| word.strip_prefix(name).is_some_and(|v| v.starts_with(':'));
        let word = self.0.split_whitespace().find(is_it)?;
        Some(&word[name.len() + 1..])
    }

    /// A number; 0 if left out.
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name).map_or(0, |text| text.parse().unwrap())
    }

    /// A time in seconds, as in `busy:12ms`, `rwnd_limited:8ms(60.0%)`; 0 if left out.
    pub(crate) fn seconds(&self, name: &str) -> f64 {
        let Some(text) = self.text(name) else {
            return 0.0;
        };
        let text = text.split('(').next().unwrap();
        text.strip_suffix("ms")
            .unwrap_or(text)
            .parse::<f64>()
            .unwrap()
            / 1e3
    }

    /// Smoothed round-trip time in seconds.
    pub(crate) fn rtt(&self) -> f64 {
        let text = self.text("rtt").unwrap();
        text.split('/').next().unwrap().parse::<f64>().unwrap() / 1e3
    }
}

/// Runs a command to its end and gives what it printed.
pub(crate) fn run(command: &[&str]) -> String {
    feed(command, "")
}

/// The same with text on its standard input.
pub(crate) fn feed(command: &[&str], text: &str) -> String {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?} {text}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Removes namespaces of test processes that are gone.
fn remove_orphans() {
    let list = run(&["ip", "netns", "list"]);
    for name in list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another run may be doing the same.
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}
