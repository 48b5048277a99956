//! What is exported, scrape by scrape, and the rules over it.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Groups with the same rules. Prometheus evaluates each at another part of the second, so at least
/// one does not meet the scrape.
pub(crate) const SLOTS: [&str; 4] = ["a", "b", "c", "d"];

/// Every scrape is one step of the course.
pub(crate) struct Exporter {
    pub(crate) address: SocketAddr,
    pub(crate) scrapes: Arc<AtomicU64>,
}

/// Serves until the end of the process.
pub(crate) fn serve() -> Exporter {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let exporter = Exporter {
        address: listener.local_addr().unwrap(),
        scrapes: Arc::default(),
    };
    let scrapes = Arc::clone(&exporter.scrapes);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = answer(stream, &scrapes);
        }
    });
    exporter
}

fn answer(mut stream: TcpStream, scrapes: &AtomicU64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let body = text(scrapes.fetch_add(1, Ordering::SeqCst) + 1);
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// What counters start with: near zero, rates of Prometheus 2.42 are not those of 3.14.
const FAR_FROM_ZERO: u64 = 10_000;

/// Levels that rise and fall with different periods, counters that start again, a series that
/// comes and goes, one that is new after each six steps, a histogram.
fn text(step: u64) -> String {
    let mut out = format!("beside_scrape {step}\n");
    for (service, period) in [("web", 7), ("db", 11), ("cache", 16)] {
        let level = if step % period > period / 2 {
            period
        } else {
            0
        };
        let _ = writeln!(out, "beside_level{{service=\"{service}\"}} {level}");
        let count = FAR_FROM_ZERO + step % (period * 3) * period;
        let _ = writeln!(
            out,
            "beside_requests_total{{service=\"{service}\"}} {count}"
        );
    }
    if step % 13 < 8 {
        let _ = writeln!(out, "beside_passing {}", step % 5);
    }
    let _ = writeln!(out, "beside_version{{version=\"{}\"}} 1", step / 6);
    let slow = FAR_FROM_ZERO + step / 10 * 10 + if step / 10 % 2 == 1 { step % 10 * 5 } else { 0 };
    for (bound, count) in [
        ("0.1", step * 20),
        ("0.5", step * 20 + slow),
        ("+Inf", step * 21 + slow),
    ] {
        let _ = writeln!(out, "beside_seconds_bucket{{le=\"{bound}\"}} {count}");
    }
    out
}

/// The rule file: the same group for every slot.
pub(crate) fn rules() -> String {
    let groups = SLOTS.map(|slot| GROUP.replace("SLOT", slot));
    format!("groups:\n{}", groups.concat())
}

/// The scrape that is seen is recorded first and last: if they differ, samples came in between.
const GROUP: &str = r#"
- name: slot-SLOT
  interval: 1s
  rules:
  - {record: "beside:clock", expr: "time()", labels: {slot: SLOT}}
  - {record: "beside:seen_first", expr: beside_scrape, labels: {slot: SLOT}}
  - {record: "service:beside_requests:rate5s", expr: "rate(beside_requests_total[5s])", labels: {slot: SLOT}}
  - {alert: Level, expr: beside_level > 0, labels: {slot: SLOT, severity: page}}
  - {alert: LevelLater, expr: beside_level > 0, for: 3s, labels: {slot: SLOT}}
  - {alert: LevelKept, expr: beside_level > 0, for: 1s, keep_firing_for: 2s, labels: {slot: SLOT}}
  - {alert: Absent, expr: absent(beside_passing), for: 1s, labels: {slot: SLOT}}
  - {alert: Passing, expr: beside_passing > 0, for: 2s, labels: {slot: SLOT}}
  - {alert: Version, expr: beside_version, for: 4s, labels: {slot: SLOT}}
  - {alert: Recorded, expr: 'service:beside_requests:rate5s{slot="SLOT"} > 8', for: 2s, labels: {slot: SLOT}}
  - {alert: StartedAgain, expr: "resets(beside_requests_total[8s]) > 0", labels: {slot: SLOT}}
  - {alert: Slow, expr: "histogram_quantile(0.9, sum by (le) (rate(beside_seconds_bucket[6s]))) > 0.2", for: 1s, labels: {slot: SLOT}}
  - {alert: Banded, expr: beside_passing >= 0, labels: {slot: SLOT, band: '{{ if gt $value 2.0 }}high{{ else }}low{{ end }}'}}
  - {alert: ManyAlerts, expr: 'count(ALERTS{slot="SLOT",alertname="Level",alertstate="firing"}) > 1', for: 1s, labels: {slot: SLOT}}
  - {alert: Since, expr: 'time() - ALERTS_FOR_STATE{slot="SLOT",alertname="LevelLater"} > 2', labels: {slot: SLOT}}
  - {alert: Joined, expr: "beside_level > on (service) rate(beside_requests_total[4s])", for: 1s, labels: {slot: SLOT}}
  - {alert: Earlier, expr: "beside_level offset 3s > 0 unless beside_level > 0", labels: {slot: SLOT}}
  - {alert: Peak, expr: "max_over_time(rate(beside_requests_total[3s])[10s:1s]) > 15", for: 2s, labels: {slot: SLOT}}
  - {record: "beside:seen_last", expr: beside_scrape, labels: {slot: SLOT}}
"#;
