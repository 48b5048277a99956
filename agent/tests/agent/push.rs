//! OTLP receivers that are away or misbehave: the agent goes on, counts, and says so seldom.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::receiver::Receiver;
use crate::running::Agent;
use crate::series::Series;

const INTERVAL: Duration = Duration::from_secs(1);

fn config(address: std::net::SocketAddr) -> String {
    format!(
        "[otlp]\nendpoint = 'http://{address}'\nprotocol = 'http'\ngzip = false\n\
         interval_seconds = 1\nretry_seconds = 3\nconnect_timeout_seconds = 1\ntimeout_seconds = 1\n"
    )
}

fn points(series: &Series, outcome: &str) -> f64 {
    series.one("weir_otlp_points_total", &[("outcome", outcome)])
}

/// Lines about the export.
fn said(agent: &Agent) -> Vec<String> {
    let log = agent.log();
    let lines = log.lines().filter(|line| line.contains("OTLP export"));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_receiver_that_is_away_and_comes_back() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut agent = Agent::start(&config(gone));
    let began = Instant::now();
    agent.until("points are given up", |agent| {
        points(&agent.scrape(), "dropped") > 0.0
    });
    let series = agent.scrape();
    assert!(series.one("weir_otlp_requests_total", &[("outcome", "failed")]) > 0.0);
    assert_eq!(points(&series, "sent"), 0.0);
    let lines = said(&agent);
    let intervals = began.elapsed().as_secs() / INTERVAL.as_secs() + 2;
    assert!(
        !lines.is_empty() && lines.len() as u64 <= intervals,
        "{lines:#?}"
    );
    assert!(lines[0].contains(&gone.to_string()), "{lines:#?}");

    let receiver = Receiver::start_at(gone, vec![]);
    agent.until("it is sent", |agent| points(&agent.scrape(), "sent") > 0.0);
    agent.until("it is said", |agent| agent.log().contains("works again"));
    assert!(receiver.requests() > 0);
}

#[test]
fn answers_of_all_kinds() {
    let receiver = Receiver::start(vec![
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nno!",
        "\u{1}\u{2}garbage that is no HTTP\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\ngarbage",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    ]);
    let mut agent = Agent::start(&config(receiver.address));
    let began = Instant::now();
    agent.until("all was answered", |_| receiver.is_done());
    agent.until("it is sent", |agent| points(&agent.scrape(), "sent") > 0.0);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(2),
        "the wait of 2 s was not kept: {took:?}"
    );
    let series = agent.scrape();
    // 400 is for good.
    assert!(points(&series, "dropped") > 0.0);
    assert!(series.one("weir_otlp_requests_total", &[("outcome", "failed")]) >= 4.0);
    let lines = said(&agent);
    let intervals = took.as_secs() / INTERVAL.as_secs() + 3;
    assert!(lines.len() as u64 <= 2 * intervals, "{lines:#?}");
}
