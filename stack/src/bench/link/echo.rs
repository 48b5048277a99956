//! Echoes through a link (ICMP, RFC 792), timed to the nanosecond: ping(8) of Debian rounds to a
//! whole millisecond from 100 ms on, which is all that may be off.

use std::io;
use std::net::UdpSocket;
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use super::measure::SERVER;
use crate::link::namespace::inside;

/// Between two echoes.
const EVERY: Duration = Duration::from_millis(20);
/// An answer that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// Like the relay's own threads: what waits for a core here would count as the relay's error.
const NICE: i32 = -15;
/// The answer comes with its IP header (RFC 791), which has no options here.
const IP_HEADER: usize = 20;
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
const BYTES: usize = 64;
/// Where in the message the time of sending stands, behind type, code, checksum, id and number.
const SENT: std::ops::Range<usize> = 8..16;

/// Round-trip times of echoes in milliseconds, fifty a second. The far end's kernel answers.
pub(super) fn round_trips(namespace: &str, echoes: u32) -> Result<Vec<f64>> {
    let raw = inside(namespace, || {
        socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::ICMP))
            .context("a raw socket (needs CAP_NET_RAW)")
    })?;
    // Sends and receives; the kernel cares for no port here.
    let socket = UdpSocket::from(raw);
    socket
        .connect((SERVER, 0))
        .context("connecting to the far end")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let start = Instant::now();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&socket, start, echoes));
        for number in 0..echoes {
            let due = EVERY * number;
            thread::sleep(due.saturating_sub(start.elapsed()));
            socket
                .send(&request(number, start.elapsed()))
                .context("sending an echo")?;
        }
        receiver
            .join()
            .map_err(|_| anyhow!("the receiver of echoes panicked"))?
    })
}

/// How late this machine wakes a thread that sleeps for a millisecond, in milliseconds: no relay
/// that sleeps can do better.
pub(super) fn wakes(count: u32) -> Result<Vec<f64>> {
    let sleeper = thread::spawn(move || {
        hurry();
        let pause = Duration::from_millis(1);
        (0..count)
            .map(|_| {
                let start = Instant::now();
                thread::sleep(pause);
                millis(start.elapsed().saturating_sub(pause))
            })
            .collect()
    });
    sleeper.join().map_err(|_| anyhow!("the sleeper panicked"))
}

/// Both make times more exact; without the right to it they are less so.
fn hurry() {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let _ = rustix::process::setpriority_process(None, NICE);
}

fn receive(socket: &UdpSocket, start: Instant, echoes: u32) -> Result<Vec<f64>> {
    hurry();
    let mut times = Vec::new();
    let mut bytes = [0; IP_HEADER + BYTES];
    while times.len() < echoes as usize {
        match socket.recv(&mut bytes) {
            Ok(count) => {
                let now = start.elapsed();
                times.extend(
                    bytes
                        .get(..count)
                        .and_then(sent)
                        .map(|sent| millis(now.saturating_sub(sent))),
                );
            }
            // Nothing more comes; who asked counts.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error).context("receiving an echo"),
        }
    }
    Ok(times)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn request(number: u32, sent: Duration) -> [u8; BYTES] {
    let mut message = [0; BYTES];
    message[0] = ECHO;
    message[6..8].copy_from_slice(&(number as u16).to_be_bytes());
    message[SENT].copy_from_slice(&(sent.as_nanos() as u64).to_be_bytes());
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// When the request was sent that this packet answers; none if it is something else.
fn sent(packet: &[u8]) -> Option<Duration> {
    let message = packet.get(IP_HEADER..).filter(|rest| rest.len() == BYTES)?;
    let bytes = message.get(SENT)?.try_into().ok()?;
    (message.first() == Some(&ECHO_REPLY)).then(|| Duration::from_nanos(u64::from_be_bytes(bytes)))
}

/// RFC 1071: the complement of the sum in ones' complement, here of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_up_to_nothing_and_its_answer_says_when_it_was_sent() {
        let when = Duration::from_nanos(123_456_789);
        let mut message = request(7, when);
        assert_eq!(checksum(&message), 0);
        let packet = |message: &[u8]| [&[0; IP_HEADER], message].concat();
        assert_eq!(sent(&packet(&message)), None);
        message[0] = ECHO_REPLY;
        assert_eq!(sent(&packet(&message)), Some(when));
        assert_eq!(sent(&packet(&message[..32])), None);
    }
}
