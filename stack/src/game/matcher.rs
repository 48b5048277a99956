//! The match function: rating windows that widen while tickets wait. Pure: no clock, no state.

use std::collections::BTreeMap;

/// How far ratings in a match may be apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    /// For a ticket that has just come.
    pub(crate) base: f64,
    /// Growth in a second of waiting.
    pub(crate) per_second: f64,
    /// Where the growth ends; 0: nowhere.
    pub(crate) max: f64,
}

/// A ticket as the matcher sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate<'a> {
    /// Handed back in matches.
    pub(crate) ticket: u64,
    /// Finite.
    pub(crate) rating: f64,
    /// Since it became active, in milliseconds.
    pub(crate) waited_ms: u64,
    /// Tickets of different splits never meet.
    pub(crate) split: &'a str,
}

/// A match found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Match {
    /// By rating.
    pub(crate) tickets: Vec<u64>,
    /// Highest rating minus lowest.
    pub(crate) spread: f64,
}

impl Window {
    /// Whether all parts are numbers of 0 or more.
    pub(crate) fn is_valid(&self) -> bool {
        [self.base, self.per_second, self.max]
            .iter()
            .all(|part| part.is_finite() && *part >= 0.0)
    }

    /// Allowed spread for a match whose longest-waiting ticket has waited this long.
    pub(crate) fn after(&self, waited_ms: u64) -> f64 {
        let width = self.base + self.per_second * waited_ms as f64 / 1_000.0;
        if self.max > 0.0 {
            width.min(self.max.max(self.base))
        } else {
            width
        }
    }
}

