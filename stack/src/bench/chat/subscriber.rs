//! A consumer that costs as little as it can: reads into memory shared by all, counts what comes by
//! its revisions or frames, and, one in some, looks into every item for its delay.

use std::cell::RefCell;
use std::io::Cursor;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::target::{Kind, Target};

/// Read at once.
const READ_BYTES: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Connects and shakes hands.
pub(super) async fn connect(target: &Target, path: &str) -> Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(target.address)
        .await
        .context("connecting")?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        target.address
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    loop {
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            if !answer.starts_with(b"HTTP/1.1 101") {
                bail!("not upgraded: {}", String::from_utf8_lossy(&answer));
            }
            answer.drain(..end + 4);
            // The first page went with the handshake; idle connections should not hold it.
            answer.shrink_to_fit();
            return Ok((stream, answer));
        }
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("closed during the handshake");
        }
    }
}

/// Reads until told to stop; records delays if it is one that looks.
pub(super) async fn run(
    stream: TcpStream,
    early: Vec<u8>,
    kind: Kind,
    shared: Shared,
    looks: bool,
    stop: CancellationToken,
) {
    let mut reader = Reader {
        kind,
        shared,
        rest: early,
        rev: None,
        looks,
    };
    reader.take(&[]);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            ready = stream.readable() => if ready.is_err() { break },
        }
        let more = SCRATCH.with_borrow_mut(|scratch| match stream.try_read(scratch) {
            Ok(0) => false,
            Ok(n) => {
                reader.take(scratch.get(..n).unwrap_or_default());
                true
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
        if !more {
            reader.shared.failed.store(true, Ordering::Relaxed);
            break;
        }
    }
}

struct Reader {
    kind: Kind,
    shared: Shared,
    /// Start of a frame whose end has not come.
    rest: Vec<u8>,
    rev: Option<u64>,
    looks: bool,
}

impl Reader {
    fn take(&mut self, bytes: &[u8]) {
        if self.rest.is_empty() {
            let used = self.scan(bytes);
            self.rest = bytes.get(used..).unwrap_or_default().to_vec();
        } else {
            let mut held = std::mem::take(&mut self.rest);
            held.extend_from_slice(bytes);
            let used = self.scan(&held);
            held.drain(..used);
            if !held.is_empty() {
                self.rest = held;
            }
        }
    }

    fn scan(&mut self, bytes: &[u8]) -> usize {
        let (mut at, mut items) = (0, 0);
        loop {
            let mut cursor = Cursor::new(bytes.get(at..).unwrap_or_default());
            let Ok(Some((header, length))) = FrameHeader::parse(&mut cursor) else {
                break;
            };
            let start = at + cursor.position() as usize;
            let Some(payload) = bytes.get(start..start + length as usize) else {
                break;
            };
            if header.opcode == OpCode::Data(Data::Text) {
                items += self.count(payload);
            }
            at = start + length as usize;
        }
        if items > 0 {
            self.shared.delivered.fetch_add(items, Ordering::Relaxed);
        }
        at
    }

    /// Number of items in a message.
    fn count(&mut self, payload: &[u8]) -> u64 {
        let items = match self.kind {
            Kind::Nchan => 1,
            Kind::Chat | Kind::Single => {
                let Some(rev) = payload.strip_prefix(b"{\"rev\":").and_then(leading_number) else {
                    // `hello` says where counting starts.
                    self.rev = self
                        .rev
                        .or_else(|| leading_number(payload.get(find(payload, b"\"rev\":")?..)?));
                    return 0;
                };
                let items = rev.saturating_sub(self.rev.unwrap_or(rev));
                self.rev = Some(rev);
                items
            }
        };
        if self.looks {
            let seen = self.look(payload);
            let missed = items.saturating_sub(seen);
            self.shared.missed.fetch_add(missed, Ordering::Relaxed);
        }
        items
    }

    /// Records the delay of every item: its `id` is when it was sent. Returns how many there are.
    fn look(&self, mut payload: &[u8]) -> u64 {
        let now = Instant::now()
            .saturating_duration_since(self.shared.started)
            .as_nanos() as u64;
        let mut delays = self.shared.delays();
        let mut seen = 0;
        while let Some(at) = find(payload, b"\"id\":\"") {
            payload = payload.get(at..).unwrap_or_default();
            seen += 1;
            if let Some(sent) = leading_number(payload)
                && sent >= self.shared.counted_from.load(Ordering::Relaxed)
            {
                delays.saturating_record(now.saturating_sub(sent));
            }
        }
        seen
    }
}

/// Where what follows `what` begins.
fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what).map(|at| at + what.len())
}

fn leading_number(bytes: &[u8]) -> Option<u64> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    let (mut number, mut any) = (0_u64, false);
    for digit in digits {
        number = number
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
        any = true;
    }
    any.then_some(number)
}
