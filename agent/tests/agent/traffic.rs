//! Traffic on loopback: a server in the test, and clients that are this program under other names.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

const TASK: &str = "WEIR_TEST_TASK";

/// What the server does with a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serve {
    /// Closes it.
    Close,
    /// Keeps it open.
    Keep,
    /// Reads to the end and closes.
    Read,
}

/// Accepts connections until the test ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    accepted: Arc<AtomicU64>,
}

impl Server {
    pub(crate) fn start(serve: Serve) -> Self {
        allow_descriptors();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // The library's 128 would make floods wait for their requests to be sent again.
        rustix::net::listen(&listener, 4096).unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicU64::new(0));
        let count = accepted.clone();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                match serve {
                    Serve::Close => {}
                    Serve::Keep => kept.push(stream),
                    Serve::Read => {
                        let _ = std::io::copy(&mut stream, &mut std::io::sink());
                    }
                }
            }
        });
        Self { address, accepted }
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

/// This program under names of the test's choice, and therefore services of these names.
pub(crate) struct Names(TempDir);

impl Names {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    fn program(&self, name: &str) -> PathBuf {
        let file = self.0.path().join(name);
        if !file.exists() {
            std::fs::hard_link(std::env::current_exe().unwrap(), &file).unwrap();
        }
        file
    }

    /// Starts a client. `task` is what it does: see [`client`].
    pub(crate) fn start(&self, name: &str, server: &Server, task: &str) -> Client {
        let mut child = Command::new(self.program(name))
            .args(["--exact", "traffic::client", "--ignored", "--nocapture"])
            .env(TASK, format!("{} {task}", server.address))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Client { child, stdin }
    }

    /// Starts a client and waits for its end.
    pub(crate) fn run(&self, name: &str, server: &Server, task: &str) {
        self.start(name, server, task).join();
    }
}

/// A running client; ends with this value.
pub(crate) struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Client {
    /// Waits for the end of what it does.
    pub(crate) fn join(mut self) {
        self.stdin = None;
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn allow_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// Not a test: what a client runs. Its task is one of
/// - `send CONNECTIONS WRITES BYTES`: opens connections one after the other and writes to each;
/// - `rename COUNT PREFIX`: connects under a new command name each time;
/// - `hold COUNT`: opens connections and keeps them until its stdin is closed.
#[test]
#[ignore = "what clients run"]
fn client() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let words: Vec<&str> = task.split(' ').collect();
    let address: SocketAddr = words[0].parse().unwrap();
    let number = |at: usize| words[at].parse::<usize>().unwrap();
    match words[1] {
        "send" => (0..number(2)).for_each(|_| send(address, number(3), number(4))),
        "rename" => {
            // The name of the thread-group leader, whatever thread this is.
            let mut name = File::options().write(true).open("/proc/self/comm").unwrap();
            for turn in 0..number(2) {
                let comm = format!("{}{turn}", words[3]);
                name.write_all(comm.as_bytes()).unwrap();
                abort(TcpStream::connect(address).unwrap());
            }
        }
        "hold" => {
            allow_descriptors();
            let open: Vec<_> = (0..number(2))
                .map(|_| TcpStream::connect(address))
                .collect();
            let mut end = Vec::new();
            std::io::stdin().read_to_end(&mut end).unwrap();
            open.into_iter().flatten().for_each(abort);
        }
        other => panic!("{other}"),
    }
}

fn send(address: SocketAddr, writes: usize, bytes: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    let data = vec![b'x'; bytes];
    for _ in 0..writes {
        stream.write_all(&data).unwrap();
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Closes by a reset, so that no port waits for late segments.
fn abort(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}
