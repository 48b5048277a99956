//! A link that can be cut: connections stay, bytes do not pass.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Between two looks at a cut link.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) struct Relay {
    address: SocketAddr,
    is_cut: Arc<AtomicBool>,
    /// Threads end when the test does.
    is_over: Arc<AtomicBool>,
}

impl Relay {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            is_cut: Arc::default(),
            is_over: Arc::default(),
        };
        let (is_cut, is_over) = (Arc::clone(&relay.is_cut), Arc::clone(&relay.is_over));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                let ways = [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server, client),
                ];
                for (from, to) in ways {
                    let (is_cut, is_over) = (Arc::clone(&is_cut), Arc::clone(&is_over));
                    thread::spawn(move || carry(from, to, &is_cut, &is_over));
                }
            }
        });
        relay
    }

    /// The stream through the link.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/live/demo/master.m3u8", self.address)
    }

    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the one that accepts.
        let _refused = TcpStream::connect(self.address);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool, is_over: &AtomicBool) {
    let mut chunk = [0; 16 * 1024];
    loop {
        let length = from.read(&mut chunk).unwrap_or(0);
        while is_cut.load(Ordering::Relaxed) && !is_over.load(Ordering::Relaxed) {
            thread::sleep(LOOK);
        }
        if length == 0 || to.write_all(&chunk[..length]).is_err() {
            let _gone = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
    }
}
