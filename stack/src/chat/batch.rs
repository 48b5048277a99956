//! Puts items into as few frames as their bounds allow. Each item was made into JSON once, when it
//! was taken; here bytes are only joined.

use bytes::Bytes;
use serde::Serialize;

use super::frame::text_frame;
use super::outbox::Frame;
use super::protocol::{Hello, Refused, ServerFrame, Tally};

/// Bounds of one frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameBound {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

/// Frames for items with consecutive revisions from `first` on, each with its last revision.
pub(crate) fn batches<'a>(
    first: u64,
    items: impl IntoIterator<Item = &'a Bytes>,
    bound: FrameBound,
) -> Vec<(u64, Frame)> {
    let (mut frames, mut parts, mut bytes, mut rev) = (Vec::new(), Vec::new(), 0, first);
    for item in items {
        if !parts.is_empty() && (parts.len() >= bound.items || bytes + item.len() > bound.bytes) {
            frames.push((rev - 1, batch(rev - 1, &parts)));
            parts.clear();
            bytes = 0;
        }
        bytes += item.len() + 1;
        parts.push(item);
        rev += 1;
    }
    if !parts.is_empty() {
        frames.push((rev - 1, batch(rev - 1, &parts)));
    }
    frames
}

/// The same for items with gaps in their revisions: no frame spans a gap, so that a client sees it.
pub(crate) fn runs(items: &[(u64, Bytes)], bound: FrameBound) -> Vec<(u64, Frame)> {
    items
        .chunk_by(|(one, _), (next, _)| one + 1 == *next)
        .flat_map(|run| {
            batches(
                run.first().map_or(0, |(rev, _)| *rev),
                run.iter().map(|(_, item)| item),
                bound,
            )
        })
        .collect()
}

/// Puts frames that go out together behind each other in buffers of up to `bytes`, each with its
/// last revision: small frames cost a system call for each consumer otherwise.
pub(crate) fn join(frames: Vec<(u64, Frame)>, bytes: usize) -> Vec<(u64, Frame)> {
    let mut joined: Vec<(u64, Frame)> = Vec::with_capacity(frames.len());
    let mut rest = frames.into_iter().peekable();
    while let Some((mut last, first)) = rest.next() {
        let mut length = first.bytes.len();
        let mut group = vec![first];
        while let Some((next, frame)) =
            rest.next_if(|(_, frame)| length + frame.bytes.len() <= bytes)
        {
            last = next;
            length += frame.bytes.len();
            group.push(frame);
        }
        let frame = match <[Frame; 1]>::try_from(group) {
            Ok([one]) => one,
            Err(group) => Frame {
                bytes: concat(&group, length),
                items: group.iter().map(|frame| frame.items).sum(),
            },
        };
        joined.push((last, frame));
    }
    joined
}

fn concat(frames: &[Frame], length: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(length);
    for frame in frames {
        bytes.extend_from_slice(&frame.bytes);
    }
    bytes.into()
}

/// `{"rev":..,"items":[..]}` as bytes.
pub(crate) fn page(rev: u64, items: &[&Bytes]) -> Vec<u8> {
    let length: usize = items.iter().map(|item| item.len() + 1).sum();
    let mut json = Vec::with_capacity(length + 40);
    json.extend_from_slice(format!("{{\"rev\":{rev},\"items\":[").as_bytes());
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(item);
    }
    json.extend_from_slice(b"]}");
    json
}

fn batch(rev: u64, items: &[&Bytes]) -> Frame {
    Frame {
        bytes: text_frame(&[&page(rev, items)]),
        items: items.len() as u32,
    }
}

/// The first frame of a connection.
pub(crate) fn hello(room: &str, rev: u64) -> Frame {
    json(&ServerFrame {
        hello: Some(Hello {
            room: room.into(),
            rev,
        }),
        ..ServerFrame::default()
    })
}

/// A refusal.
pub(crate) fn refusal(refused: Refused<'_>) -> Frame {
    json(&ServerFrame {
        err: Some(refused),
        ..ServerFrame::default()
    })
}

/// Sums.
pub(crate) fn tally(tally: Tally) -> Frame {
    json(&ServerFrame {
        tally: Some(tally),
        ..ServerFrame::default()
    })
}

fn json(value: &impl Serialize) -> Frame {
    // Strings, numbers and maps with string keys always serialize.
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    Frame {
        bytes: text_frame(&[&bytes]),
        items: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: FrameBound = FrameBound { items: 2, bytes: 8 };

    fn check(items: &[(u64, &'static str)], expected: &[(u64, &str)]) {
        let items: Vec<_> = items
            .iter()
            .map(|(rev, item)| (*rev, Bytes::from_static(item.as_bytes())))
            .collect();
        let frames = runs(&items, BOUND);
        let texts: Vec<_> = frames
            .iter()
            .map(|(rev, frame)| (*rev, std::str::from_utf8(&frame.bytes[2..]).unwrap()))
            .collect();
        assert_eq!(texts, expected);
        assert_eq!(
            frames
                .iter()
                .map(|(_, frame)| frame.items as usize)
                .sum::<usize>(),
            items.len()
        );
    }

    #[test]
    fn a_frame_ends_at_its_bounds_and_at_gaps() {
        check(&[], &[]);
        check(
            &[(5, "1"), (6, "2"), (7, "3")],
            &[
                (6, r#"{"rev":6,"items":[1,2]}"#),
                (7, r#"{"rev":7,"items":[3]}"#),
            ],
        );
        check(
            &[(1, "123456"), (2, "789")],
            &[
                (1, r#"{"rev":1,"items":[123456]}"#),
                (2, r#"{"rev":2,"items":[789]}"#),
            ],
        );
        check(
            &[(1, "1234567890123")],
            &[(1, r#"{"rev":1,"items":[1234567890123]}"#)],
        );
        check(
            &[(1, "1"), (3, "3")],
            &[
                (1, r#"{"rev":1,"items":[1]}"#),
                (3, r#"{"rev":3,"items":[3]}"#),
            ],
        );
    }
    #[test]
    fn frames_join_up_to_the_bound_and_stay_as_they_were() {
        let items: Vec<_> = (1..=5).map(|n: u8| Bytes::from(vec![b'0' + n])).collect();
        let frames = batches(1, &items, FrameBound { items: 1, bytes: 8 });
        let whole: Vec<u8> = frames
            .iter()
            .flat_map(|(_, frame)| frame.bytes.to_vec())
            .collect();
        let length = frames[0].1.bytes.len();
        for (bound, lasts) in [
            (0, vec![1, 2, 3, 4, 5]),
            (2 * length, vec![2, 4, 5]),
            (100 * length, vec![5]),
        ] {
            let joined = join(frames.clone(), bound);
            let bytes: Vec<u8> = joined
                .iter()
                .flat_map(|(_, frame)| frame.bytes.to_vec())
                .collect();
            assert_eq!(bytes, whole);
            assert_eq!(
                joined.iter().map(|(last, _)| *last).collect::<Vec<_>>(),
                lasts
            );
            let items: u32 = joined.iter().map(|(_, frame)| frame.items).sum();
            assert_eq!(items, 5);
        }
    }
}
