//! Makes room: what is given up, in which order, and how that is told.

use super::{REPEAT_RESOLVED_MS, State};

/// Room is made down to this share of the bound, so that it need not be made for each page.
const LOW: (usize, usize) = (9, 10);

/// What was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Pages that did not fit, once for each receiver that lacks them.
    pub full: u64,
    /// Pages that were too old, likewise.
    pub old: u64,
    /// Resolved pages that everyone has and that are repeated no more.
    pub released: u64,
    /// States of rules that did not fit.
    pub states: u64,
    /// The first of the pages: its alert, since when, and a receiver that lacks it.
    pub example: Option<String>,
}

impl Losses {
    /// One line, if there is anything that somebody misses.
    pub fn told(&self) -> Option<String> {
        let pages = self.full + self.old;
        let example = self.example.as_deref().unwrap_or("none");
        match (pages, self.states) {
            (0, 0) => None,
            (0, states) => Some(format!(
                "the states of {states} rules do not fit: their alerts start anew after a restart; raise [alert] log_bytes"
            )),
            _ => Some(format!(
                "gave up {pages} pages ({} for lack of room, {} for their age), the first {example}; raise [alert] log_bytes or log_hours, or mend the receiver",
                self.full, self.old
            )),
        }
    }
}

impl State {
    /// Gives up, in this order, until the bound is kept: resolved pages that everyone has, the
    /// oldest first; episodes of which some receiver has neither begin nor end, the oldest first;
    /// the oldest pages. Never what is being sent.
    pub(super) fn make_room(&mut self, losses: &mut Losses) {
        if self.bytes <= self.limits.bytes {
            return;
        }
        let low = self.limits.bytes / LOW.1 * LOW.0;
        self.release(low, losses);
        for (start, end) in self.unsent_episodes() {
            if self.bytes <= low {
                return;
            }
            if self.is_free(start) && self.is_free(end) && self.is_untold(start, end) {
                losses.full += self.give_up(start, losses) + self.give_up(end, losses);
            }
        }
        let numbers: Vec<_> = self.entries.keys().copied().collect();
        for number in numbers {
            if self.bytes <= low {
                return;
            }
            if self.is_free(number) {
                losses.full += self.give_up(number, losses);
            }
        }
    }

    fn release(&mut self, low: usize, losses: &mut Losses) {
        let held = self.board.iter().filter(|(_, held)| !held.page.is_firing());
        let mut resolved: Vec<_> = held
            .map(|(key, held)| (held.page.ends_at_ms, *key))
            .collect();
        resolved.sort_unstable();
        for (_, key) in resolved {
            if self.bytes <= low {
                return;
            }
            self.let_go(key);
            losses.released += 1;
        }
    }

    pub(in super::super) fn expire(&mut self, now_ms: i64) -> Losses {
        let mut losses = Losses::default();
        let oldest = now_ms.saturating_sub(self.limits.age_ms);
        let old: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.at_ms < oldest)
            .map(|(number, _)| *number)
            .collect();
        for number in old {
            if self.is_free(number) {
                losses.old += self.give_up(number, &mut losses);
            }
        }
        let over = self.board.iter().filter(|(_, held)| {
            !held.page.is_firing()
                && now_ms.saturating_sub(held.page.ends_at_ms) >= REPEAT_RESOLVED_MS
        });
        let over: Vec<_> = over.map(|(key, _)| *key).collect();
        for key in over {
            self.let_go(key);
        }
        losses
    }

    /// Whether nobody is sending it.
    fn is_free(&self, number: u64) -> bool {
        let Some(entry) = self.entries.get(&number) else {
            return true;
        };
        self.lacking(number, entry)
            .all(|(_, cursor)| cursor.sending < number)
    }

    /// Whether all receivers that lack the end of an episode lack its begin, too.
    fn is_untold(&self, start: u64, end: u64) -> bool {
        let lacking = |number| {
            let entry = self.entries.get(&number);
            entry.map_or(0, |entry| self.lacking(number, entry).count())
        };
        lacking(start) == lacking(end)
    }

    /// Removes an entry; tells how many receivers lack it.
    fn give_up(&mut self, number: u64, losses: &mut Losses) -> u64 {
        let Some(entry) = self.entries.get(&number) else {
            return 0;
        };
        let lacking: Vec<_> = self.lacking(number, entry).map(|(name, _)| name).collect();
        if losses.example.is_none()
            && let Ok(record) = serde_json::from_slice::<super::Record>(&entry.body)
        {
            let page = record.page;
            let what = if page.is_firing() {
                "firing"
            } else {
                "resolved"
            };
            losses.example = Some(format!(
                "{:?}, {what} at {}, for {}",
                page.name(),
                crate::alert::page::rfc3339(page.at_ms),
                lacking.first().copied().unwrap_or("nobody")
            ));
        }
        let lost = lacking.len() as u64;
        self.remove(number);
        lost
    }
}
