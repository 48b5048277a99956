//! Messages received, gathered into one line of the truth a second and sort.

use super::session::Session;
use super::summary::Spread;
use crate::truth::Event;

/// A line tells of at most this long, seconds.
const WINDOW_S: f64 = 1.0;
/// Sorts kept apart, by their name on the wire and in the truth.
const SORTS: [(&str, &str); 5] = [
    ("msg", "message"),
    ("vote", "vote"),
    ("gift", "gift"),
    ("snapshot", "snapshot"),
    ("assignment", "assignment"),
];

/// Messages since the last lines, and the sums of the session.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    windows: [Window; SORTS.len()],
    opened_s: Option<f64>,
    latency: Spread,
    messages: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    messages: u64,
    bytes: u64,
    timed: u64,
    min_ms: f64,
    sum_ms: f64,
    max_ms: f64,
}

impl Tally {
    /// Adds one message; a sort that is not known is not counted.
    pub(crate) fn add(&mut self, at_s: f64, sort: &str, latency_ms: Option<f64>, bytes: usize) {
        let Some(index) = SORTS.iter().position(|(wire, _)| *wire == sort) else {
            return;
        };
        self.opened_s.get_or_insert(at_s);
        self.messages += 1;
        self.bytes += bytes as u64;
        let window = &mut self.windows[index];
        window.messages += 1;
        window.bytes += bytes as u64;
        if let Some(ms) = latency_ms {
            window.min_ms = if window.timed == 0 {
                ms
            } else {
                window.min_ms.min(ms)
            };
            window.max_ms = window.max_ms.max(ms);
            window.sum_ms += ms;
            window.timed += 1;
            self.latency.add_ms(ms);
        }
    }

    /// When lines are due, seconds of the session.
    pub(crate) fn due_s(&self) -> f64 {
        self.opened_s
            .map_or(f64::INFINITY, |opened| opened + WINDOW_S)
    }

    /// Writes the lines if they are due.
    pub(crate) fn write_due(&mut self, now_s: f64, session: &Session) {
        if self.due_s() <= now_s {
            self.write_all(session);
        }
    }

    /// Writes the lines.
    pub(crate) fn write_all(&mut self, session: &Session) {
        self.opened_s = None;
        for (window, (_, what)) in std::mem::take(&mut self.windows).iter().zip(SORTS) {
            if let Some(event) = window.event(what) {
                session.put(event);
            }
        }
    }

    pub(crate) fn latency(&self) -> &Spread {
        &self.latency
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Window {
    fn event(&self, what: &'static str) -> Option<Event> {
        if self.messages == 0 {
            return None;
        }
        let timed = |ms: f64| (self.timed > 0).then_some(ms);
        #[expect(clippy::cast_precision_loss, reason = "a second holds few messages")]
        let mean_ms = timed(self.sum_ms / self.timed.max(1) as f64);
        Some(Event::Received {
            what,
            messages: self.messages,
            bytes: self.bytes,
            min_ms: timed(self.min_ms),
            mean_ms,
            max_ms: timed(self.max_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_sorts_apart_and_knows_what_was_timed() {
        let mut tally = Tally::default();
        tally.add(1.0, "msg", Some(10.0), 5);
        tally.add(1.5, "msg", Some(30.0), 5);
        tally.add(1.6, "vote", None, 7);
        tally.add(1.7, "unheard of", None, 7);
        assert_eq!(
            (tally.messages(), tally.bytes(), tally.due_s()),
            (3, 17, 2.0)
        );
        let said = Event::Received {
            what: "message",
            messages: 2,
            bytes: 10,
            min_ms: Some(10.0),
            mean_ms: Some(20.0),
            max_ms: Some(30.0),
        };
        assert_eq!(tally.windows[0].event("message"), Some(said));
        let voted = Event::Received {
            what: "vote",
            messages: 1,
            bytes: 7,
            min_ms: None,
            mean_ms: None,
            max_ms: None,
        };
        assert_eq!(tally.windows[1].event("vote"), Some(voted));
        assert_eq!(tally.windows[2].event("gift"), None);
    }
}
