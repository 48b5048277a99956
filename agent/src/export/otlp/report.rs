//! What the log says about the receiver: one line per interval while it fails, one when it works
//! again. All else is in the counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::config::Settings;
use crate::metrics::ExportCounts;

/// Keeps what was said last.
pub(super) struct Report {
    endpoint: String,
    interval: Duration,
    counts: Arc<ExportCounts>,
    last: Option<Instant>,
    failing_since: Option<Instant>,
    /// Whether the log has a failure that is not over yet.
    is_said: bool,
}

impl Report {
    pub(super) fn new(settings: &Settings, counts: Arc<ExportCounts>) -> Self {
        Self {
            endpoint: settings.endpoint.to_string(),
            interval: settings.interval,
            counts,
            last: None,
            failing_since: None,
            is_said: false,
        }
    }

    /// A try failed.
    pub(super) fn fails(&mut self, cause: &str) {
        self.failing_since.get_or_insert_with(Instant::now);
        self.is_said |= self.say(cause);
    }

    /// Something is wrong, but not with the receiver's acceptance as a whole.
    pub(super) fn warn(&mut self, cause: &str) {
        self.say(cause);
    }

    /// Returns whether it was time to.
    fn say(&mut self, cause: &str) -> bool {
        if self.last.is_some_and(|last| last.elapsed() < self.interval) {
            return false;
        }
        self.last = Some(Instant::now());
        let dropped = self.counts.otlp_dropped_points.load(Ordering::Relaxed);
        let waiting = self.counts.otlp_queue.load(Ordering::Relaxed);
        warn!(
            "OTLP export to {}: {cause} (requests waiting: {waiting}, points dropped so far: {dropped})",
            self.endpoint
        );
        true
    }

    /// A request was accepted.
    pub(super) fn works(&mut self) {
        let since = self.failing_since.take();
        if let Some(since) = since
            && std::mem::take(&mut self.is_said)
        {
            let dropped = self.counts.otlp_dropped_points.load(Ordering::Relaxed);
            info!(
                "OTLP export to {} works again after {:.1?} (points dropped so far: {dropped})",
                self.endpoint,
                since.elapsed()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use tracing::subscriber::with_default;

    use super::*;
    use crate::export::otlp::Otlp;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that the log gets while this is done to a report.
    fn lines(interval_seconds: f64, work: impl FnOnce(&mut Report)) -> Vec<String> {
        let config = Otlp {
            endpoint: "http://collector:4317".to_owned(),
            interval_seconds,
            ..Otlp::default()
        };
        let settings = Settings::new(&config).unwrap();
        let mut report = Report::new(&settings, Arc::default());
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        with_default(subscriber, || work(&mut report));
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_recovery_from_what_was_not_said_is_not_said() {
        let lines = lines(3_600.0, |report| {
            report.works();
            report.warn("rejected 3 points");
            report.fails("not said again so soon");
            report.works();
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
    }

    #[test]
    fn failures_are_said_once_per_interval_and_the_recovery_once() {
        let lines = lines(3_600.0, |report| {
            (0..5).for_each(|_| report.fails("HTTP 503"));
            report.works();
            report.works();
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("WARN"), "{lines:?}");
        assert!(
            lines[0].contains("http://collector:4317: HTTP 503"),
            "{lines:?}"
        );
        assert!(lines[1].contains("works again"), "{lines:?}");
    }

    #[test]
    fn a_failure_that_lasts_is_said_again() {
        let lines = lines(0.1, |report| {
            report.fails("one");
            std::thread::sleep(report.interval);
            report.fails("two");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}
