//! One of the processes that hold connections and send.

use std::{
    io::{ErrorKind, Read as _, Write as _, stdin, stdout},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::net::sockopt::set_socket_linger;

use crate::bench::machine::pin;

/// Bytes of a send.
const SEND: usize = 256;
/// The rate is kept by bursts this far apart.
const BEAT: Duration = Duration::from_millis(1);

/// What a worker is to do.
#[derive(clap::Args)]
pub(crate) struct Worker {
    /// Connections; both ends are here
    connections: usize,
    /// Sends a second over all of them
    rate: u32,
    /// Processor to stay on
    processor: usize,
}

#[derive(Default)]
struct Shared {
    sending: AtomicBool,
    stop: AtomicBool,
    sends: AtomicU64,
}

/// Both ends of a connection.
type Pair = (TcpStream, TcpStream);

/// Works until stdin ends.
pub(crate) fn run(worker: &Worker) -> Result<()> {
    pin(None, worker.processor)?;
    let mut pairs = connect(worker.connections)?;
    let shared = Arc::new(Shared::default());
    let seen = shared.clone();
    thread::spawn(move || obey(&seen));
    send(&mut pairs, f64::from(worker.rate), &shared)
}

/// Answers each command with the number of sends, and the start with none.
fn obey(shared: &Shared) {
    let mut command = [0];
    let mut going = Ok(());
    while going.is_ok() {
        let sends = shared.sends.load(Ordering::Relaxed);
        let mut out = stdout().lock();
        going = writeln!(out, "{sends}").and_then(|()| out.flush());
        going = going.and_then(|()| stdin().read_exact(&mut command));
        shared.sending.store(command == *b"+", Ordering::Relaxed);
    }
    shared.stop.store(true, Ordering::Relaxed);
}

fn connect(count: usize) -> Result<Vec<Pair>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening")?;
    let address = listener.local_addr()?;
    let pair = |_| {
        let near = TcpStream::connect(address).context("connecting")?;
        let (far, _) = listener.accept().context("accepting")?;
        for end in [&near, &far] {
            end.set_nonblocking(true)?;
            // No connection is left in TIME_WAIT.
            set_socket_linger(end, Some(Duration::ZERO))?;
        }
        Ok((near, far))
    };
    (0..count).map(pair).collect()
}

/// Sends round by round over all connections, as many on each beat as the rate asks for.
fn send(pairs: &mut [Pair], rate: f64, shared: &Shared) -> Result<()> {
    let data = [7; SEND];
    let (mut next, mut due) = (0, 0.0);
    let mut beat = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        thread::sleep(BEAT.saturating_sub(beat.elapsed()));
        let passed = beat.elapsed();
        beat = Instant::now();
        if !shared.sending.load(Ordering::Relaxed) {
            // Idle is idle: a beat a millisecond would keep the machine awake.
            thread::sleep(Duration::from_millis(50));
            beat = Instant::now();
            continue;
        }
        // What a late beat owes is made up for, but never more than ten beats.
        due += rate * passed.min(10 * BEAT).as_secs_f64();
        for _ in 0..due as u64 {
            exchange(&mut pairs[next], &data)?;
            next = (next + 1) % pairs.len();
        }
        shared.sends.fetch_add(due as u64, Ordering::Relaxed);
        due = due.fract();
    }
    Ok(())
}

/// Sends at one end and takes at the other: over loopback it is there when the send returns.
fn exchange((near, far): &mut Pair, data: &[u8]) -> Result<()> {
    let mut taken = [0; 4 * SEND];
    near.write_all(data).context("sending")?;
    match far.read(&mut taken) {
        Ok(0) => bail!("a connection was closed"),
        Err(why) if why.kind() != ErrorKind::WouldBlock => Err(why.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_about_what_was_asked_and_silence_is_silence() {
        let mut pairs = connect(20).unwrap();
        let shared = Arc::new(Shared::default());
        let seen = shared.clone();
        let sender = thread::spawn(move || send(&mut pairs, 2_000.0, &seen));
        thread::sleep(Duration::from_millis(200));
        assert_eq!(shared.sends.load(Ordering::Relaxed), 0);
        shared.sending.store(true, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(600));
        shared.stop.store(true, Ordering::Relaxed);
        sender.join().unwrap().unwrap();
        let sends = shared.sends.load(Ordering::Relaxed);
        assert!((100..2_000).contains(&sends), "{sends}");
    }
}
