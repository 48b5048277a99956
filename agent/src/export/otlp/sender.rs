//! Takes requests from the queue and sends them in order, one at a time, until each is accepted,
//! refused or too old.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderMap;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::config::Settings;
use super::connection::Connection;
use super::queue::{Queue, Waiting};
use super::report::Report;
use crate::metrics::ExportCounts;

/// First pause after a failure; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause of our own choice.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Longest pause that a receiver may ask for. It can ask again.
const MAX_ASKED: Duration = Duration::from_secs(3_600);

/// The sending half of the exporter.
pub(super) struct Sender {
    settings: Arc<Settings>,
    counts: Arc<ExportCounts>,
    report: Report,
    headers: HeaderMap,
    connection: Option<Connection>,
    /// Failures in a row that may pass.
    failures: u32,
}

impl Sender {
    pub(super) fn new(settings: Arc<Settings>, counts: Arc<ExportCounts>) -> Self {
        Self {
            report: Report::new(&settings, Arc::clone(&counts)),
            settings,
            counts,
            headers: HeaderMap::new(),
            connection: None,
            failures: 0,
        }
    }

    /// Sends until the queue is closed and empty.
    pub(super) async fn run(mut self, queue: &Queue, stop: &CancellationToken) {
        while let Some(next) = queue.take().await {
            if self.is_too_old(&next) {
                ExportCounts::add(&self.counts.otlp_dropped_points, next.request.points);
                queue.settle();
                continue;
            }
            let answer = self.attempt(&next).await;
            if let Some(pause) = self.settle(queue, &next, answer) {
                pause.wait(stop).await;
            }
        }
    }

    /// A first try is always made: a request may have waited long behind others.
    fn is_too_old(&self, next: &Waiting) -> bool {
        self.failures > 0 && next.since.elapsed() > self.settings.retry
    }

    /// One try. What fails before an answer may pass.
    async fn attempt(&mut self, next: &Waiting) -> Answer {
        self.read_headers();
        let mut connection = match self.connect().await {
            Ok(connection) => connection,
            Err(cause) => return Answer::no_answer(cause),
        };
        let body = next.request.body.clone();
        let exchange = connection.exchange(&self.settings, &self.headers, body);
        match timeout(self.settings.timeout, exchange).await {
            Ok((answer, is_reusable)) => {
                self.connection = is_reusable.then_some(connection);
                answer
            }
            Err(_) => Answer::no_answer(format!("no answer within {:?}", self.settings.timeout)),
        }
    }

    /// The last connection if it still works, else a new one.
    async fn connect(&mut self) -> Result<Connection, String> {
        let limit = self.settings.connect_timeout;
        let last = self.connection.take();
        let connect = async {
            if let Some(mut connection) = last
                && connection.is_ready().await
            {
                return Ok(connection);
            }
            Connection::open(&self.settings).await
        };
        match timeout(limit, connect).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err(format!("no connection within {limit:?}")),
        }
    }

    /// A headers file that cannot be read now leaves the headers as they were: it may be in the
    /// middle of a rotation.
    fn read_headers(&mut self) {
        match self.settings.headers.read() {
            Ok(headers) => self.headers = headers,
            Err(error) => self.report.warn(&format!("{error:#}")),
        }
    }

    /// Counts and logs the end of a try. Returns the pause before the next, if there is one.
    fn settle(&mut self, queue: &Queue, tried: &Waiting, answer: Answer) -> Option<Pause> {
        let points = tried.request.points;
        match answer {
            Answer::Accepted { rejected, warning } => {
                let rejected = rejected.min(points);
                ExportCounts::add(&self.counts.otlp_sent, 1);
                ExportCounts::add(&self.counts.otlp_points, points - rejected);
                ExportCounts::add(&self.counts.otlp_dropped_points, rejected);
                queue.settle();
                self.failures = 0;
                self.report.works();
                if let Some(warning) = warning {
                    self.report.warn(&warning);
                }
                None
            }
            Answer::Refused { cause } => {
                ExportCounts::add(&self.counts.otlp_failed, 1);
                ExportCounts::add(&self.counts.otlp_dropped_points, points);
                queue.settle();
                self.failures = 0;
                self.report.fails(&cause);
                None
            }
            Answer::Retry { after, cause } => {
                ExportCounts::add(&self.counts.otlp_failed, 1);
                queue.give_back();
                self.failures = self.failures.saturating_add(1);
                self.report.fails(&cause);
                Some(Pause::new(self.failures, after, fastrand::f64()))
            }
        }
    }
}

/// A wait before the next try.
struct Pause {
    length: Duration,
    is_asked: bool,
}

impl Pause {
    /// After the `failures`-th failure in a row. What the receiver asks for is kept, with up to a
    /// tenth more so that agents do not come back in step; else twice as long each time, with
    /// jitter over the upper half. `random` is in `0..1`.
    fn new(failures: u32, asked: Option<Duration>, random: f64) -> Self {
        if let Some(asked) = asked.filter(|asked| !asked.is_zero()) {
            return Self {
                length: asked.min(MAX_ASKED).mul_f64(1.0 + random / 10.0),
                is_asked: true,
            };
        }
        let doublings = failures.saturating_sub(1).min(16);
        let longest = FIRST_PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE);
        Self {
            length: longest.mul_f64(0.5 + random / 2.0),
            is_asked: false,
        }
    }

    /// A stop cuts a wait of our own choice short: the grace period is worth one more try.
    async fn wait(&self, stop: &CancellationToken) {
        if self.is_asked || stop.is_cancelled() {
            sleep(self.length).await;
            return;
        }
        tokio::select! {
            () = sleep(self.length) => {}
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(failures: u32, asked: Option<Duration>, random: f64) -> Duration {
        Pause::new(failures, asked, random).length
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(1, None, 0.0), second / 2);
        assert_eq!(pause(1, None, 1.0), second);
        assert_eq!(pause(3, None, 1.0), second * 4);
        for failures in [7, 40, u32::MAX] {
            assert_eq!(pause(failures, None, 1.0), MAX_PAUSE);
        }
    }

    #[test]
    fn a_receiver_is_left_alone_as_long_as_it_asks() {
        let asked = Duration::from_secs(90);
        assert_eq!(pause(9, Some(asked), 0.0), asked);
        assert_eq!(pause(9, Some(asked), 1.0), Duration::from_secs(99));
        assert!(pause(1, Some(Duration::MAX), 1.0) <= MAX_ASKED * 2);
        assert_eq!(pause(1, Some(Duration::ZERO), 1.0), FIRST_PAUSE);
    }
}
