//! Of boxes; the streams in here also feed the tests of what is made of them.

use mp4_atom::{
    Avc1, Avcc, Codec, Encode as _, Mdhd, Mfhd, Stsd, Tfdt, Tfhd, Tkhd, Traf, Trak, Trun,
    TrunSamples, Visual,
};
use proptest::prelude::*;

use super::*;

/// `sample_is_non_sync_sample`.
const NON_SYNC: u32 = 1 << 16;

/// An initialization segment with pictures in each of so many tracks, numbered from 1.
pub(crate) fn init(tracks: u32, timescale: u32) -> Vec<u8> {
    let avc1 = Avc1 {
        visual: Visual {
            width: 320,
            height: 180,
            ..Visual::default()
        },
        avcc: Avcc::new(&[0x67, 66, 0xc0, 30], &[0x68, 0xce]).unwrap(),
        ..Avc1::default()
    };
    let trak = |track_id| {
        let mut trak = Trak {
            tkhd: Tkhd {
                track_id,
                ..Tkhd::default()
            },
            ..Trak::default()
        };
        trak.mdia.mdhd = Mdhd {
            timescale,
            language: "und".to_owned(),
            ..Mdhd::default()
        };
        trak.mdia.minf.stbl.stsd = Stsd {
            codecs: vec![Codec::Avc1(avc1.clone())],
        };
        trak
    };
    let moov = Moov {
        trak: (1..=tracks).map(trak).collect(),
        ..Moov::default()
    };
    let mut bytes = bytes_of(b"ftyp", b"iso6");
    moov.encode(&mut bytes).unwrap();
    bytes
}

/// A fragment of `count` samples of one length in ticks, with so many bytes of media.
pub(crate) fn fragment(
    track_id: u32,
    decode: u64,
    (count, duration): (u32, u32),
    sync: bool,
    media: usize,
) -> Vec<u8> {
    let traf = Traf {
        tfhd: Tfhd {
            track_id,
            default_sample_duration: Some(duration),
            default_sample_flags: Some(if sync { 0 } else { NON_SYNC }),
            ..Tfhd::default()
        },
        tfdt: Some(Tfdt {
            base_media_decode_time: decode,
        }),
        trun: vec![Trun {
            data_offset: None,
            samples: TrunSamples::Inherited {
                count,
                first_flags: None,
            },
        }],
        ..Traf::default()
    };
    let moof = Moof {
        mfhd: Mfhd { sequence_number: 1 },
        traf: vec![traf],
    };
    let mut bytes = Vec::new();
    moof.encode(&mut bytes).unwrap();
    bytes.extend(bytes_of(b"mdat", &vec![7; media]));
    bytes
}

/// An initialization segment whose sample entry holds a sample entry, and so on.
fn deep(levels: usize) -> Vec<u8> {
    let good = init(1, 1000);
    let at = good.windows(4).position(|four| four == b"avc1").unwrap() - 4;
    let entry = &good[at..at + 86];
    // From the inside out: each is the one before with a header and 78 bytes of its own around it.
    let mut inner = Vec::new();
    for _ in 0..levels {
        let mut outer = (86 + inner.len() as u32).to_be_bytes().to_vec();
        outer.extend_from_slice(&entry[4..]);
        outer.append(&mut inner);
        inner = outer;
    }
    // Around it as in `good`, each as much longer.
    let old = good.len() - at;
    let mut bytes = good[..at].to_vec();
    for kind in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"] {
        let place = bytes.windows(4).position(|four| four == kind).unwrap() - 4;
        let size = (bytes.len() - place + inner.len()) as u32;
        bytes[place..place + 4].copy_from_slice(&size.to_be_bytes());
    }
    assert!(old >= 86);
    bytes.append(&mut inner);
    bytes
}

fn bytes_of(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len() + 8)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    bytes.extend_from_slice(kind);
    bytes.extend_from_slice(body);
    bytes
}

