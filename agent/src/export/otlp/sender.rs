//! Takes requests from the queue and sends them in order, one at a time, until each is accepted,
//! refused or too old.

use std::sync::Arc;

use hyper::header::HeaderMap;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::config::Settings;
use super::connection::Connection;
use super::queue::{Queue, Waiting};
use super::report::Report;
use crate::client::pause::Pause;
use crate::metrics::ExportCounts;

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
