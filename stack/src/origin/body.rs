//! Answers made of shared pieces of memory: nothing is copied, so that a slow reader costs a few
//! pointers and not a segment.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Bytes in pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunks {
    chunks: VecDeque<Bytes>,
    left: u64,
}

impl Chunks {
    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.left
    }

    /// Only the bytes in `range`, which lies within.
    pub(crate) fn slice(&self, range: Range<u64>) -> Self {
        let mut from = 0;
        self.chunks
            .iter()
            .filter_map(|chunk| {
                let (start, end) = (from, from + chunk.len() as u64);
                from = end;
                let (start, end) = (
                    range.start.max(start) - start,
                    range.end.min(end).checked_sub(start)?,
                );
                (start < end).then(|| chunk.slice(start as usize..end as usize))
            })
            .collect()
    }
}

impl FromIterator<Bytes> for Chunks {
    fn from_iter<I: IntoIterator<Item = Bytes>>(chunks: I) -> Self {
        let chunks: VecDeque<Bytes> = chunks
            .into_iter()
            .filter(|chunk| !chunk.is_empty())
            .collect();
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks, left }
    }
}

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        Poll::Ready(this.chunks.pop_front().map(|chunk| {
            this.left -= chunk.len() as u64;
            Ok(Frame::data(chunk))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_slice_is_that_of_the_joined_bytes(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6),
            a in 0usize..60,
            b in 0usize..60,
        ) {
            let joined = parts.concat();
            let (a, b) = (a.min(joined.len()), b.min(joined.len()));
            let range = a.min(b)..a.max(b);
            let chunks: Chunks = parts.into_iter().map(Bytes::from).collect();
            prop_assert_eq!(chunks.len(), joined.len() as u64);
            let slice = chunks.slice(range.start as u64..range.end as u64);
            prop_assert_eq!(slice.len(), range.len() as u64);
            prop_assert_eq!(slice.chunks.iter().flatten().copied().collect::<Vec<_>>(), &joined[range]);
        }
    }
}
