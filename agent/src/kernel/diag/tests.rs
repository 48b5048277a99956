//! Compares with `ss`, on sockets that the tests open; and feeds what no kernel sends.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

const ALL: usize = usize::MAX;

/// A connection whose sender had to wait for the window and that is quiet now.
struct Pair {
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    fn open(listen: &str, connect: IpAddr) -> Self {
        let listener = TcpListener::bind(listen).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect((connect, port)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let sender = thread::spawn(move || {
            client.write_all(&vec![7; 8 << 20]).unwrap();
            client
        });
        thread::sleep(Duration::from_millis(200));
        let mut buffer = vec![0; 8 << 20];
        server.read_exact(&mut buffer).unwrap();
        server.write_all(b"thanks").unwrap();
        let mut client = sender.join().unwrap();
        client.read_exact(&mut buffer[..6]).unwrap();
        // Until the last ACK is in, a clock runs.
        thread::sleep(Duration::from_millis(100));
        Self {
            listener,
            client,
            server,
        }
    }

    fn inodes(&self) -> [u64; 3] {
        let inode = |fd: std::os::fd::BorrowedFd<'_>| {
            File::from(fd.try_clone_to_owned().unwrap())
                .metadata()
                .unwrap()
                .ino()
        };
        [
            inode(self.listener.as_fd()),
            inode(self.client.as_fd()),
            inode(self.server.as_fd()),
        ]
    }
}

/// What `ss` says about a socket: its words, and those with a value by name.
struct Line {
    words: Vec<String>,
}

impl Line {
    fn text(&self, name: &str) -> Option<&str> {
        let value = |word: &'_ String| word.strip_prefix(name)?.strip_prefix(':').map(str::len);
        let word = self.words.iter().find(|word| value(word).is_some())?;
        Some(&word[name.len() + 1..])
    }

    /// A number; 0 if `ss` leaves it out, as it does with zeros.
    fn number(&self, name: &str) -> u64 {
        let text = self.text(name).unwrap_or("0");
        let end = text.find(|c: char| !c.is_ascii_digit());
        text[..end.unwrap_or(text.len())].parse().unwrap()
    }
}

/// Lines of `ss` by inode.
fn ss(command: &[&str]) -> HashMap<u64, Line> {
    let Output { status, stdout, .. } = Command::new(command[0])
        .args(&command[1..])
        .output()
        .unwrap();
    assert!(status.success(), "{command:?}");
    String::from_utf8(stdout)
        .unwrap()
        .lines()
        .map(|line| Line {
            words: line.split_whitespace().map(str::to_owned).collect(),
        })
        .map(|line| (line.number("ino"), line))
        .collect()
}

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("-V").output().is_ok();
    if !found {
        eprintln!("skipped: {tool} is not installed (Debian: iproute2)");
    }
    found
}

fn assert_same(socket: &DiagSocket, line: &Line) {
    let state = match socket.state {
        1 => "ESTAB",
        10 => "LISTEN",
        other => panic!("state {other}"),
    };
    assert_eq!(line.words[0], state);
    let address = |text: &str| -> SocketAddr {
        let address: SocketAddr = text.replace('*', "[::]").parse().unwrap();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    };
    assert_eq!(socket.local, address(&line.words[3]), "{:?}", line.words);
    if state == "ESTAB" {
        assert_eq!(socket.remote, address(&line.words[4]));
    }
    assert_eq!(
        Some(format!("{:x}", socket.cookie).as_str()),
        line.text("sk")
    );
    assert_eq!(u64::from(socket.uid), line.number("uid"));
    let counts = socket.counts;
    for (name, value) in [
        ("bytes_sent", counts.bytes_sent),
        ("bytes_acked", counts.bytes_acked),
        ("bytes_received", counts.bytes_received),
        ("bytes_retrans", counts.bytes_retransmitted),
        ("segs_out", counts.segments_out.into()),
        ("segs_in", counts.segments_in.into()),
        ("data_segs_out", counts.data_segments_out.into()),
        ("data_segs_in", counts.data_segments_in.into()),
        ("dsack_dups", counts.dsack_duplicates.into()),
        ("busy", counts.busy_us / 1000),
        ("rwnd_limited", counts.rwnd_limited_us / 1000),
        ("sndbuf_limited", counts.sndbuf_limited_us / 1000),
        ("notsent", counts.not_sent.into()),
        ("snd_wnd", counts.send_window.into()),
    ] {
        // Listening sockets keep other things in these places, and old versions of ss leave out
        // what they do not know.
        if state == "ESTAB" && (line.text(name).is_some() || name != "snd_wnd") {
            assert_eq!(value, line.number(name), "{name} {:?}", line.words);
        }
    }
}

fn assert_like_ss(pair: &Pair, netns: Option<&File>, command: &[&str]) {
    let dump = dump(netns, ALL).unwrap();
    assert_eq!((dump.left_out, dump.unreadable), (0, 0));
    let lines = ss(command);
    for inode in pair.inodes() {
        let mut found = dump.sockets.iter().filter(|socket| socket.inode == inode);
        assert_same(found.next().unwrap(), &lines[&inode]);
        assert_eq!(found.next(), None);
    }
    let [_, client, server] = pair.inodes();
    let counts = |inode| {
        let is_it = |socket: &&DiagSocket| socket.inode == inode;
        dump.sockets.iter().find(is_it).unwrap().counts
    };
    // What the test did, so that zeros on both sides do not pass.
    assert_eq!(counts(client).bytes_acked, (8 << 20) + 1);
    assert_eq!(counts(server).bytes_received, 8 << 20);
    assert_eq!(counts(server).bytes_acked, 6);
    let waited = counts(client).rwnd_limited_us + counts(client).sndbuf_limited_us;
    assert!(waited > 100_000, "{:?}", counts(client));
    assert!(counts(client).busy_us >= waited);
}

