//! Ten thousand who come at once, and many who say nothing.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::host::Origin;
use crate::media::ladder;

/// Who come.
const CONNECTS: usize = 10_000;
/// Who connect side by side.
const THREADS: usize = 4;
/// Above what anyone waits for on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many connections this process may have.
fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(CONNECTS as u64 + 1000);
    let raised = Rlimit {
        current: Some(most),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    CONNECTS.min((most as usize).saturating_sub(1000))
}

fn come(address: SocketAddr, count: usize, words: &str) -> Vec<TcpStream> {
    let come = || -> Vec<TcpStream> {
        let connect = |_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(words.as_bytes()).unwrap();
            stream
        };
        (0..count / THREADS).map(connect).collect()
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(come)).collect();
        let streams = threads.into_iter().map(|thread| thread.join().unwrap());
        streams.flatten().collect()
    })
}

fn metric(origin: &Origin, line: &str) -> u64 {
    let text = origin.get("/metrics").text();
    let value = text
        .lines()
        .find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

#[test]
fn ten_thousand_at_once_are_all_answered() {
    let Some(media) = ladder() else { return };
    let connects = raise_limit();
    if connects < CONNECTS {
        println!("SKIP {CONNECTS} connections: the limit of open files allows {connects}");
    }
    let origin = Origin::start(&media, "");
    let ask = "GET /live/demo/master.m3u8 HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut streams = come(origin.address, connects, ask);
    for stream in &mut streams {
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
    }
    assert_eq!(origin.get("/healthz").code, 200);
    let grown = metric(&origin, "process_resident_memory_bytes");
    assert!(grown < 1 << 30, "{grown} bytes for {connects} connections");
    drop(streams);
    origin.until("all to be gone", || {
        (metric(&origin, "http_connections") < 100).then_some(())
    });
    assert_eq!(origin.get("/live/demo/master.m3u8").code, 200);
}

#[test]
fn a_silent_crowd_shuts_out_nobody() {
    let Some(media) = ladder() else { return };
    let origin = Origin::start(&media, "connections = 100\n");
    let crowd = come(origin.address, 400, "");
    // Behind all of them in the kernel's queue.
    assert_eq!(origin.get("/live/demo/master.m3u8").code, 200);
    let crowded = metric(&origin, "http_connections_failed_total{reason=\"crowded\"}");
    assert!(crowded >= 200, "{crowded}");
    drop(crowd);
}
