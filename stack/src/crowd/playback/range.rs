//! The media of one track as disjoint, ordered stretches of media time.

/// Holes up to this are played over (hls.js `maxBufferHole`), seconds.
const HOLE_S: f64 = 0.1;
/// Media behind the playhead is kept this long, seconds: short seeks back need no loading.
const KEEP_BEHIND_S: f64 = 30.0;

#[derive(Clone, Debug, Default)]
pub(super) struct Ranges(Vec<(f64, f64)>);

impl Ranges {
    /// Adds a stretch and forgets what lies far behind `playhead`, which also bounds the list.
    pub(super) fn insert(&mut self, from: f64, to: f64, playhead: f64) {
        if to <= from {
            return;
        }
        let (mut from, mut to) = (from, to);
        self.0.retain(|&(start, end)| {
            let touches = start <= to + HOLE_S && end + HOLE_S >= from;
            if touches {
                from = from.min(start);
                to = to.max(end);
            }
            !touches && end >= playhead - KEEP_BEHIND_S
        });
        let place = self.0.partition_point(|&(start, _)| start < from);
        self.0.insert(place, (from, to));
    }

    /// Takes a stretch out.
    pub(super) fn remove(&mut self, from: f64, to: f64) {
        let mut kept = Vec::with_capacity(self.0.len() + 1);
        for &(start, end) in &self.0 {
            kept.extend((start < from).then(|| (start, end.min(from))));
            kept.extend((end > to).then(|| (start.max(to), end)));
        }
        self.0 = kept;
    }

    /// Whether media lies at a position.
    pub(super) fn holds(&self, position: f64) -> bool {
        self.0
            .iter()
            .any(|&(start, end)| start <= position && position < end)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any media lies in both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let meets = |&(start, end): &(f64, f64)| {
            let mut others = other.0.iter();
            others.any(|&(from, to)| from < end && start < to)
        };
        self.0.iter().any(meets)
    }

    /// End of the stretch around a position, or the position itself.
    pub(super) fn contiguous_end(&self, position: f64) -> f64 {
        let around = self
            .0
            .iter()
            .find(|&&(start, end)| start <= position + HOLE_S && end >= position);
        around.map_or(position, |&(_, end)| end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stretches_that_only_touch_have_nothing_in_common() {
        let (mut one, mut other) = (Ranges::default(), Ranges::default());
        one.insert(0.0, 2.0, 0.0);
        assert!(!one.overlaps(&other));
        other.insert(2.0, 4.0, 0.0);
        assert!(!one.overlaps(&other));
        one.insert(6.0, 8.0, 0.0);
        other.insert(7.0, 7.5, 0.0);
        assert!(one.overlaps(&other) && other.overlaps(&one));
    }

    #[test]
    fn stretches_join_over_small_holes_only() {
        let mut ranges = Ranges::default();
        ranges.insert(0.0, 2.0, 0.0);
        ranges.insert(4.0, 6.0, 0.0);
        assert_eq!(ranges.contiguous_end(1.0), 2.0);
        assert_eq!(ranges.contiguous_end(3.0), 3.0);
        ranges.insert(2.05, 4.0, 0.0);
        assert_eq!(ranges.contiguous_end(0.0), 6.0);
        assert_eq!(ranges.0.len(), 1);
    }

    #[test]
    fn what_is_taken_out_leaves_both_sides() {
        let mut ranges = Ranges::default();
        ranges.insert(0.0, 6.0, 0.0);
        ranges.remove(2.0, 4.0);
        assert_eq!(ranges.0, [(0.0, 2.0), (4.0, 6.0)]);
        assert!(ranges.holds(1.0) && !ranges.holds(3.0) && ranges.holds(4.0));
        ranges.remove(5.0, f64::INFINITY);
        assert_eq!(ranges.0, [(0.0, 2.0), (4.0, 5.0)]);
    }

    proptest! {
        #[test]
        fn stretches_stay_ordered_and_apart(pieces in prop::collection::vec((0.0..60.0_f64, 0.0..5.0_f64), 0..60)) {
            let mut ranges = Ranges::default();
            for (from, length) in pieces {
                ranges.insert(from, from + length, 0.0);
                if length > 0.0 {
                    prop_assert!(ranges.contiguous_end(from) >= from + length - 1e-9);
                }
            }
            prop_assert!(ranges.0.windows(2).all(|pair| pair[0].1 + HOLE_S < pair[1].0));
        }
    }
}