const SS: [&str; 2] = ["ss", "-tinaHOe"];

#[test]
fn sockets_of_this_namespace_are_those_of_ss() {
    if !has("ss") {
        return;
    }
    for (listen, connect) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
        ("[::]:0", "127.0.0.1"),
    ] {
        let pair = Pair::open(listen, connect.parse().unwrap());
        assert_like_ss(&pair, None, &SS);
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        match dump(Some(&own), ALL) {
            Ok(dump) => {
                let has = |inode| dump.sockets.iter().any(|socket| socket.inode == inode);
                assert!(pair.inodes().into_iter().all(has));
            }
            Err(error) => eprintln!("skipped: {error}"),
        }
    }
}

/// A network namespace of the test's own, removed when it ends.
struct Namespace(String);

impl Namespace {
    fn make() -> Option<Self> {
        let name = format!("weir-test-{}", std::process::id());
        let ip = |args: &[&str]| Command::new("ip").args(args).status().unwrap().success();
        if !has("ip") || !ip(&["netns", "add", &name]) {
            eprintln!("skipped: no network namespace may be made here");
            return None;
        }
        let namespace = Self(name);
        assert!(ip(&["-n", &namespace.0, "link", "set", "lo", "up"]));
        Some(namespace)
    }

    fn open(&self) -> File {
        File::open(format!("/run/netns/{}", self.0)).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

#[test]
fn sockets_of_another_namespace_are_those_of_ss_in_it() {
    let Some(namespace) = Namespace::make() else {
        return;
    };
    let file = namespace.open();
    let pair = thread::scope(|scope| {
        let inside = || {
            let kind = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(file.as_fd(), kind).unwrap();
            // The sender's thread stays inside too: threads inherit the namespace.
            Pair::open("127.0.0.1:0", "127.0.0.1".parse().unwrap())
        };
        scope.spawn(inside).join().unwrap()
    });
    let command = [&["ip", "netns", "exec", &namespace.0], &SS[..]].concat();
    assert_like_ss(&pair, Some(&file), &command);
    let here = dump(None, ALL).unwrap();
    let inodes = pair.inodes();
    assert!(
        !here
            .sockets
            .iter()
            .any(|socket| inodes.contains(&socket.inode))
    );
}

#[test]
fn what_is_no_namespace_is_an_error_and_no_panic() {
    let error = dump(Some(&File::open("/dev/null").unwrap()), ALL).unwrap_err();
    assert!(error.to_string().contains("cannot enter"), "{error}");
}

#[test]
fn memory_is_bounded() {
    let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dump = dump(None, 0).unwrap();
    assert!(dump.sockets.is_empty() && dump.left_out > 0);
}

#[test]
fn a_closed_socket_that_nobody_holds_has_no_inode_or_is_gone() {
    let pair = Pair::open("127.0.0.1:0", "127.0.0.1".parse().unwrap());
    let local = pair.client.local_addr().unwrap();
    drop(pair.client);
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let dump = dump(None, ALL).unwrap();
        if dump
            .sockets
            .iter()
            .all(|socket| socket.local != local || socket.inode == 0)
        {
            break;
        }
        assert!(Instant::now() < deadline);
    }
}

/// The bytes of a true answer of the kernel.
fn answer() -> &'static [u8] {
    static ANSWER: OnceLock<Vec<u8>> = OnceLock::new();
    ANSWER.get_or_init(|| {
        let _listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = open().unwrap();
        let request = request(AF_INET, SocketId::new_v4());
        rustix::net::send(&socket, &request, SendFlags::empty()).unwrap();
        let mut buffer = vec![0; BUFFER_BYTES];
        let (received, _) =
            rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()).unwrap();
        buffer.truncate(received);
        buffer
    })
}

#[test]
fn a_message_that_cannot_be_read_is_counted_and_those_after_it_are_read() {
    let mut whole = Dump::default();
    read(answer(), &mut whole, ALL).unwrap();
    assert!(!whole.sockets.is_empty() && whole.unreadable == 0);
    let mut bytes = answer().to_vec();
    // The family of the first message, right behind the header.
    bytes[HEADER_BYTES] = 99;
    let mut rest = Dump::default();
    read(&bytes, &mut rest, ALL).unwrap();
    assert_eq!(rest.unreadable, 1);
    assert_eq!(rest.sockets, whole.sockets[1..]);
}

#[test]
fn errors_of_the_kernel_are_told() {
    let mut bytes = vec![0; 36];
    bytes[0] = 36;
    bytes[4] = 2; // NLMSG_ERROR
    bytes[16..20].copy_from_slice(&(-2_i32).to_ne_bytes());
    let error = read(&bytes, &mut Dump::default(), ALL).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    bytes[4] = 3; // NLMSG_DONE
    let error = read(&bytes, &mut Dump::default(), ALL).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    bytes[16..20].fill(0);
    assert!(read(&bytes, &mut Dump::default(), ALL).unwrap());
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>) {
        let _ = read(&bytes, &mut Dump::default(), ALL);
    }

    #[test]
    fn any_change_of_an_answer_is_read(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        end in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = answer().to_vec();
        for (at, byte) in changes {
            // Most often in the first message, whose headers matter most.
            let at = at.index(bytes.len().min(400));
            bytes[at] = byte;
        }
        let _ = read(&bytes, &mut Dump::default(), ALL);
        let _ = read(&bytes[..end.index(bytes.len())], &mut Dump::default(), ALL);
    }
}
