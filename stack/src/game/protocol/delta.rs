//! Snapshots of a room, and the difference between two of them.
//!
//! A change is slot u8, mask u8, then the fields whose bit is set, in this order: bit 0 x u16,
//! 1 y u16, 2 facing u8, 3 health u8, 4 score i16, 5 flags u8. Values are new values, not
//! differences. Bit 7 alone: the entity is gone. An entity that the base lacks has all six bits.
//! Slots rise from change to change.

use bytes::{Buf, BufMut};

use super::{MAX_PLAYERS, Malformed};

const X: u8 = 1;
const Y: u8 = 1 << 1;
const FACING: u8 = 1 << 2;
const HEALTH: u8 = 1 << 3;
const SCORE: u8 = 1 << 4;
const FLAGS: u8 = 1 << 5;
const ALL: u8 = 0x3f;
const GONE: u8 = 1 << 7;

/// Bit of [`Entity::flags`]: the player is connected.
pub(crate) const CONNECTED: u8 = 1;

/// One player in the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entity {
    /// 0 left edge, 65,535 right edge.
    pub(crate) x: u16,
    /// 0 upper edge, 65,535 lower edge.
    pub(crate) y: u16,
    /// Direction of the last move: 0 right, 64 down, 128 left, 192 up.
    pub(crate) facing: u8,
    /// 0 to 100.
    pub(crate) health: u8,
    /// Tags made minus tags suffered.
    pub(crate) score: i16,
    /// See [`CONNECTED`].
    pub(crate) flags: u8,
}

/// The world after a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Number of the tick, from 1; 0 is the empty world before.
    pub(crate) tick: u32,
    /// By slot.
    pub(crate) entities: [Option<Entity>; MAX_PLAYERS],
}

/// What happened to one entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    slot: u8,
    mask: u8,
    // Only the fields of the mask are set, so that equal changes are equal.
    value: Entity,
}

/// The changes do not fit the base that they were applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes do not fit their base snapshot")]
pub(crate) struct WrongBase;

/// What turns `base` (nothing: the empty world) into `new`.
pub(crate) fn changes(base: Option<&Snapshot>, new: &Snapshot) -> Vec<Change> {
    let empty = Snapshot::default();
    let base = base.unwrap_or(&empty);
    let pairs = base.entities.iter().zip(&new.entities);
    (0_u8..)
        .zip(pairs)
        .filter_map(|(slot, (old, new))| Change::between(slot, old.as_ref(), new.as_ref()))
        .collect()
}

/// The world at `tick`, from its base and what changed.
pub(crate) fn apply(
    base: Option<&Snapshot>,
    tick: u32,
    changes: &[Change],
) -> Result<Snapshot, WrongBase> {
    let mut snapshot = base.copied().unwrap_or_default();
    snapshot.tick = tick;
    for change in changes {
        let entity = snapshot
            .entities
            .get_mut(usize::from(change.slot))
            .ok_or(WrongBase)?;
        *entity = match (change.mask, *entity) {
            (GONE, Some(_)) => None,
            (ALL, _) => Some(change.value),
            (mask, Some(old)) if mask != GONE => Some(change.onto(old)),
            _ => return Err(WrongBase),
        };
    }
    Ok(snapshot)
}

impl Change {
    fn between(slot: u8, old: Option<&Entity>, new: Option<&Entity>) -> Option<Self> {
        let (mask, new) = match (old, new) {
            (Some(old), Some(new)) => (difference(old, new), *new),
            (None, Some(new)) => (ALL, *new),
            (Some(_), None) => (GONE, Entity::default()),
            (None, None) => return None,
        };
        let value = Self {
            slot,
            mask,
            value: new,
        }
        .onto(Entity::default());
        (mask != 0).then_some(Self { slot, mask, value })
    }

    fn onto(&self, mut entity: Entity) -> Entity {
        let (mask, value) = (self.mask, &self.value);
        if mask & X != 0 {
            entity.x = value.x;
        }
        if mask & Y != 0 {
            entity.y = value.y;
        }
        if mask & FACING != 0 {
            entity.facing = value.facing;
        }
        if mask & HEALTH != 0 {
            entity.health = value.health;
        }
        if mask & SCORE != 0 {
            entity.score = value.score;
        }
        if mask & FLAGS != 0 {
            entity.flags = value.flags;
        }
        entity
    }
}

fn difference(old: &Entity, new: &Entity) -> u8 {
    let bit = |differs: bool, bit: u8| if differs { bit } else { 0 };
    bit(old.x != new.x, X)
        | bit(old.y != new.y, Y)
        | bit(old.facing != new.facing, FACING)
        | bit(old.health != new.health, HEALTH)
        | bit(old.score != new.score, SCORE)
        | bit(old.flags != new.flags, FLAGS)
}

