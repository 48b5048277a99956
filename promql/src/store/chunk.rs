//! Packed numbers over time: one byte of flags per sample, then only what
//! differs from what the last samples let expect. Whole numbers and
//! thousandths are kept as differences, the rest as XOR of their bits
//! (after Gorilla, Pelkonen et al. 2015, in bytes instead of bits).

use crate::storage::FloatPoint;
use crate::value::{STALE_NAN, is_stale};

/// Samples after which a chunk is closed.
pub(super) const CHUNK_SAMPLES: u16 = 120;

const TIME: u8 = 1;
const START: u8 = 2;
const WHOLE: u8 = 4;
const THOUSANDTHS: u8 = 8;
const XOR: u8 = 16;
const STALE: u8 = 32;

/// Below this, a float counts whole numbers without loss.
const WHOLE_LIMIT: f64 = 9_007_199_254_740_992.0;

/// What the next sample is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct State {
    at_ms: i64,
    step_ms: i64,
    start_ms: i64,
    value: f64,
}

/// A chunk that still grows, and may lose what is too old.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    count: u16,
    /// What the first sample is compared with.
    head: State,
    state: State,
}

/// By how much a chunk grows: there are many, and few bytes in each.
const GROWTH: usize = 16;
/// Most samples take no more.
const USUAL_SAMPLE: usize = 8;

impl Chunk {
    pub(super) fn len(&self) -> u16 {
        self.count
    }

    /// Time of the newest sample.
    pub(super) fn end_ms(&self) -> i64 {
        self.state.at_ms
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Without the room that was left to grow.
    pub(super) fn close(self) -> Closed {
        if self.head != State::default() {
            let mut whole = Self::default();
            self.iter().for_each(|point| whole.push(point));
            return whole.close();
        }
        Closed {
            bytes: self.bytes.into_boxed_slice(),
            end_ms: self.state.at_ms,
            count: self.count,
        }
    }

    /// Drops samples that are not newer.
    pub(super) fn drop_until(&mut self, until_ms: i64) {
        if self.count > 0 && self.state.at_ms <= until_ms {
            *self = Self::default();
        }
        let mut iter = self.iter();
        let (mut dropped, mut left) = (0, (self.bytes.len(), self.head));
        while iter.next().is_some_and(|point| point.at_ms <= until_ms) {
            dropped += 1;
            left = (iter.rest.len(), iter.state);
        }
        if dropped > 0 {
            let (rest, head) = left;
            self.bytes.drain(..self.bytes.len() - rest);
            self.head = head;
            self.count -= dropped;
        }
    }

    pub(super) fn push(&mut self, point: FloatPoint) {
        if self.bytes.capacity() - self.bytes.len() < USUAL_SAMPLE {
            self.bytes.reserve_exact(GROWTH);
        }
        let before = self.state;
        let flags_at = self.bytes.len();
        self.bytes.push(0);
        let mut flags = 0;
        let step_ms = point.at_ms.wrapping_sub(before.at_ms);
        if step_ms != before.step_ms {
            flags |= TIME;
            write(&mut self.bytes, step_ms.wrapping_sub(before.step_ms));
        }
        if point.start_ms != before.start_ms {
            flags |= START;
            write(
                &mut self.bytes,
                point.start_ms.wrapping_sub(before.start_ms),
            );
        }
        let stale = is_stale(point.value);
        flags |= if stale {
            STALE
        } else {
            write_value(&mut self.bytes, before.value, point.value)
        };
        self.bytes[flags_at] = flags;
        self.count += 1;
        self.state = State {
            at_ms: point.at_ms,
            step_ms,
            start_ms: point.start_ms,
            value: if stale { before.value } else { point.value },
        };
    }

    pub(super) fn iter(&self) -> ChunkIter<'_> {
        ChunkIter::new(&self.bytes, self.head)
    }
}

/// A chunk that is full.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    bytes: Box<[u8]>,
    end_ms: i64,
    count: u16,
}

impl Closed {
    pub(super) fn len(&self) -> u16 {
        self.count
    }

    /// Time of the newest sample.
    pub(super) fn end_ms(&self) -> i64 {
        self.end_ms
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn iter(&self) -> ChunkIter<'_> {
        ChunkIter::new(&self.bytes, State::default())
    }
}

/// Reads the samples of a chunk in order.
pub(super) struct ChunkIter<'a> {
    rest: &'a [u8],
    state: State,
    /// The value counted in units, with the flag that names the unit; 0 if it
    /// has not been read that way. Saves finding it from the float again.
    units: (u8, i64),
}

impl Iterator for ChunkIter<'_> {
    type Item = FloatPoint;

    fn next(&mut self) -> Option<FloatPoint> {
        let (flags, rest) = self.rest.split_first()?;
        self.rest = rest;
        if flags & TIME != 0 {
            self.state.step_ms = self.state.step_ms.wrapping_add(read(&mut self.rest)?);
        }
        self.state.at_ms = self.state.at_ms.wrapping_add(self.state.step_ms);
        if flags & START != 0 {
            self.state.start_ms = self.state.start_ms.wrapping_add(read(&mut self.rest)?);
        }
        if flags & STALE == 0 {
            self.read_value(*flags)?;
        }
        Some(FloatPoint {
            at_ms: self.state.at_ms,
            start_ms: self.state.start_ms,
            value: if flags & STALE == 0 {
                self.state.value
            } else {
                STALE_NAN
            },
        })
    }
}

