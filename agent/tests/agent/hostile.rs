//! Clients that do what they should not, while traffic runs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::running::Agent;
use crate::traffic::{Names, Serve, Server};

const LONG: Duration = Duration::from_secs(4);

/// One connection of a client with bad manners.
fn misbehave(address: SocketAddr, turn: u64) {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    let garbage: Vec<u8> = (0..turn % 4096).map(|i| (i * turn % 251) as u8).collect();
    let request: Vec<u8> = match turn % 8 {
        0 => garbage,
        1 => b"GET /metrics HTTP/1.1\r\nhost: x\r\n".to_vec(),
        2 => [
            b"GET /metrics HTTP/1.1\r\nx: ".to_vec(),
            vec![b'a'; 200_000],
        ]
        .concat(),
        3 => b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999999\r\n\r\n".to_vec(),
        4 => b"GET /metrics HTTP/1.1\r\nhost: x\r\naccept: \xff\xfe;q=9e999,,;;\r\n\r\n".to_vec(),
        // Goes away before the answer is written.
        5 => b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(3),
        6 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\xff\x04\0\0\0\0\0".to_vec(),
        _ => b"GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
    };
    let _ = stream.write_all(&request);
    if !turn.is_multiple_of(3) {
        let _ = stream.read(&mut [0; 1000]);
    }
}

#[test]
fn no_client_makes_the_agent_panic_or_stop() {
    let names = Names::new();
    let server = Server::start(Serve::Close);
    let mut agent = Agent::start("");
    let address = agent.address;
    let traffic = names.start("hostile-flood", &server, "rename 20000 h");
    let began = Instant::now();
    std::thread::scope(|scope| {
        for start in 0..6 {
            scope.spawn(move || {
                for turn in (start..).step_by(6) {
                    if began.elapsed() > LONG {
                        break;
                    }
                    misbehave(address, turn);
                }
            });
        }
    });
    traffic.join();
    let series = agent.scrape();
    assert!(series.sum("weir_tcp_connections_total", &[("outcome", "opened")]) >= 20_000.0);
    let log = agent.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(log.lines().count() < 60, "{log}");
    let status = agent.end(rustix::process::Signal::TERM);
    assert_eq!(status.code(), Some(0), "{}", agent.log());
}
