//! What a connection could not be sent yet: a bounded queue of shared frames with a policy for
//! when it is full. Empty, it owns no memory. Does no I/O; the writing is passed in.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A frame as it goes over the wire, shared by all that it is sent to.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// Number of room items in it; 0 for what is not a batch.
    pub(crate) items: u32,
}

/// What happens to a consumer whose queue is full.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SlowConsumer {
    /// The oldest frames go; the consumer sees the gap in the revisions.
    #[default]
    DropOldest,
    /// The connection goes.
    Disconnect,
}

/// Bounds of one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
    pub(crate) policy: SlowConsumer,
}

/// What became of a frame that was queued.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Queued {
    /// It waits; so many items of older frames were dropped for it, in so many frames.
    Waits { items: u32, frames: u32 },
    /// There is no room and the policy is to disconnect.
    Full,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Frame>,
    bytes: usize,
    /// The first frame is partly written: it cannot be dropped any more.
    begun: bool,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues the end of a frame whose first `written` bytes are out.
    pub(crate) fn push(&mut self, frame: &Frame, written: usize, bound: &Bound) -> Queued {
        let rest = frame.bytes.slice(written..);
        let (mut items, mut frames) = (0, 0);
        while self.queue.len() >= bound.frames || self.bytes + rest.len() > bound.bytes {
            let oldest = usize::from(self.begun);
            if self.queue.len() <= oldest {
                break;
            }
            if bound.policy == SlowConsumer::Disconnect {
                return Queued::Full;
            }
            if let Some(dropped) = self.queue.remove(oldest) {
                self.bytes -= dropped.bytes.len();
                items += dropped.items;
                frames += 1;
            }
        }
        if self.queue.is_empty() {
            self.begun = written > 0;
        }
        self.bytes += rest.len();
        self.queue.push_back(Frame {
            bytes: rest,
            items: frame.items,
        });
        Queued::Waits { items, frames }
    }

    /// Writes until it is empty or `write` would block. Returns the number of items sent whole.
    pub(crate) fn drain(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<u32> {
        let mut items = 0;
        while let Some(first) = self.queue.front_mut() {
            match write(&first.bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.bytes -= written;
                    if written == first.bytes.len() {
                        items += first.items;
                        self.queue.pop_front();
                        self.begun = false;
                    } else {
                        first.bytes = first.bytes.slice(written..);
                        self.begun = true;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(items),
                Err(error) => return Err(error),
            }
        }
        // Gives the memory back: most connections wait once and never again.
        self.queue = VecDeque::new();
        Ok(items)
    }

    /// Forgets everything; returns the items and bytes that were waiting.
    pub(crate) fn clear(&mut self) -> (u32, usize) {
        let items = self.queue.iter().map(|frame| frame.items).sum();
        let bytes = self.bytes;
        *self = Self::default();
        (items, bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(text: &'static str) -> Frame {
        Frame {
            bytes: Bytes::from_static(text.as_bytes()),
            items: 1,
        }
    }

    fn bound(policy: SlowConsumer) -> Bound {
        Bound {
            frames: 3,
            bytes: 100,
            policy,
        }
    }

    fn drained(outbox: &mut Outbox) -> String {
        let mut out = Vec::new();
        outbox
            .drain(|bytes| {
                out.extend_from_slice(bytes);
                Ok(bytes.len())
            })
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_oldest_goes_but_never_the_one_that_is_begun() {
        let (mut outbox, bound) = (Outbox::default(), bound(SlowConsumer::DropOldest));
        assert_eq!(
            outbox.push(&frame("abc"), 1, &bound),
            Queued::Waits {
                items: 0,
                frames: 0
            }
        );
        for text in ["d", "e"] {
            outbox.push(&frame(text), 0, &bound);
        }
        assert_eq!(
            outbox.push(&frame("f"), 0, &bound),
            Queued::Waits {
                items: 1,
                frames: 1
            }
        );
        assert_eq!(drained(&mut outbox), "bcef");
        assert_eq!((outbox.bytes(), outbox.is_empty()), (0, true));
    }

    #[test]
    fn a_full_queue_disconnects_if_the_policy_says_so() {
        let (mut outbox, bound) = (Outbox::default(), bound(SlowConsumer::Disconnect));
        for text in ["a", "b", "c"] {
            assert_eq!(
                outbox.push(&frame(text), 0, &bound),
                Queued::Waits {
                    items: 0,
                    frames: 0
                }
            );
        }
        assert_eq!(outbox.push(&frame("d"), 0, &bound), Queued::Full);
        assert_eq!(outbox.clear(), (3, 3));
    }

    proptest! {
        #[test]
        fn whatever_is_written_consists_of_whole_frames_in_order(
            steps in prop::collection::vec((1_usize..30, 0_usize..40), 1..60),
        ) {
            let bound = Bound { frames: 4, bytes: 60, policy: SlowConsumer::DropOldest };
            let (mut outbox, mut out, mut dropped, mut sent) = (Outbox::default(), Vec::new(), 0, 0);
            for (index, (length, room)) in steps.iter().enumerate() {
                // Each frame says its number and length, so that a cut one would show.
                let mut bytes = vec![index as u8, *length as u8];
                bytes.resize(length + 2, 0xff);
                let frame = Frame { bytes: bytes.into(), items: 1 };
                if let Queued::Waits { items, .. } = outbox.push(&frame, 0, &bound) {
                    dropped += items;
                }
                prop_assert!(outbox.bytes() <= 60 + 32);
                let mut room = *room;
                sent += outbox.drain(|bytes| {
                    let n = room.min(bytes.len());
                    room -= n;
                    out.extend_from_slice(&bytes[..n]);
                    if n == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(n) }
                }).unwrap();
            }
            sent += outbox.drain(|bytes| { out.extend_from_slice(bytes); Ok(bytes.len()) }).unwrap();
            prop_assert_eq!(dropped + sent, steps.len() as u32);
            let (mut at, mut last) = (0, None);
            while at < out.len() {
                let (index, length) = (out[at], usize::from(out[at + 1]));
                prop_assert!(last.is_none_or(|last| index > last));
                prop_assert!(out[at + 2..at + 2 + length].iter().all(|byte| *byte == 0xff));
                last = Some(index);
                at += 2 + length;
            }
        }
    }
}