impl<'a> ChunkIter<'a> {
    fn new(rest: &'a [u8], state: State) -> Self {
        Self {
            rest,
            state,
            units: (0, 0),
        }
    }

    fn read_value(&mut self, flags: u8) -> Option<()> {
        let kind = flags & (WHOLE | THOUSANDTHS);
        if kind != 0 {
            let unit = if kind == WHOLE { 1.0 } else { 1000.0 };
            let before = match self.units {
                (known, units) if known == kind => units,
                _ => whole(self.state.value, unit)?,
            };
            let units = before.checked_add(read(&mut self.rest)?)?;
            self.units = (kind, units);
            self.state.value = units as f64 / unit;
        } else if flags & XOR != 0 {
            self.units = (0, 0);
            let bits = read_xor(&mut self.rest)?;
            self.state.value = f64::from_bits(self.state.value.to_bits() ^ bits);
        }
        Some(())
    }
}

fn read_xor(rest: &mut &[u8]) -> Option<u64> {
    let (shape, after) = rest.split_first()?;
    let (lead, trail) = (usize::from(shape >> 4), usize::from(shape & 15));
    let size = 8usize.checked_sub(lead + trail)?;
    let mut all = [0; 8];
    all.get_mut(lead..lead + size)?
        .copy_from_slice(after.get(..size)?);
    *rest = after.get(size..)?;
    Some(u64::from_be_bytes(all))
}

fn write_value(bytes: &mut Vec<u8>, before: f64, value: f64) -> u8 {
    if before.to_bits() == value.to_bits() {
        return 0;
    }
    if let (Some(a), Some(b)) = (whole(before, 1.0), whole(value, 1.0)) {
        write(bytes, b - a);
        return WHOLE;
    }
    if let (Some(a), Some(b)) = (whole(before, 1000.0), whole(value, 1000.0)) {
        write(bytes, b - a);
        return THOUSANDTHS;
    }
    let xor = before.to_bits() ^ value.to_bits();
    let (lead, trail) = (xor.leading_zeros() / 8, xor.trailing_zeros() / 8);
    bytes.push((lead << 4 | trail) as u8);
    let all = xor.to_be_bytes();
    bytes.extend_from_slice(&all[lead as usize..8 - trail as usize]);
    XOR
}

/// The value in whole units, if that loses nothing (not even a zero's sign).
fn whole(value: f64, unit: f64) -> Option<i64> {
    let scaled = (value * unit).round();
    let exact = scaled.abs() < WHOLE_LIMIT && (scaled / unit).to_bits() == value.to_bits();
    (exact && (scaled != 0.0 || value.to_bits() == 0)).then_some(scaled as i64)
}

/// Writes a number in 7-bit groups, small magnitudes first (zigzag).
fn write(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = (value << 1 ^ value >> 63) as u64;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn read(rest: &mut &[u8]) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1_000_000i64..1_000_000).prop_map(|n| n as f64),
            (-1_000_000i64..1_000_000).prop_map(|n| n as f64 / 100.0),
            Just(STALE_NAN),
            Just(-0.0),
        ]
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back_bit_by_bit(
            points in prop::collection::vec((any::<i64>(), any::<i64>(), value()), 0..200)
        ) {
            let mut chunk = Chunk::default();
            for (at_ms, start_ms, value) in &points {
                chunk.push(FloatPoint { at_ms: *at_ms, start_ms: *start_ms, value: *value });
            }
            let back: Vec<_> = chunk
                .iter()
                .map(|point| (point.at_ms, point.start_ms, point.value.to_bits()))
                .collect();
            let sent: Vec<_> = points.iter().map(|(at, start, v)| (*at, *start, v.to_bits())).collect();
            prop_assert_eq!(back, sent);
        }

        #[test]
        fn what_is_cut_off_does_not_change_the_rest(
            points in prop::collection::vec((1i64..1_000_000, any::<i64>(), value()), 1..100),
            cuts in prop::collection::vec(0usize..100, 1..8),
        ) {
            let (mut chunk, mut sent, mut at_ms) = (Chunk::default(), Vec::new(), 0);
            for (number, (step, start_ms, value)) in points.into_iter().enumerate() {
                at_ms += step;
                chunk.push(FloatPoint { at_ms, start_ms, value });
                sent.push((at_ms, start_ms, value.to_bits()));
                if cuts.contains(&number) {
                    let until_ms = sent[sent.len() / 2].0;
                    chunk.drop_until(until_ms);
                    sent.retain(|(at_ms, ..)| *at_ms > until_ms);
                }
                prop_assert_eq!(usize::from(chunk.len()), sent.len());
            }
            let bits = |points: ChunkIter<'_>| -> Vec<_> {
                points.map(|point| (point.at_ms, point.start_ms, point.value.to_bits())).collect()
            };
            prop_assert_eq!(&bits(chunk.iter()), &sent);
            let closed = chunk.close();
            prop_assert_eq!(closed.len(), u16::try_from(sent.len()).unwrap());
            prop_assert_eq!(bits(closed.iter()), sent);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let iter = ChunkIter::new(&bytes, State::default());
            prop_assert!(iter.count() <= bytes.len());
        }
    }

    #[test]
    fn a_steady_counter_takes_two_bytes_a_sample() {
        let mut chunk = Chunk::default();
        for at in 0..120 {
            chunk.push(FloatPoint {
                at_ms: at * 10_000,
                start_ms: 0,
                value: (at * 7) as f64,
            });
        }
        assert!(chunk.bytes.len() <= 250, "{}", chunk.bytes.len());
    }
}
