//! The rules of the game: players move on a field and tag each other. Integers and no clock, so
//! the same intents always give the same world.

use crate::game::protocol::delta::{CONNECTED, Entity, Snapshot};
use crate::game::protocol::{BUTTON_TAG, Intent, MAX_PLAYERS, Standing};

/// Time to cross the field at full speed, in seconds.
const CROSSING_SECONDS: i32 = 4;
/// Distance within which a tag succeeds.
const REACH: i32 = 4_096;
const DAMAGE: u8 = 25;
const FULL_HEALTH: u8 = 100;

/// All players of a match.
#[derive(Clone, Debug)]
pub(crate) struct World {
    tick: u32,
    tick_hz: i32,
    players: Vec<Player>,
}

#[derive(Clone, Debug)]
struct Player {
    x: i32,
    y: i32,
    facing: u8,
    health: u8,
    score: i16,
    /// Tick from which the next tag may be.
    ready: u32,
    joined: bool,
    connected: bool,
}

/// A player's part in a tick.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Part {
    /// What it wants.
    pub(crate) intent: Intent,
    /// Has it ever been here.
    pub(crate) joined: bool,
    /// Is it here now.
    pub(crate) connected: bool,
}

impl World {
    /// For up to [`MAX_PLAYERS`] players.
    pub(crate) fn new(players: usize, tick_hz: u8) -> Self {
        let players = players.min(MAX_PLAYERS);
        let player = |slot| {
            let (x, y) = start_of(slot, players);
            Player {
                x,
                y,
                facing: 0,
                health: FULL_HEALTH,
                score: 0,
                ready: 0,
                joined: false,
                connected: false,
            }
        };
        Self {
            tick: 0,
            tick_hz: i32::from(tick_hz),
            players: (0..players).map(player).collect(),
        }
    }

    /// One tick; parts by slot.
    pub(crate) fn step(&mut self, parts: &[Part]) {
        self.tick += 1;
        let speed = i32::from(u16::MAX) / CROSSING_SECONDS / self.tick_hz;
        for (player, part) in self.players.iter_mut().zip(parts) {
            (player.joined, player.connected) = (part.joined, part.connected);
            if player.connected {
                player.walk(part.intent, speed);
            }
        }
        for slot in 0..self.players.len() {
            if parts
                .get(slot)
                .is_some_and(|part| part.connected && part.intent.buttons & BUTTON_TAG != 0)
            {
                self.tag(slot);
            }
        }
    }

    /// The world as players see it.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            tick: self.tick,
            ..Snapshot::default()
        };
        for (entity, player) in snapshot.entities.iter_mut().zip(&self.players) {
            *entity = player.joined.then_some(Entity {
                x: player.x as u16,
                y: player.y as u16,
                facing: player.facing,
                health: player.health,
                score: player.score,
                flags: if player.connected { CONNECTED } else { 0 },
            });
        }
        snapshot
    }

    /// Of those who joined, best first; equal scores share a place.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        let joined = || self.players.iter().filter(|player| player.joined);
        let place = |score| 1 + joined().filter(|player| player.score > score).count() as u8;
        let players = (0_u8..)
            .zip(&self.players)
            .filter(|(_, player)| player.joined);
        let mut standings: Vec<Standing> = players
            .map(|(slot, player)| Standing {
                slot,
                place: place(player.score),
                score: player.score,
            })
            .collect();
        standings.sort_by_key(|standing| (standing.place, standing.slot));
        standings
    }

    fn tag(&mut self, slot: usize) {
        let tick = self.tick;
        if tick < self.players[slot].ready {
            return;
        }
        let (x, y) = (self.players[slot].x, self.players[slot].y);
        let distance = |player: &Player| (player.x - x).abs().max((player.y - y).abs());
        let others = self.players.iter().enumerate();
        let near = others
            .filter(|(other, player)| {
                *other != slot && player.connected && distance(player) <= REACH
            })
            .min_by_key(|(other, player)| (distance(player), *other));
        let Some((other, _)) = near else { return };
        self.players[slot].ready = tick + self.tick_hz as u32 / 2;
        let count = self.players.len();
        let tagged = &mut self.players[other];
        tagged.health = tagged.health.saturating_sub(DAMAGE);
        if tagged.health == 0 {
            tagged.health = FULL_HEALTH;
            tagged.score = tagged.score.saturating_sub(1);
            // Elsewhere than the one who tagged, and never twice in the same place in a row.
            (tagged.x, tagged.y) = start_of(other + tick as usize, count.max(5));
            self.players[slot].score = self.players[slot].score.saturating_add(1);
        }
    }
}

