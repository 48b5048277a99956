//! Whatever an encoder sends, right or wrong: what is shown is a playlist, and what is kept bounded.

use proptest::prelude::*;

use super::*;
use crate::daemon::Table;
use crate::origin::boxes::tests::{fragment, init};
use crate::origin::boxes::{Limits, Splitter};

/// Most bytes that a stream may keep here.
const RING: usize = 20_000;
/// Most bytes of media in one fragment here.
const MEDIA: usize = 2_000;

fn metrics() -> Ingests {
    Ingests::register(&mut Table::default())
}

fn feed() -> Feed {
    Feed::new("test", Clock::start(), Duration::from_secs(6), RING)
}

/// An encoder that sends bytes to the end; what was shown, if anything new was.
fn send(feed: &mut Feed, bytes: &[u8], metrics: &Ingests) -> Result<Option<Arc<Stream>>, Fault> {
    let mut splitter = Splitter::new(Limits {
        header: 64 * 1024,
        media: 2 * MEDIA,
    });
    let mut shown = None;
    for chunk in bytes.chunks(1000) {
        splitter.push(chunk);
        while let Some(piece) = splitter.next()? {
            shown = feed.take(piece, metrics)?.begun.or(shown);
        }
    }
    splitter.finish().map(|()| shown)
}

/// What an encoder may do.
#[derive(Clone, Debug)]
enum Deed {
    /// So many tracks, ticks a second.
    Init(u32, u32),
    /// On from where the last one ended, by so many ticks, for so many samples of so many ticks.
    Fragment(u32, i64, (u32, u32), bool, usize),
    /// Goes and comes back.
    Resume,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let timescale = prop_oneof![Just(1000_u32), Just(90_000), any::<u32>(), Just(0), Just(1)];
    let jump = prop_oneof![8 => Just(0_i64), 2 => -3000..3000_i64, 1 => any::<i64>()];
    let samples = prop_oneof![
        8 => (1..8_u32, 20..200_u32),
        1 => (0..3_u32, any::<u32>()),
        1 => (any::<u32>(), any::<u32>()),
    ];
    let fragment = (1..3_u32, jump, samples, any::<bool>(), 0..MEDIA);
    let deed = prop_oneof![
        1 => (0..3_u32, timescale).prop_map(|(tracks, scale)| Deed::Init(tracks, scale)),
        12 => fragment.prop_map(|(track, jump, samples, sync, media)| Deed::Fragment(track, jump, samples, sync, media)),
        1 => Just(Deed::Resume),
    ];
    // Most begin as an encoder does.
    prop::collection::vec(deed, 1..120).prop_map(|mut deeds| {
        deeds.insert(0, Deed::Init(1, 1000));
        deeds
    })
}

/// The playlist is one, by an independent reader and by our players', and says no more than is kept.
fn check(stream: &Stream) {
    for rendition in &stream.renditions {
        let view = Arc::clone(&rendition.watch().borrow());
        let text = std::str::from_utf8(&view.playlist).unwrap();
        let parsed = m3u8_rs::parse_media_playlist_res(text.as_bytes());
        assert!(parsed.is_ok(), "{text}");
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        let bytes: u64 = view.timeline.listed().0.map(|one| one.chunks().len()).sum();
        // Above the ring: half of one in the open segment, half in one part.
        assert!(
            bytes as usize <= 2 * RING + 2 * MEDIA,
            "{bytes} bytes are listed"
        );
    }
}

proptest! {
    #[test]
    fn any_encoder_is_shown_or_refused_within_bounds(deeds in deeds(), damage in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>()))) {
        let (mut feed, metrics) = (feed(), metrics());
        let (mut stream, mut clock) = (None::<Arc<Stream>>, 0_u64);
        for deed in deeds {
            let mut bytes = match deed {
                Deed::Resume => {
                    feed.resume();
                    continue;
                }
                Deed::Init(tracks, timescale) => init(tracks, timescale),
                Deed::Fragment(track, jump, (count, duration), sync, media) => {
                    let decode = clock.wrapping_add_signed(jump);
                    clock = decode.wrapping_add(u64::from(count) * u64::from(duration));
                    fragment(track, decode, (count, duration), sync, media)
                }
            };
            if let Some((at, with)) = &damage && bytes.len() % 7 == 0 {
                let at = at.index(bytes.len());
                bytes[at] = *with;
            }
            // Each in a splitter of its own, which knows no initialization segment: put one before.
            let whole = if bytes.get(4..8) == Some(b"moof") { [init(0, 1), bytes].concat() } else { bytes };
            match send_one(&mut feed, &whole, &metrics) {
                Ok(shown) => stream = shown.or(stream),
                Err(_) => feed.resume(),
            }
            prop_assert!(feed.unshown() <= RING / 2 + 4 * MEDIA + 128 * 1024);
            if let Some(stream) = &stream {
                check(stream);
            }
        }
        feed.end();
        if let Some(stream) = &stream {
            check(stream);
        }
    }
}

/// The same for a part of a stream: an initialization segment without tracks is not passed on.
fn send_one(
    feed: &mut Feed,
    bytes: &[u8],
    metrics: &Ingests,
) -> Result<Option<Arc<Stream>>, Fault> {
    let mut splitter = Splitter::new(Limits::default());
    splitter.push(bytes);
    let (mut shown, mut pieces) = (None, Vec::new());
    while let Some(piece) = splitter.next()? {
        pieces.push(piece);
    }
    let last = pieces.len().saturating_sub(1);
    for (index, piece) in pieces.into_iter().enumerate() {
        if index == last || matches!(piece, Piece::Fragment(_)) {
            shown = feed.take(piece, metrics)?.begun.or(shown);
        }
    }
    Ok(shown)
}

#[test]
fn initialization_segments_that_nothing_uses_are_not_kept() {
    let (mut feed, metrics) = (feed(), metrics());
    let mut bytes = init(1, 1000);
    for number in 0..4 {
        bytes.extend(fragment(1, number * 500, (5, 100), true, 100));
    }
    let stream = send(&mut feed, &bytes, &metrics).unwrap().unwrap();
    for _ in 0..1000 {
        send(&mut feed, &init(1, 1000), &metrics).unwrap();
    }
    let more = [init(1, 1000), fragment(1, 0, (5, 100), true, 100)].concat();
    send(&mut feed, &more, &metrics).unwrap();
    let view = Arc::clone(&stream.renditions[0].watch().borrow());
    assert_eq!(view.timeline.inits(), 2);
    assert!(view.timeline.init(None).is_some());
}

#[test]
fn fragments_too_short_for_a_clock_are_refused() {
    let (mut feed, metrics) = (feed(), metrics());
    let bytes = [init(1, 1_000_000), fragment(1, 0, (1, 999), true, 10)].concat();
    let fault = send(&mut feed, &bytes, &metrics).unwrap_err();
    assert_eq!(fault.name(), "bad_times");
}
