//! What a page costs: writing it to the log, and the way to a webhook on this machine.
//!
//! `cargo run --release -p weir --example page -- DIR [PAGES]`; DIR is on the disk to measure.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement that cannot go on should say where"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use weir::alert::config::Alert;
use weir::alert::log::{Change, Limits, Log};
use weir::alert::page::{Page, Pairs, Status};
use weir::alert::paging::Paging;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().unwrap_or_else(|| "target/page".to_owned()));
    let pages = arguments.next().map_or(1_000, |text| text.parse().unwrap());
    measure_commits(&dir.join("commits"), pages);
    measure_full(&dir.join("full"));
    measure_way(&dir.join("way"), pages);
}

/// One transition a commit, as an immediate group makes them.
fn measure_commits(dir: &Path, pages: u64) {
    let limits = Alert::default().log_limits();
    let log = Log::open(dir, limits, Arc::default());
    let took = (0..pages).map(|number| {
        let began = Instant::now();
        log.commit_blocking(said([page(number)]));
        began.elapsed()
    });
    report("commit of one page", took.collect());
}

/// A log as full as it may be: its file, and how long a start takes.
fn measure_full(dir: &Path) {
    let limits: Limits = Alert::default().log_limits();
    let log = Log::open(dir, limits, Arc::default());
    for start in (0..40_000).step_by(500) {
        log.commit_blocking(said((start..start + 500).map(page)));
    }
    let held = log
        .counts()
        .bytes
        .load(std::sync::atomic::Ordering::Relaxed);
    drop(log);
    let file = std::fs::metadata(dir.join("alerts.redb")).unwrap().len();
    let began = Instant::now();
    drop(Log::open(dir, limits, Arc::default()));
    println!(
        "full log: {held} bytes held, file {file} bytes, opened in {:?}",
        began.elapsed()
    );
}

/// From the commit to the last byte of the request at the webhook.
fn measure_way(dir: &Path, pages: u64) {
    let (address, arrivals) = webhook();
    let text = format!("[[webhook]]\nname = 'w'\nurl = 'http://{address}/'\n");
    let mut config: Alert = toml::from_str(&text).unwrap();
    config.state_dir = dir.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let took = runtime.block_on(async {
        let paging = Paging::start(&config).unwrap();
        let mut registered = paging.log().watch();
        registered.changed().await.unwrap();
        let mut took = Vec::new();
        for number in 0..pages {
            let began = Instant::now();
            paging.log().commit(said([page(number)])).await;
            let arrived = loop {
                match arrivals.try_recv() {
                    Ok(arrived) => break arrived,
                    Err(_) => tokio::time::sleep(Duration::from_micros(200)).await,
                }
            };
            took.push(arrived.duration_since(began));
        }
        paging.stop().await;
        took
    });
    report("commit → webhook received", took);
}

fn webhook() -> (SocketAddr, Receiver<Instant>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (arrived, arrivals) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), &arrived);
        }
    });
    (address, arrivals)
}

fn serve(mut stream: std::net::TcpStream, arrived: &Sender<Instant>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.to_lowercase();
        if let Some(text) = line.strip_prefix("content-length:") {
            length = text.trim().parse().unwrap();
        }
        if line == "\r\n" {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            drop(arrived.send(Instant::now()));
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
        }
    }
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    println!(
        "{what}: {} times, p50 {:?}, p99 {:?}, max {:?}",
        took.len(),
        at(50),
        at(99),
        at(100)
    );
}

fn said(pages: impl IntoIterator<Item = Page>) -> Change {
    Change {
        pages: pages.into_iter().collect(),
        states: Vec::new(),
    }
}

fn page(number: u64) -> Page {
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let cause = "client receive window was zero for 81 % of the window; service web-frontend";
    Page {
        labels: Pairs::from([
            pair("alertname", "StallWithCause".to_owned()),
            pair("service", format!("service-{number}")),
            pair("severity", "page".to_owned()),
        ]),
        annotations: Pairs::from([
            pair("summary", cause.to_owned()),
            pair("cause", cause.to_owned()),
        ]),
        status: Status::Firing,
        at_ms: 1_700_000_000_000,
        starts_at_ms: 1_700_000_000_000,
        ends_at_ms: 1_700_000_240_000,
        generator_url: "http://node:9470/graph?g0.expr=up&g0.tab=1".to_owned(),
    }
}
