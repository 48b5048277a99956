//! Measurements over a network of two nodes, `a` (10.92.1.1) and `b` (10.92.1.2).

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

use crate::link::command::output;
use crate::link::namespace::{command, inside};
use crate::link::network::Network;
use crate::up::service::{Plan, Service};

/// Address of `a`.
pub(super) const SERVER: &str = "10.92.1.1";
const CLIENT: &str = "10.92.1.2";
/// The socket's buffer while this process waits for a core.
const BUFFER_BYTES: usize = 16 << 20;
/// Nothing came for so long: all that will come has come.
const SILENCE: Duration = Duration::from_millis(500);

/// Bits per second of one TCP flow from `a` to `b`, as the receiver counts them.
pub(super) fn flow(network: &Network, seconds: u32) -> Result<f64> {
    let words = [
        "iperf3",
        "--server",
        "--one-off",
        "--bind",
        SERVER,
        "--forceflush",
    ];
    let log = tempfile::NamedTempFile::new().context("a file for iperf3's output")?;
    let plan = Plan {
        name: "iperf3".to_owned(),
        command: words.map(str::to_owned).to_vec(),
        namespace: Some(network.namespace("a")?.to_owned()),
        log: Some(log.path().to_owned()),
        output: None,
    };
    let server = Service::start(plan)?;
    for _ in 0..100 {
        if std::fs::read_to_string(log.path()).is_ok_and(|text| text.contains("listening")) {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let seconds = seconds.to_string();
    let client = [
        "--client",
        SERVER,
        "--reverse",
        "--json",
        "--time",
        &seconds,
    ];
    let text = output(command(network.namespace("b")?, "iperf3").args(client))
        .context("iperf3 (Debian package iperf3)")?;
    drop(server);
    let report: Value = serde_json::from_str(&text).context("iperf3's report")?;
    report["end"]["sum_received"]["bits_per_second"]
        .as_f64()
        .context("iperf3's report has no rate")
}

/// Sends numbered datagrams from `a` to `b` one by one and tells which came, in order of coming.
pub(super) fn datagrams(network: &Network, count: u64) -> Result<Vec<u64>> {
    let receiver = inside(network.namespace("b")?, || {
        Ok(UdpSocket::bind((CLIENT, 0))?)
    })?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, BUFFER_BYTES)
        .context("SO_RCVBUFFORCE")?;
    receiver.set_read_timeout(Some(SILENCE))?;
    let to = receiver.local_addr()?;
    let sender = inside(network.namespace("a")?, || {
        Ok(UdpSocket::bind((SERVER, 0))?)
    })?;
    let reader = thread::spawn(move || {
        let mut came = Vec::new();
        let mut bytes = [0; 8];
        while receiver.recv(&mut bytes).is_ok() {
            came.push(u64::from_be_bytes(bytes));
        }
        came
    });
    for number in 0..count {
        sender
            .send_to(&number.to_be_bytes(), to)
            .context("sending a datagram")?;
        if number % 20 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    reader
        .join()
        .map_err(|_| anyhow!("the reader of datagrams panicked"))
}