impl Player {
    fn walk(&mut self, intent: Intent, speed: i32) {
        let (dx, dy) = (i32::from(intent.move_x), i32::from(intent.move_y));
        if (dx, dy) == (0, 0) {
            return;
        }
        // A diagonal is hardly faster than an axis: the length is that of an octagon.
        let (longer, shorter) = (dx.abs().max(dy.abs()), dx.abs().min(dy.abs()));
        let length = (longer + shorter / 2).max(127);
        let edge = i32::from(u16::MAX);
        self.x = (self.x + dx * speed / length).clamp(0, edge);
        self.y = (self.y + dy * speed / length).clamp(0, edge);
        self.facing = match (dx.abs() >= dy.abs(), dx >= 0, dy >= 0) {
            (true, true, _) => 0,
            (false, _, true) => 64,
            (true, false, _) => 128,
            (false, _, false) => 192,
        };
    }
}

/// Evenly along a square around the middle, so that neighbours are out of reach.
fn start_of(slot: usize, players: usize) -> (i32, i32) {
    const SIDE: i32 = 32_768;
    let along = (slot % players.max(1)) as i32 * (4 * SIDE / players.max(1) as i32);
    let (side, rest) = (along / SIDE, along % SIDE);
    let low = (i32::from(u16::MAX) - SIDE) / 2;
    match side {
        0 => (low + rest, low),
        1 => (low + SIDE, low + rest),
        2 => (low + SIDE - rest, low + SIDE),
        _ => (low, low + SIDE - rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part(move_x: i8, move_y: i8, buttons: u8) -> Part {
        Part {
            intent: Intent {
                move_x,
                move_y,
                buttons,
            },
            joined: true,
            connected: true,
        }
    }

    #[test]
    fn crossing_the_field_takes_its_time_at_every_rate() {
        for tick_hz in [20, 30, 60] {
            let mut world = World::new(2, tick_hz);
            world.players[0].x = 0;
            for _ in 0..i32::from(tick_hz) * CROSSING_SECONDS {
                world.step(&[part(127, 0, 0), part(0, 0, 0)]);
            }
            let x = world.snapshot().entities[0].unwrap().x;
            assert!((65_300..=65_535).contains(&x), "{tick_hz} Hz: {x}");
        }
    }

    #[test]
    fn four_tags_score_once_and_the_winner_is_first() {
        let mut world = World::new(2, 20);
        (world.players[1].x, world.players[1].y) = (world.players[0].x + REACH, world.players[0].y);
        for _ in 0..31 {
            world.step(&[part(0, 0, BUTTON_TAG), part(0, 0, 0)]);
        }
        let standings = world.standings();
        assert_eq!(
            standings[0],
            Standing {
                slot: 0,
                place: 1,
                score: 1
            }
        );
        assert_eq!(
            standings[1],
            Standing {
                slot: 1,
                place: 2,
                score: -1
            }
        );
    }

    #[test]
    fn who_never_came_is_neither_seen_nor_placed() {
        let mut world = World::new(3, 30);
        world.step(&[part(0, 0, 0), Part::default(), part(0, 0, 0)]);
        assert_eq!(world.snapshot().entities[1], None);
        assert_eq!(
            world
                .standings()
                .iter()
                .map(|standing| (standing.slot, standing.place))
                .collect::<Vec<_>>(),
            [(0, 1), (2, 1)]
        );
    }

    proptest! {
        #[test]
        fn nobody_leaves_the_field_or_goes_too_fast(moves in prop::collection::vec((any::<i8>(), any::<i8>(), any::<u8>()), 1..100)) {
            let mut world = World::new(4, 30);
            let limit = i32::from(u16::MAX) / CROSSING_SECONDS / 30 + 1;
            for (move_x, move_y, buttons) in moves {
                let before = world.players[0].clone();
                world.step(&[part(move_x, move_y, buttons); 4]);
                let after = &world.players[0];
                prop_assert!((0..=65_535).contains(&after.x) && (0..=65_535).contains(&after.y));
                if after.score == before.score {
                    prop_assert!((after.x - before.x).abs() <= limit && (after.y - before.y).abs() <= limit);
                }
            }
        }
    }
}
