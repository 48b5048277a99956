//! The processes of `page`: services that send when told to, the sink, and the webhook. Each says a
//! port first, and ends with its stdin.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write, stdin, stdout},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::monotonic_ns;

/// Longest body that is read.
const MAX_BODY: usize = 16 << 20;

#[derive(clap::Args)]
pub(crate) struct Worker {
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Connects, and sends two segments for each line
    Service { to: SocketAddr },
    /// Takes whatever comes
    Sink { port: u16 },
    /// Says when each alert of a page came
    Webhook,
}

pub(crate) fn run(worker: &Worker) -> Result<()> {
    match &worker.task {
        Task::Service { to } => serve(*to),
        Task::Sink { port } => {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port))?;
            listen(listener, |mut stream| {
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            })
        }
        Task::Webhook => {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listen(listener, |stream| {
                let _ = answer(stream);
            })
        }
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    out.flush().context("nobody listens")
}

/// Two segments, so that the loss of both is found by a tail loss probe soon.
fn serve(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(to).context("connecting")?;
    stream.set_nodelay(true)?;
    // The round trip is known then.
    for _ in 0..10 {
        stream.write_all(&[7; 100])?;
        thread::sleep(std::time::Duration::from_millis(2));
    }
    say(&stream.local_addr()?.port().to_string())?;
    for line in stdin().lines() {
        line?;
        stream.write_all(&[7; 100])?;
        stream.write_all(&[7; 100])?;
    }
    Ok(())
}

/// Serves each connection on a thread of its own until stdin ends.
fn listen(listener: TcpListener, each: impl Fn(TcpStream) + Copy + Send + 'static) -> Result<()> {
    say(&listener.local_addr()?.port().to_string())?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || each(stream));
        }
    });
    let _ = stdin().read_to_end(&mut Vec::new());
    Ok(())
}

#[derive(Deserialize)]
struct Page {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    status: String,
    labels: std::collections::BTreeMap<String, String>,
}

/// Takes pages from one connection; each came when its last byte was there.
fn answer(stream: TcpStream) -> Result<()> {
    let mut out = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim().to_ascii_lowercase();
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse()?;
        }
        if !line.is_empty() {
            continue;
        }
        let mut body = vec![0; usize::min(length, MAX_BODY)];
        reader.read_exact(&mut body)?;
        let came = monotonic_ns();
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
        let page: Page = serde_json::from_slice(&body)?;
        for alert in page.alerts {
            let service = alert.labels.get("service").map_or("", String::as_str);
            say(&format!("{came} {} {service}", alert.status))?;
        }
    }
}
