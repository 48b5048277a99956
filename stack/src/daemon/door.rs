//! A bounded number of places for connections. While all are taken and one more waits, those that
//! have said nothing for a second give way, so that a crowd of silent ones shuts out nobody.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// For which a newcomer may be silent when its place is wanted.
const PATIENCE: Duration = Duration::from_secs(1);

/// Since when each is here, the oldest first.
type Guests = VecDeque<(Instant, Weak<Seat>)>;

/// The places. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    places: Arc<Semaphore>,
    count: usize,
    /// Those that had said nothing when they were last looked at.
    silent: Arc<Mutex<Guests>>,
}

/// The place of one connection; free again once all that hold it are gone.
#[derive(Debug)]
pub(crate) struct Seat {
    _place: OwnedSemaphorePermit,
    spoke: AtomicBool,
    out: Notify,
}

impl Door {
    /// With so many places, at least one.
    pub(crate) fn new(count: usize) -> Self {
        let count = count.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(count)),
            count,
            silent: Arc::default(),
        }
    }

    /// Waits for a place, for a connection that is here already.
    pub(crate) async fn enter(&self) -> Arc<Seat> {
        let place = loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                break place;
            }
            let patience = self.show_out(Instant::now());
            let acquire = Arc::clone(&self.places).acquire_owned();
            if let Ok(Ok(place)) = timeout(patience, acquire).await {
                break place;
            }
        };
        let seat = Arc::new(Seat {
            _place: place,
            spoke: AtomicBool::new(false),
            out: Notify::new(),
        });
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if silent.len() >= 2 * self.count {
            silent.retain(|(_, seat)| is_silent(seat));
        }
        silent.push_back((Instant::now(), Arc::downgrade(&seat)));
        seat
    }

    /// Shows out the one that has been silent for longest, if that is long enough. Returns when to
    /// look again.
    fn show_out(&self, now: Instant) -> Duration {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((since, seat)) = silent.front() {
            if is_silent(seat) {
                let patience = PATIENCE.saturating_sub(now - *since);
                if patience > Duration::ZERO {
                    return patience;
                }
                if let Some(seat) = seat.upgrade() {
                    seat.out.notify_one();
                    silent.pop_front();
                    return PATIENCE;
                }
            }
            silent.pop_front();
        }
        PATIENCE
    }
}

fn is_silent(seat: &Weak<Seat>) -> bool {
    seat.upgrade()
        .is_some_and(|seat| !seat.spoke.load(Ordering::Relaxed))
}

impl Seat {
    /// The connection has asked for something, so it stays.
    pub(crate) fn speak(&self) {
        self.spoke.store(true, Ordering::Relaxed);
    }

    /// Waits for as long, and then for ever if the connection has spoken.
    pub(crate) async fn stay_silent(&self, time: Duration) {
        tokio::time::sleep(time).await;
        if self.spoke.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }

    /// Waits until the connection has to give way.
    pub(crate) async fn shown_out(&self) {
        self.out.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_silent_gives_way_and_who_spoke_stays() {
        let door = Door::new(2);
        let (spoken, silent) = (door.enter().await, door.enter().await);
        spoken.speak();
        let newcomer = tokio::spawn({
            let door = door.clone();
            async move { door.enter().await }
        });
        silent.shown_out().await;
        assert!(!newcomer.is_finished(), "the place is not free yet");
        drop(silent);
        let newcomer = newcomer.await.unwrap();
        newcomer.speak();
        let more = timeout(PATIENCE * 2, door.enter());
        assert!(more.await.is_err(), "one that spoke lost its place");
        drop(spoken);
        door.enter().await;
    }

    #[tokio::test]
    async fn what_is_remembered_of_those_that_left_is_bounded() {
        let door = Door::new(3);
        let holder = door.enter().await;
        for _ in 0..1000 {
            drop(door.enter().await);
        }
        assert!(door.silent.lock().unwrap().len() <= 2 * 3);
        drop(holder);
    }
}
