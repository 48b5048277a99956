//! Publishes the looped ladder live, each part when an encoder would have it ready: at its end.
//! Numbers and times are those of the wall clock, so that a restarted origin goes on where it was.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::histogram::Histogram;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::daemon::Health;

use super::ladder::{PART_MS, Rung, SEGMENT_MS, SEGMENT_PARTS};
use super::stream::{Begin, Publisher, Streams};
use super::timeline::{Shape, Timeline};

/// Wall time that does not jump: read once, counted on by the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    at: Instant,
    unix_ms: u64,
}

impl Clock {
    /// From now on.
    pub(crate) fn start() -> Self {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            at: Instant::now(),
            unix_ms: unix.as_millis() as u64,
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.unix_ms + self.at.elapsed().as_millis() as u64
    }

    fn instant(&self, unix_ms: u64) -> Instant {
        self.at + Duration::from_millis(unix_ms.saturating_sub(self.unix_ms))
    }
}

/// All streams that loop one ladder.
#[derive(Debug)]
pub(crate) struct Looped {
    rungs: Arc<Vec<Rung>>,
    publishers: Vec<Publisher>,
    clock: Clock,
    /// The part that comes next.
    next: u64,
    window: Duration,
    late: Histogram,
    health: Health,
}

impl Looped {
    /// Begins streams with as much past as a playlist holds, so that players may join at once.
    pub(crate) fn begin(
        names: &[String],
        rungs: Vec<Rung>,
        window: Duration,
        streams: &Streams,
        late: Histogram,
        health: Health,
    ) -> Self {
        let clock = Clock::start();
        let mut looped = Self {
            rungs: Arc::new(rungs),
            publishers: Vec::new(),
            clock,
            next: clock.now_ms() / PART_MS,
            window,
            late,
            health,
        };
        looped.publishers = names.iter().map(|name| looped.publisher(name)).collect();
        for publisher in &looped.publishers {
            streams.show(Arc::clone(&publisher.stream));
        }
        looped
    }

    fn publisher(&self, name: &str) -> Publisher {
        let past = self.window.as_millis() as u64 / SEGMENT_MS + 1;
        let first = (self.next / SEGMENT_PARTS).saturating_sub(past) * SEGMENT_PARTS;
        let begin = self.rungs.iter().map(|rung| {
            let shape = Shape {
                target: Duration::from_millis(SEGMENT_MS),
                part_target: rung.longest(),
                window: self.window,
                // Media is shared with the ladder, which bounds it.
                bytes: usize::MAX,
            };
            let mut timeline = Timeline::new(shape, first / SEGMENT_PARTS);
            timeline.set_init(rung.init.clone());
            (first..self.next).for_each(|index| add(&mut timeline, rung, index));
            Begin {
                variant: rung.variant.clone(),
                independent: true,
                timeline,
            }
        });
        Publisher::new(name, self.clock.unix_ms, begin.collect())
    }

    /// Publishes until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            let due = self.clock.instant((self.next + 1) * PART_MS);
            if stop.run_until_cancelled(sleep_until(due)).await.is_none() {
                return;
            }
            self.measure(due.elapsed());
            self.catch_up();
            for publisher in &mut self.publishers {
                for (rung, timeline) in self.rungs.iter().zip(&mut publisher.timelines) {
                    add(timeline, rung, self.next);
                }
                publisher.publish();
                // Streams are many and readers wait: let them run in between.
                tokio::task::yield_now().await;
            }
            self.next += 1;
        }
    }

    /// A whole segment late, no player can be live.
    fn measure(&self, late: Duration) {
        self.late.observe(late.as_secs_f64());
        if late.as_millis() as u64 > SEGMENT_MS {
            self.health.fail(
                "loop",
                format_args!("parts are {:.1} s late", late.as_secs_f64()),
            );
        } else {
            self.health.mend("loop");
        }
    }

    /// After a long stop (of the process, or of the machine) what would be far too late is added
    /// without being shown part by part.
    fn catch_up(&mut self) {
        let now = self.clock.now_ms() / PART_MS;
        let most = 2 * self.window.as_millis() as u64 / PART_MS;
        if now > self.next + most {
            let first = (now - most) / SEGMENT_PARTS * SEGMENT_PARTS;
            tracing::warn!(
                parts = first - self.next,
                "stood still; parts were never shown"
            );
            // Numbers go with the time, so the segments between are a gap that players jump.
            for publisher in &mut self.publishers {
                for timeline in &mut publisher.timelines {
                    timeline.jump(first / SEGMENT_PARTS);
                }
            }
            self.next = first;
        }
    }
}

fn add(timeline: &mut Timeline, rung: &Rung, index: u64) {
    if index.is_multiple_of(SEGMENT_PARTS) {
        timeline.begin(rung.start_ms(index), false);
    }
    if timeline.push(rung.part(index)).is_err() {
        // A loop's segment is never longer than the target, which is what fills a timeline.
        tracing::error!(rung = rung.variant.rung, index, "a part without a segment");
    }
    if (index + 1).is_multiple_of(SEGMENT_PARTS) {
        timeline.finish();
    }
}