/// Appends the count and the changes.
pub(super) fn encode(changes: &[Change], out: &mut Vec<u8>) {
    let changes = &changes[..changes.len().min(MAX_PLAYERS)];
    out.put_u8(changes.len() as u8);
    for Change { slot, mask, value } in changes {
        out.put_slice(&[*slot, *mask]);
        if mask & X != 0 {
            out.put_u16_le(value.x);
        }
        if mask & Y != 0 {
            out.put_u16_le(value.y);
        }
        if mask & FACING != 0 {
            out.put_u8(value.facing);
        }
        if mask & HEALTH != 0 {
            out.put_u8(value.health);
        }
        if mask & SCORE != 0 {
            out.put_i16_le(value.score);
        }
        if mask & FLAGS != 0 {
            out.put_u8(value.flags);
        }
    }
}

/// Reads the count and the changes.
pub(super) fn decode(bytes: &mut &[u8]) -> Result<Vec<Change>, Malformed> {
    let count = usize::from(bytes.try_get_u8()?);
    if count > MAX_PLAYERS {
        return Err(Malformed::Bounds);
    }
    let mut changes: Vec<Change> = Vec::with_capacity(count);
    for _ in 0..count {
        let change = decode_change(bytes)?;
        if changes.last().is_some_and(|last| last.slot >= change.slot) {
            return Err(Malformed::Change);
        }
        changes.push(change);
    }
    Ok(changes)
}

fn decode_change(bytes: &mut &[u8]) -> Result<Change, Malformed> {
    let (slot, mask) = (bytes.try_get_u8()?, bytes.try_get_u8()?);
    if usize::from(slot) >= MAX_PLAYERS || (mask != GONE && (mask == 0 || mask & !ALL != 0)) {
        return Err(Malformed::Change);
    }
    let mut value = Entity::default();
    if mask & X != 0 {
        value.x = bytes.try_get_u16_le()?;
    }
    if mask & Y != 0 {
        value.y = bytes.try_get_u16_le()?;
    }
    if mask & FACING != 0 {
        value.facing = bytes.try_get_u8()?;
    }
    if mask & HEALTH != 0 {
        value.health = bytes.try_get_u8()?;
    }
    if mask & SCORE != 0 {
        value.score = bytes.try_get_i16_le()?;
    }
    if mask & FLAGS != 0 {
        value.flags = bytes.try_get_u8()?;
    }
    Ok(Change { slot, mask, value })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        // Small ranges, so that fields of two snapshots are often equal.
        fn entity()(x in 0_u16..3, y in any::<u16>(), facing in 0_u8..2, health in 0_u8..=100, score in -2_i16..2, flags in 0_u8..2) -> Entity {
            Entity { x, y, facing, health, score, flags }
        }
    }

    prop_compose! {
        pub(in super::super) fn snapshot()(tick in 1_u32.., entities in prop::array::uniform16(prop::option::of(entity()))) -> Snapshot {
            Snapshot { tick, entities }
        }
    }

    proptest! {
        #[test]
        fn applying_the_changes_gives_the_new_snapshot(old in prop::option::of(snapshot()), new in snapshot()) {
            let changes = changes(old.as_ref(), &new);
            let mut bytes = Vec::new();
            encode(&changes, &mut bytes);
            let read = decode(&mut bytes.as_slice());
            prop_assert_eq!(&read, &Ok(changes));
            prop_assert_eq!(apply(old.as_ref(), new.tick, &read.unwrap()), Ok(new));
        }

        #[test]
        fn changes_on_a_foreign_base_are_refused_or_applied_but_never_panic(old in snapshot(), new in snapshot(), other in prop::option::of(snapshot())) {
            let changes = changes(Some(&old), &new);
            let lacks = changes.iter().any(|change| {
                let present = other.and_then(|other| other.entities[usize::from(change.slot)]).is_some();
                !present && change.mask != ALL
            });
            prop_assert_eq!(apply(other.as_ref(), new.tick, &changes).is_err(), lacks);
        }
    }

    #[test]
    fn an_unchanged_world_costs_one_byte() {
        let mut same = Snapshot {
            tick: 7,
            ..Snapshot::default()
        };
        same.entities[3] = Some(Entity {
            x: 9,
            ..Entity::default()
        });
        let mut bytes = Vec::new();
        encode(&changes(Some(&same), &same), &mut bytes);
        assert_eq!(bytes, [0]);
    }
}
