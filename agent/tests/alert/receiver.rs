//! An HTTP receiver on threads that does as it is told and remembers what it got.

use std::collections::VecDeque;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value as Json;

/// What to do with a request that was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Answer with this status, these header lines and this body.
    Say(u16, &'static str, &'static str),
    /// Close without an answer.
    Close,
    /// Promise a longer body than there is, and close.
    Cut(u16),
    /// Say nothing for a long time.
    Hang,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Request line and headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: Json,
    pub(crate) act: Act,
}

impl Seen {
    /// The alerts in it, of either format.
    pub(crate) fn alerts(&self) -> &[Json] {
        let list = self.body.get("alerts").unwrap_or(&self.body);
        list.as_array().unwrap()
    }
}

#[derive(Default)]
struct Shared {
    acts: Mutex<VecDeque<Act>>,
    seen: Mutex<Vec<Seen>>,
    stop: AtomicBool,
}

/// Ends when dropped: its port is closed then.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accept: Option<JoinHandle<()>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), None)
    }

    pub(crate) fn on(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let inner = shared.clone();
        let accept = thread::spawn(move || {
            for stream in listener.incoming() {
                if inner.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), inner, tls) = (stream, inner.clone(), tls.clone()) else {
                    continue;
                };
                thread::spawn(move || match tls {
                    None => serve(stream, &inner),
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        serve(StreamOwned::new(connection, stream), &inner);
                    }
                });
            }
        });
        Self {
            address,
            shared,
            accept: Some(accept),
        }
    }

    /// What to do with the next requests; afterwards all are answered 200.
    pub(crate) fn then(&self, acts: impl IntoIterator<Item = Act>) {
        self.shared.acts.lock().unwrap().extend(acts);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// All alerts that were answered 200, as `name:status`, in order.
    pub(crate) fn taken(&self) -> Vec<String> {
        let seen = self.seen();
        let taken = seen
            .iter()
            .filter(|seen| matches!(seen.act, Act::Say(200, ..)));
        taken
            .flat_map(Seen::alerts)
            .map(|alert| {
                let name = alert["labels"]["alertname"].as_str().unwrap();
                format!("{name}:{}", alert["status"].as_str().unwrap_or("-"))
            })
            .collect()
    }

    /// Waits until `done`, for a minute at most.
    pub(crate) fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        until(what, || done(self), || format!("{:?}", self.seen()));
    }
}

/// Waits until `done`, for a minute at most.
pub(crate) fn until(what: &str, done: impl Fn() -> bool, told: impl Fn() -> String) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "{what}: {}",
            told()
        );
        thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(accept) = self.accept.take() {
            accept.join().unwrap();
        }
    }
}

fn serve<S: Read + Write>(stream: S, shared: &Shared) {
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = request(&mut stream) {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let act = shared.acts.lock().unwrap().pop_front();
        let act = act.unwrap_or(Act::Say(200, "", ""));
        let body = serde_json::from_slice(&body).unwrap();
        let act_seen = act.clone();
        shared.seen.lock().unwrap().push(Seen {
            head,
            body,
            act: act_seen,
        });
        let out = stream.get_mut();
        match act {
            Act::Say(status, headers, text) => {
                let length = text.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{text}"
                );
                if out
                    .write_all(answer.as_bytes())
                    .and_then(|()| out.flush())
                    .is_err()
                {
                    return;
                }
            }
            Act::Cut(status) => {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 100\r\n\r\nhalf");
                drop(out.write_all(answer.as_bytes()).and_then(|()| out.flush()));
                return;
            }
            Act::Close => return,
            Act::Hang => thread::sleep(Duration::from_secs(30)),
        }
    }
}

fn request(stream: &mut impl std::io::BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        head.push_str(&format!("{}:{}", name.to_lowercase(), value));
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length?.trim().parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}
