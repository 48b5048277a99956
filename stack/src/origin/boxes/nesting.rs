//! How deep boxes lie in boxes, before a parser that calls itself for each level sees them: a
//! sample entry may hold another one, and a megabyte of them would take more stack than there is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Levels that are read. Streams have about ten, from `moov` to what is in a sample entry; the rest
/// is for tracks, each of which has places that look like some more. A thread of the origin bears 300.
pub(super) const DEEPEST: usize = 64;

/// Whether some byte may lie in more than [`DEEPEST`] boxes. Knows no kind of box, so it takes for
/// one whatever could be: four letters or digits after a size that ends within `bytes`. That finds
/// at least every box that a parser would.
pub(super) fn is_deep(bytes: &[u8]) -> bool {
    // Where the boxes end that the place is in, the nearest first.
    let mut ends = BinaryHeap::new();
    for (at, eight) in bytes.windows(8).enumerate() {
        while ends.peek().is_some_and(|Reverse(end)| *end <= at) {
            ends.pop();
        }
        if let Some(end) = end_of(at, eight, bytes) {
            ends.push(Reverse(end));
            if ends.len() > DEEPEST {
                return true;
            }
        }
    }
    false
}

/// Where a box that begins at `at` ends, if one could.
fn end_of(at: usize, eight: &[u8], bytes: &[u8]) -> Option<usize> {
    let (size, kind) = eight.split_first_chunk::<4>()?;
    let named = kind
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | 0xa9));
    if !named {
        return None;
    }
    let size = match u32::from_be_bytes(*size) {
        // To the end of what it is in, wherever that is.
        0 => return Some(bytes.len()),
        1 => u64::from_be_bytes(*bytes.get(at + 8..)?.first_chunk()?),
        size => u64::from(size),
    };
    let end = at.checked_add(usize::try_from(size).ok()?)?;
    (size >= 8 && end <= bytes.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many boxes, each in the one before.
    fn nested(levels: usize) -> Vec<u8> {
        (1..=levels).rev().fold(Vec::new(), |mut bytes, level| {
            let size = 8 * (levels - level + 1) as u32;
            bytes.splice(0..0, size.to_be_bytes().into_iter().chain(*b"moov"));
            bytes
        })
    }

    #[test]
    fn the_deepest_that_is_read_is_no_deeper() {
        assert!(!is_deep(&nested(DEEPEST)));
        assert!(is_deep(&nested(DEEPEST + 1)));
    }

    #[test]
    fn boxes_side_by_side_are_not_deep() {
        assert!(!is_deep(&nested(2).repeat(1000)));
    }

    #[test]
    fn a_false_box_over_the_edge_of_a_true_one_hides_nothing() {
        let mut bytes = Vec::new();
        for level in 0..=DEEPEST as u32 {
            let rest = (DEEPEST as u32 - level) * 24;
            bytes.extend((24 + rest).to_be_bytes());
            bytes.extend(*b"avc1");
            bytes.extend([0; 8]);
            // Seems to end within the next true one.
            bytes.extend(12_u32.to_be_bytes());
            bytes.extend(*b"fake");
        }
        assert!(is_deep(&bytes));
    }

    #[test]
    fn boxes_without_an_end_or_with_a_long_size_count() {
        let open = [[0, 0, 0, 0, b'm', b'o', b'o', b'v']; DEEPEST + 1].concat();
        assert!(is_deep(&open));
        let levels = DEEPEST + 1;
        let long: Vec<u8> = (0..levels)
            .flat_map(|level| {
                let size = 16 * (levels - level) as u64;
                let head = 1_u32.to_be_bytes().into_iter().chain(*b"moov");
                head.chain(size.to_be_bytes()).collect::<Vec<u8>>()
            })
            .collect();
        assert!(is_deep(&long));
    }
}
