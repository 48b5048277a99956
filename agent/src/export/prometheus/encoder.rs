//! A snapshot as a series of small pieces in the format the client asked for, so that an answer
//! of any size takes little memory and never holds the thread for long.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::negotiation::Format;
use super::{protobuf, text};
use crate::metrics::Snapshot;

/// Bytes of a piece before compression, about.
const PIECE: usize = 64 * 1024;

/// Encodes a snapshot piece by piece.
pub struct Encoder {
    snapshot: Arc<Snapshot>,
    format: Format,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// Where to go on: the family, and the point in it.
    family: usize,
    point: usize,
    text: Option<text::Encoder>,
    /// Encoded, not yet compressed.
    plain: Bytes,
    ended: bool,
}

impl Encoder {
    /// Encodes in `format`, compressed with gzip level 1 if asked: higher levels take several
    /// times as long for little.
    pub fn new(snapshot: Snapshot, format: Format, gzip: bool) -> Self {
        Self {
            snapshot: Arc::new(snapshot),
            format,
            gzip: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            family: 0,
            point: 0,
            text: None,
            plain: Bytes::new(),
            ended: false,
        }
    }

    /// The next uncompressed piece.
    fn next_plain(&mut self) -> Option<Bytes> {
        if self.plain.is_empty() && !self.ended {
            self.plain = match self.format {
                Format::Text | Format::OpenMetrics => self.encode_text().into(),
                Format::Protobuf => self.encode_protobuf().into(),
            };
        }
        let piece = self.plain.split_to(self.plain.len().min(PIECE));
        (!piece.is_empty()).then_some(piece)
    }

    fn encode_text(&mut self) -> String {
        let openmetrics = self.format == Format::OpenMetrics;
        let mut out = String::with_capacity(PIECE + PIECE / 8);
        let snapshot = Arc::clone(&self.snapshot);
        while let Some(family) = snapshot.families.get(self.family) {
            for point in &family.points[self.point..] {
                if out.len() >= PIECE {
                    return out;
                }
                self.text
                    .get_or_insert_with(|| text::Encoder::start(family, openmetrics, &mut out))
                    .write(point, &mut out);
                self.point += 1;
            }
            self.family += 1;
            self.point = 0;
            self.text = None;
        }
        if openmetrics {
            out.push_str(text::END_OF_OPENMETRICS);
        }
        self.ended = true;
        out
    }

    fn encode_protobuf(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(family) = self.snapshot.families.get(self.family) {
            if out.len() >= PIECE {
                return out;
            }
            if !family.points.is_empty() {
                protobuf::encode_family(&self.snapshot, family, &mut out);
            }
            self.family += 1;
        }
        self.ended = true;
        out
    }
}

impl Iterator for Encoder {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let plain = self.next_plain();
            let Some(gzip) = &mut self.gzip else {
                return plain;
            };
            // Writing to memory does not fail.
            let done = match &plain {
                Some(plain) => gzip.write_all(plain),
                None => gzip.try_finish(),
            };
            let compressed = Bytes::from(std::mem::take(gzip.get_mut()));
            if plain.is_none() || done.is_err() {
                self.gzip = None;
            }
            if !compressed.is_empty() || self.gzip.is_none() {
                return (!compressed.is_empty()).then_some(compressed);
            }
        }
    }
}