/// Matches of `players` each, at most `limit`, longest-waiting tickets first. No ticket is in two,
/// no match spans two splits, and no spread is above the window of the match's longest wait.
pub(crate) fn find(
    candidates: &[Candidate<'_>],
    players: usize,
    window: &Window,
    limit: usize,
) -> Vec<Match> {
    let mut splits: BTreeMap<&str, Vec<Candidate<'_>>> = BTreeMap::new();
    for candidate in candidates {
        splits.entry(candidate.split).or_default().push(*candidate);
    }
    // (wait of the anchor, match), so that the limit takes from no split what others need more.
    let mut found: Vec<(u64, Match)> = Vec::new();
    for mut split in splits.into_values() {
        split.sort_by(|a, b| a.rating.total_cmp(&b.rating).then(a.ticket.cmp(&b.ticket)));
        found.extend(find_in_split(&split, players, window, limit));
    }
    found.sort_by_key(|(waited_ms, _)| std::cmp::Reverse(*waited_ms));
    found.truncate(limit);
    found.into_iter().map(|(_, found)| found).collect()
}

/// `sorted` by rating: among the free neighbours of a ticket, the best match with it is a run.
fn find_in_split(
    sorted: &[Candidate<'_>],
    players: usize,
    window: &Window,
    limit: usize,
) -> Vec<(u64, Match)> {
    let mut free = Free::new(sorted.len());
    let mut order: Vec<usize> = (0..sorted.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(sorted[at].waited_ms), sorted[at].ticket));
    let mut found = Vec::new();
    for anchor in order {
        if found.len() >= limit || free.count < players {
            break;
        }
        if free.taken(anchor) {
            continue;
        }
        // All that waited longer found nothing in their wider windows, so the anchor's is the one.
        let waited_ms = sorted[anchor].waited_ms;
        let run = free.around(anchor, players - 1);
        let spread = |run: &[usize]| sorted[run[players - 1]].rating - sorted[run[0]].rating;
        let best = run
            .windows(players)
            .min_by(|a, b| spread(a).total_cmp(&spread(b)));
        if let Some(best) = best
            && spread(best) <= window.after(waited_ms)
        {
            let tickets = best.iter().map(|&at| sorted[at].ticket).collect();
            found.push((
                waited_ms,
                Match {
                    tickets,
                    spread: spread(best),
                },
            ));
            best.iter().for_each(|&at| free.take(at));
        }
    }
    found
}

/// Positions not yet taken, as a doubly linked list: neighbours in constant time. Position 0 of
/// `next` and the last of `previous` stand for the ends, so positions are shifted by one.
struct Free {
    next: Vec<usize>,
    previous: Vec<usize>,
    gone: Vec<bool>,
    count: usize,
}

impl Free {
    fn new(count: usize) -> Self {
        Self {
            next: (1..count + 3).collect(),
            previous: (0..count + 2).map(|at| at.saturating_sub(1)).collect(),
            gone: vec![false; count],
            count,
        }
    }

    fn taken(&self, at: usize) -> bool {
        self.gone[at]
    }

    fn take(&mut self, at: usize) {
        let (previous, next) = (self.previous[at + 1], self.next[at + 1]);
        self.next[previous] = next;
        self.previous[next] = previous;
        self.gone[at] = true;
        self.count -= 1;
    }

    /// The anchor with up to `reach` free positions on each side, in order.
    fn around(&self, anchor: usize, reach: usize) -> Vec<usize> {
        let end = self.gone.len() + 1;
        let step = |links: &[usize]| {
            let mut at = anchor + 1;
            let mut run = Vec::with_capacity(reach);
            while run.len() < reach {
                at = links[at];
                if at == 0 || at == end {
                    break;
                }
                run.push(at - 1);
            }
            run
        };
        let mut run = step(&self.previous);
        run.reverse();
        run.push(anchor);
        run.extend(step(&self.next));
        run
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    const WINDOW: Window = Window {
        base: 50.0,
        per_second: 20.0,
        max: 0.0,
    };

    fn candidate(ticket: u64, rating: f64, waited_ms: u64) -> Candidate<'static> {
        Candidate {
            ticket,
            rating,
            waited_ms,
            split: "",
        }
    }

    prop_compose! {
        fn candidates()(raw in prop::collection::vec((0.0..3_000.0_f64, 0_u64..60_000, 0_usize..3), 0..120)) -> Vec<Candidate<'static>> {
            raw.into_iter().enumerate().map(|(ticket, (rating, waited_ms, split))| Candidate {
                ticket: ticket as u64, rating, waited_ms, split: ["asia", "europe", ""][split],
            }).collect()
        }
    }

    proptest! {
        #[test]
        fn matches_keep_every_rule(candidates in candidates(), players in 2_usize..6, limit in 0_usize..30) {
            let by_ticket: HashMap<u64, &Candidate<'_>> = candidates.iter().map(|candidate| (candidate.ticket, candidate)).collect();
            let matches = find(&candidates, players, &WINDOW, limit);
            prop_assert!(matches.len() <= limit);
            let mut seen = HashSet::new();
            for found in &matches {
                prop_assert_eq!(found.tickets.len(), players);
                prop_assert!(found.tickets.iter().all(|ticket| seen.insert(*ticket)), "a ticket in two matches");
                let members: Vec<_> = found.tickets.iter().map(|ticket| by_ticket[ticket]).collect();
                prop_assert!(members.iter().all(|member| member.split == members[0].split));
                let ratings = || members.iter().map(|member| member.rating);
                let spread = ratings().fold(f64::MIN, f64::max) - ratings().fold(f64::MAX, f64::min);
                prop_assert_eq!(spread, found.spread);
                let waited_ms = members.iter().map(|member| member.waited_ms).max().unwrap();
                prop_assert!(spread <= WINDOW.after(waited_ms));
            }
        }

        #[test]
        fn no_match_is_left_unfound(candidates in candidates(), players in 2_usize..5) {
            let matches = find(&candidates, players, &WINDOW, usize::MAX);
            let taken: HashSet<u64> = matches.iter().flat_map(|found| found.tickets.iter().copied()).collect();
            let mut splits: BTreeMap<&str, Vec<&Candidate<'_>>> = BTreeMap::new();
            for left in candidates.iter().filter(|candidate| !taken.contains(&candidate.ticket)) {
                splits.entry(left.split).or_default().push(left);
            }
            for left in splits.values_mut() {
                left.sort_by(|a, b| a.rating.total_cmp(&b.rating));
                for run in left.windows(players) {
                    let waited_ms = run.iter().map(|member| member.waited_ms).max().unwrap();
                    prop_assert!(run[players - 1].rating - run[0].rating > WINDOW.after(waited_ms));
                }
            }
        }
    }

    #[test]
    fn who_waits_longer_may_be_matched_wider() {
        let pair = |waited_ms| {
            find(
                &[candidate(1, 1_500.0, waited_ms), candidate(2, 1_600.0, 0)],
                2,
                &WINDOW,
                9,
            )
        };
        assert_eq!(pair(2_499), []);
        assert_eq!(
            pair(2_500),
            [Match {
                tickets: vec![1, 2],
                spread: 100.0
            }]
        );
    }

    #[test]
    fn the_longest_wait_is_served_first_and_with_the_nearest() {
        let candidates = [
            candidate(1, 1_000.0, 0),
            candidate(2, 1_010.0, 9_000),
            candidate(3, 1_015.0, 0),
            candidate(4, 1_016.0, 0),
        ];
        let found = find(&candidates, 2, &WINDOW, 1);
        assert_eq!(
            found,
            [Match {
                tickets: vec![2, 3],
                spread: 5.0
            }]
        );
    }

    #[test]
    fn the_window_stops_growing_at_its_maximum() {
        let window = Window {
            max: 80.0,
            ..WINDOW
        };
        assert_eq!(window.after(0), 50.0);
        assert_eq!(window.after(60_000), 80.0);
    }
}
