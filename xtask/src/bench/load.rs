//! Blocking sends over loopback, sender and receiver on one processor.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow};
use rustix::{
    net::sockopt::set_socket_linger,
    time::{ClockId, clock_gettime},
};

use super::machine::pin;

/// What the receiver takes at once.
const CHUNK: usize = 256 << 10;

/// What a run of sends took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// Processor time of sender and receiver for each send. What other processes do in between is
    /// not in it, which makes it the better figure on a machine that is not idle.
    pub cpu_ns: f64,
    /// Time by the clock for each send.
    pub wall_ns: f64,
}

/// Sends `sends` times `bytes`, all on one new connection.
pub(crate) fn send(sends: u32, bytes: usize, processor: usize) -> Result<Took> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listening")?;
    let address = listener.local_addr()?;
    let receiver = thread::spawn(move || receive(&listener, processor));
    let sender = thread::spawn(move || -> Result<(f64, f64)> {
        pin(None, processor)?;
        let mut stream = TcpStream::connect(address).context("connecting")?;
        // No connection is left in TIME_WAIT.
        set_socket_linger(&stream, Some(std::time::Duration::ZERO))?;
        let data = vec![7; bytes];
        for _ in 0..(sends / 20).max(10) {
            stream.write_all(&data)?;
        }
        let (cpu, begun) = (process_ns(), Instant::now());
        for _ in 0..sends {
            stream.write_all(&data)?;
        }
        let took = (process_ns() - cpu, begun.elapsed().as_nanos() as f64);
        stream.shutdown(Shutdown::Write)?;
        // The receiver's end closes first, so that no unread data is reset away.
        let _ = stream.read(&mut [0]);
        Ok(took)
    });
    let (cpu, wall) = join(sender)?;
    join(receiver)?;
    let sends = f64::from(sends);
    Ok(Took {
        cpu_ns: cpu / sends,
        wall_ns: wall / sends,
    })
}

fn receive(listener: &TcpListener, processor: usize) -> Result<()> {
    pin(None, processor)?;
    let (mut stream, _) = listener.accept().context("accepting")?;
    let mut chunk = vec![0; CHUNK];
    while stream.read(&mut chunk).context("receiving")? > 0 {}
    Ok(())
}

fn join<T>(thread: thread::JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a load thread died"))?
}

/// Processor time of all threads of this process.
fn process_ns() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
