//! Requests that wait, bounded by number and bytes: the oldest give way, and are counted.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::encode::Request;
use crate::metrics::ExportCounts;

/// A request and when it was made.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) request: Request,
    pub(super) since: Instant,
}

/// From the collector to the sender, in order. The request being sent counts as waiting until it
/// is settled, so that the bounds hold for all that is in memory.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
    max_requests: usize,
    max_bytes: usize,
    counts: Arc<ExportCounts>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    in_flight: Option<Waiting>,
    /// Of those waiting and in flight.
    bytes: usize,
    is_closed: bool,
}

impl State {
    fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.in_flight.is_some())
    }
}

impl Queue {
    pub(super) fn new(max_requests: usize, max_bytes: usize, counts: Arc<ExportCounts>) -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            max_requests,
            max_bytes,
            counts,
        }
    }

    /// Adds the newest request; drops the oldest as far as the bounds ask for it.
    pub(super) fn push(&self, request: Request, now: Instant) {
        let mut state = self.lock();
        state.bytes += request.body.len();
        state.waiting.push_back(Waiting {
            request,
            since: now,
        });
        self.shrink(&mut state);
        self.changed.notify_one();
    }

    /// The oldest request, in flight until [`settle`](Self::settle) or
    /// [`give_back`](Self::give_back). Waits for one; `None` when the queue is closed and empty.
    pub(super) async fn take(&self) -> Option<Waiting> {
        loop {
            {
                let mut state = self.lock();
                if let Some(oldest) = state.waiting.pop_front() {
                    state.in_flight = Some(oldest.clone());
                    return Some(oldest);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// The request in flight is done with, one way or the other.
    pub(super) fn settle(&self) {
        let mut state = self.lock();
        if let Some(done) = state.in_flight.take() {
            state.bytes -= done.request.body.len();
        }
        self.publish(&state);
    }

    /// The request in flight is to be tried again. It is the oldest, so it is the first to give
    /// way to newer ones.
    pub(super) fn give_back(&self) {
        let mut state = self.lock();
        if let Some(again) = state.in_flight.take() {
            state.waiting.push_front(again);
        }
        self.shrink(&mut state);
    }

    /// No more requests will come.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Drops all that is left, what is in flight included; returns its points, which are counted.
    pub(super) fn clear(&self) -> u64 {
        let mut state = self.lock();
        let left = std::mem::take(&mut *state);
        let points = left
            .waiting
            .iter()
            .chain(&left.in_flight)
            .map(|waiting| waiting.request.points)
            .sum();
        ExportCounts::add(&self.counts.otlp_dropped_points, points);
        state.is_closed = true;
        self.publish(&state);
        points
    }

    fn shrink(&self, state: &mut State) {
        while state.len() > self.max_requests || state.bytes > self.max_bytes {
            let Some(oldest) = state.waiting.pop_front() else {
                break;
            };
            state.bytes -= oldest.request.body.len();
            ExportCounts::add(&self.counts.otlp_dropped_points, oldest.request.points);
        }
        self.publish(state);
    }

    fn publish(&self, state: &State) {
        self.counts
            .otlp_queue
            .store(state.len() as u64, Ordering::Relaxed);
    }

    /// Nothing panics under the lock, and the state is sound between any two statements.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(points: u64, bytes: usize) -> Request {
        Request {
            body: vec![0; bytes].into(),
            points,
            message_bytes: bytes,
        }
    }

    fn dropped(counts: &ExportCounts) -> u64 {
        counts.otlp_dropped_points.load(Ordering::Relaxed)
    }

    fn waiting(counts: &ExportCounts) -> u64 {
        counts.otlp_queue.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn the_oldest_give_way_and_are_counted() {
        let counts = Arc::new(ExportCounts::default());
        let queue = Queue::new(2, 100, Arc::clone(&counts));
        let now = Instant::now();
        for points in [1, 2, 4] {
            queue.push(request(points, 10), now);
        }
        assert_eq!((dropped(&counts), waiting(&counts)), (1, 2));
        queue.push(request(8, 95), now);
        assert_eq!((dropped(&counts), waiting(&counts)), (1 + 2 + 4, 1));
        queue.push(request(16, 101), now);
        assert_eq!((dropped(&counts), waiting(&counts)), (31, 0));
    }

    #[tokio::test]
    async fn a_request_in_flight_counts_until_it_is_settled() {
        let counts = Arc::new(ExportCounts::default());
        let queue = Queue::new(2, 100, Arc::clone(&counts));
        let now = Instant::now();
        queue.push(request(1, 10), now);
        assert_eq!(queue.take().await.unwrap().request.points, 1);
        queue.push(request(2, 10), now);
        queue.push(request(4, 10), now);
        assert_eq!((dropped(&counts), waiting(&counts)), (2, 2));
        queue.give_back();
        assert_eq!(queue.take().await.unwrap().request.points, 1);
        queue.settle();
        assert_eq!(waiting(&counts), 1);
        assert_eq!(queue.take().await.unwrap().request.points, 4);
        assert_eq!(queue.clear(), 4);
        assert_eq!((dropped(&counts), waiting(&counts)), (6, 0));
        assert!(queue.take().await.is_none());
    }
}
