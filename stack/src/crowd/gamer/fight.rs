//! One match as a player sees it: snapshots built on each other, inputs and their effects, beats.

use std::collections::VecDeque;

use crate::game::protocol::{BASE_TICKS, delta};

/// Inputs whose effect may be awaited.
const AWAITED: usize = 1024;

/// One match on the wire.
#[derive(Default)]
pub(super) struct Fight {
    /// Newest snapshots, as bases for the next ones.
    pub(super) known: VecDeque<delta::Snapshot>,
    /// Number of the next intent, and those whose effect was not seen: number and moment.
    pub(super) seq: u32,
    pub(super) awaited: VecDeque<(u32, f64)>,
    pub(super) tick_s: Option<f64>,
    pub(super) last_s: Option<f64>,
    pub(super) inputs: u64,
    pub(super) input_bytes: u64,
}

impl Fight {
    /// Decodes a snapshot, so that it can be acknowledged.
    pub(super) fn learn(
        &mut self,
        tick: u32,
        base: u32,
        changes: &[delta::Change],
    ) -> Result<(), delta::WrongBase> {
        let base = self
            .known
            .iter()
            .find(|snapshot| base > 0 && snapshot.tick == base);
        let snapshot = delta::apply(base, tick, changes)?;
        if self.known.len() == BASE_TICKS {
            self.known.pop_front();
        }
        self.known.push_back(snapshot);
        Ok(())
    }

    /// The next intent is on its way.
    pub(super) fn await_effect(&mut self, now: f64) {
        if self.awaited.len() == AWAITED {
            self.awaited.pop_front();
        }
        self.awaited.push_back((self.seq, now));
    }

    /// Time from the oldest intent that a snapshot is the first to contain.
    pub(super) fn see_effect(&mut self, ack_seq: u32, now: f64) -> Option<f64> {
        let mut oldest = None;
        while let Some((_, sent_s)) = self.awaited.pop_front_if(|(seq, _)| *seq <= ack_seq) {
            oldest.get_or_insert(sent_s);
        }
        oldest.map(|sent_s| (now - sent_s) * 1e3)
    }

    /// Time since the snapshot before, where it is more than three ticks.
    pub(super) fn gap_ms(&mut self, now: f64) -> Option<f64> {
        let since = now - self.last_s.replace(now)?;
        (since > 3.0 * self.tick_s?).then_some(since * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effect_of_an_input_is_timed_once_and_gaps_are_seen() {
        let mut fight = Fight {
            tick_s: Some(0.05),
            ..Fight::default()
        };
        fight.awaited.extend([(1, 1.0), (2, 1.1), (3, 1.2)]);
        let ms = fight.see_effect(2, 1.15).unwrap();
        assert!((ms - 150.0).abs() < 1e-6, "{ms}");
        assert_eq!(fight.see_effect(2, 1.2), None);
        assert_eq!(fight.gap_ms(1.0), None);
        assert_eq!(fight.gap_ms(1.1), None);
        assert!(fight.gap_ms(1.4).is_some());
    }

    #[test]
    fn snapshots_build_on_acknowledged_ones_only() {
        let world = delta::Snapshot {
            tick: 5,
            ..delta::Snapshot::default()
        };
        let mut fight = Fight::default();
        fight.learn(5, 0, &delta::changes(None, &world)).unwrap();
        let mut next = delta::Snapshot { tick: 6, ..world };
        next.entities[0] = Some(delta::Entity {
            x: 9,
            ..delta::Entity::default()
        });
        fight
            .learn(6, 5, &delta::changes(Some(&world), &next))
            .unwrap();
        assert_eq!(fight.known.back(), Some(&next));
    }
}
