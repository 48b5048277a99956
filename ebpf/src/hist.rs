//! The one bucket scheme for times, from the kernel to Grafana, and the one for sizes.
//!
//! Times: bucket `k` in `1..=216` counts `(2^((k-161)/8), 2^((k-160)/8)]` seconds, that is, the
//! OpenTelemetry exponential histogram at scale 3 (Prometheus schema 3) from 2^-20 s to 2^7 s.
//! Bucket 0 counts what is not above 2^-20 s, bucket 217 what is above 2^7 s.
//! Bounds are exact to the nanosecond: `ns <= floor(bound)` is the same as `ns <= bound`.

/// Counters of a time histogram, the two outer ones included.
pub const TIME_BUCKETS: usize = 218;
/// OpenTelemetry index (scale 3) of time bucket 1.
pub const TIME_FIRST: i32 = -160;
/// Counters of a size histogram: not above 2^8 bytes, 20 powers of two, above 2^28 bytes.
pub const SIZE_BUCKETS: usize = 22;
/// OpenTelemetry index (scale 0) of size bucket 1.
pub const SIZE_FIRST: i32 = 8;

/// 2^(k/8) in units of 2^-62, rounded.
const EIGHTHS: [u128; 8] = [
    4611686018427387904,
    5029079263719320435,
    5484249825272419512,
    5980616842327661685,
    6521908912666391106,
    7112192101001162095,
    7755900482342532474,
    8457869449776733335,
];

const NS_PER_S: u128 = 1_000_000_000;
/// Values of 37 bits and more are above the last bound of 128 s.
const OVERFLOW_BITS: u32 = 37;
/// One cell for each power of two and 16 steps within: never more than one bound in a cell, since
/// a step is at most 1/16 wide and a bucket 1/11. As many as a byte and a half can number, so that
/// the verifier sees each index to be inside of the table.
const CELLS: usize = 256 * 16;

/// Largest whole nanosecond of each bucket. Longer than the buckets for the same reason.
static LAST_NS: [u64; 256] = last_ns();
/// Bucket of the smallest value of each cell.
static CELL_BUCKET: [u8; CELLS] = cell_buckets();

const fn last_ns() -> [u64; 256] {
    let mut bounds = [u64::MAX; 256];
    let mut k = 0;
    while k < TIME_BUCKETS - 1 {
        // Bound 2^(k/8 - 20) seconds.
        bounds[k] = ((EIGHTHS[k % 8] * NS_PER_S) >> (62 + 20 - k / 8)) as u64;
        k += 1;
    }
    bounds
}

const fn cell_buckets() -> [u8; CELLS] {
    let bounds = last_ns();
    let mut cells = [0; CELLS];
    let mut cell = 4 * 16;
    while cell < OVERFLOW_BITS as usize * 16 {
        let lowest = ((16 + cell as u64 % 16) << (cell / 16)) >> 4;
        let mut bucket = 0;
        while lowest > bounds[bucket] {
            bucket += 1;
        }
        cells[cell] = bucket as u8;
        cell += 1;
    }
    cells
}

/// Position of the highest set bit; 0 for 0. Branch-free, since BPF has no such instruction and
/// each branch costs the verifier a path.
#[inline(always)]
fn log2(value: u64) -> u32 {
    const POSITIONS: [u8; 64] = {
        let mut positions = [0; 64];
        let mut bit = 0;
        while bit < 64 {
            let filled = u64::MAX >> (63 - bit);
            positions[(filled.wrapping_mul(DE_BRUIJN) >> 58) as usize] = bit as u8;
            bit += 1;
        }
        positions
    };
    static TABLE: [u8; 64] = POSITIONS;
    const DE_BRUIJN: u64 = 0x03f6_eaf2_cd27_1461;
    let mut filled = value | value >> 1;
    filled |= filled >> 2;
    filled |= filled >> 4;
    filled |= filled >> 8;
    filled |= filled >> 16;
    filled |= filled >> 32;
    TABLE[(filled.wrapping_mul(DE_BRUIJN) >> 58) as usize] as u32
}

/// The bucket of a time in nanoseconds; always below [`TIME_BUCKETS`].
#[inline(always)]
pub fn time_bucket(ns: u64) -> usize {
    if ns >> OVERFLOW_BITS != 0 {
        return TIME_BUCKETS - 1;
    }
    if ns < 16 {
        return 0;
    }
    let top = log2(ns);
    let cell = top as usize * 16 + (ns >> (top - 4) & 15) as usize;
    let bucket = CELL_BUCKET[cell & (CELLS - 1)] as usize;
    if ns > LAST_NS[bucket] {
        bucket + 1
    } else {
        bucket
    }
}

/// The bucket of a size in bytes; always below [`SIZE_BUCKETS`].
#[inline(always)]
pub fn size_bucket(bytes: u32) -> usize {
    if bytes <= 1 << 8 {
        return 0;
    }
    // Bounds are inclusive: 512 is in (256, 512].
    let top = log2(bytes as u64 - 1) as usize - 7;
    if top < SIZE_BUCKETS {
        top
    } else {
        SIZE_BUCKETS - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, in floating point.
    fn by_definition(ns: u64) -> usize {
        let seconds = ns as f64 / 1e9;
        let upper = |k: usize| ((k as f64) / 8.0 - 20.0).exp2();
        (0..TIME_BUCKETS - 1)
            .find(|k| seconds <= upper(*k))
            .unwrap_or(TIME_BUCKETS - 1)
    }

    #[test]
    fn upper_bounds_are_inclusive() {
        for (k, last) in LAST_NS.iter().copied().enumerate().take(TIME_BUCKETS - 1) {
            assert_eq!(time_bucket(last), k);
            assert_eq!(time_bucket(last + 1), k + 1);
            let bound = ((k as f64) / 8.0 - 20.0).exp2() * 1e9;
            assert!(
                last as f64 <= bound && bound < last as f64 + 1.0,
                "bound {k}"
            );
        }
        assert_eq!(time_bucket(1_000_000_000), 160);
        assert_eq!(time_bucket(0), 0);
        assert_eq!(time_bucket(u64::MAX), TIME_BUCKETS - 1);
    }

    #[test]
    fn sizes_double() {
        assert_eq!(size_bucket(0), 0);
        assert_eq!(size_bucket(256), 0);
        for k in 1..SIZE_BUCKETS - 1 {
            let upper = 1_u32 << (8 + k);
            assert_eq!(size_bucket(upper), k);
            assert_eq!(size_bucket(upper + 1), k + 1);
        }
        assert_eq!(size_bucket(u32::MAX), SIZE_BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn any_time_is_in_the_bucket_of_the_definition(bits in 0_u32..64, low: u64) {
            let ns = low >> bits;
            prop_assert_eq!(time_bucket(ns), by_definition(ns));
        }

        #[test]
        fn the_highest_bit_is_found(value in 1_u64..) {
            prop_assert_eq!(log2(value), value.ilog2());
        }
    }
}