fn stream() -> Vec<u8> {
    let mut bytes = bytes_of(b"ftyp", b"iso6");
    Moov::default().encode(&mut bytes).unwrap();
    for sequence_number in 1..4 {
        bytes.extend(bytes_of(b"styp", b"msdh"));
        let moof = Moof {
            mfhd: Mfhd { sequence_number },
            traf: Vec::new(),
        };
        moof.encode(&mut bytes).unwrap();
        bytes.extend(bytes_of(b"mdat", &[7; 100]));
    }
    bytes
}

fn split(limits: Limits, chunks: &[&[u8]]) -> Result<Vec<Piece>, Fault> {
    let mut splitter = Splitter::new(limits);
    let mut pieces = Vec::new();
    for chunk in chunks {
        splitter.push(chunk);
        while let Some(piece) = splitter.next()? {
            pieces.push(piece);
        }
    }
    splitter.finish().map(|()| pieces)
}

#[test]
fn a_stream_comes_apart_at_its_fragments_however_it_is_cut() {
    let bytes = stream();
    for cut in 0..bytes.len() {
        let pieces = split(Limits::default(), &[&bytes[..cut], &bytes[cut..]]).unwrap();
        let numbers: Vec<u32> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Fragment(fragment) => Some(fragment.moof.mfhd.sequence_number),
                Piece::Init(..) => None,
            })
            .collect();
        assert_eq!((pieces.len(), numbers), (4, vec![1, 2, 3]));
    }
}

#[test]
fn each_refusal_has_its_name() {
    let small = Limits {
        header: 4096,
        media: 50,
    };
    let name = |limits, bytes: &[u8]| split(limits, &[bytes]).unwrap_err().name();
    let whole = stream();
    assert_eq!(name(small, &whole), "oversized");
    assert_eq!(
        name(Limits::default(), &whole[..whole.len() - 1]),
        "truncated"
    );
    assert_eq!(name(Limits::default(), &bytes_of(b"mdat", b"")), "unpaired");
    assert_eq!(
        name(Limits::default(), &bytes_of(b"moov", b"junk")),
        "malformed"
    );
    assert_eq!(name(Limits::default(), b"\0\0\0\x03moov"), "bad_size");
    assert_eq!(name(Limits::default(), b"\0\0\0\0moov"), "bad_size");
    assert_eq!(
        name(
            Limits::default(),
            b"\0\0\0\x01mdat\xff\xff\xff\xff\xff\xff\xff\xff"
        ),
        "oversized"
    );
    let mut moof = Vec::new();
    Moof::default().encode(&mut moof).unwrap();
    assert_eq!(name(Limits::default(), &moof), "no_init");
}

/// The parser would call itself once for each level: a stack ends before a megabyte of them does.
#[test]
fn boxes_in_boxes_without_end_are_refused_before_they_are_parsed() {
    for levels in [100, 10_000] {
        let bytes = deep(levels);
        assert!(bytes.len() < Limits::default().header);
        let fault = split(Limits::default(), &[&bytes]).unwrap_err();
        assert_eq!(fault.name(), "too_deep", "{fault}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_pieces_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        _ = split(Limits { header: 256, media: 256 }, &[&bytes]);
    }

    #[test]
    fn a_damaged_stream_ends_in_pieces_or_a_fault(at in 0usize..300, with in any::<u8>(), cut in 0usize..600) {
        let mut bytes = stream();
        let (at, cut) = (at.min(bytes.len() - 1), cut.min(bytes.len()));
        bytes[at] = with;
        _ = split(Limits::default(), &[&bytes[..cut], &bytes[cut..]]);
    }

    /// Real tracks and fragments, with bytes changed anywhere.
    #[test]
    fn a_damaged_recording_ends_in_pieces_or_a_fault(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = [init(2, 15_360), fragment(1, 0, (6, 512), true, 50), fragment(2, 0, (6, 512), false, 50)].concat();
        for (at, with) in changes {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        let (one, two) = bytes.split_at(cut.index(bytes.len()));
        _ = split(Limits::default(), &[one, two]);
    }
}
