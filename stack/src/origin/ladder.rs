//! The looped ladder in memory: parts cut at the same times in every rung, given out for any moment
//! with the decode times and numbers of that moment. A part's media is shared by all streams and
//! loops; only its `moof` is made anew.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use mp4_atom::{Encode as _, Mfhd, Moof, Tfdt, Tfhd, Traf, Trun, TrunEntry};

use super::boxes::{Fragment, Limits, Piece, Splitter};
use super::playlist::Variant;
use super::timeline::Part;
use super::track::{self, Kind, Sample, Track};

/// Length of a part in milliseconds, and parts in a segment.
pub(crate) const PART_MS: u64 = 200;
pub(crate) const SEGMENT_PARTS: u64 = 10;
pub(crate) const SEGMENT_MS: u64 = PART_MS * SEGMENT_PARTS;

/// Loops are whole multiples of this: there an AAC frame (1024 samples of 48 kHz) ends with a
/// segment, so that sound and pictures loop as one.
pub(crate) const LOOP_STEP_S: u64 = 8;

/// One rung as a loop.
#[derive(Debug)]
pub(crate) struct Rung {
    pub(crate) variant: Variant,
    pub(crate) init: Bytes,
    track: Track,
    parts: Vec<Loop>,
    /// Length of the loop in ticks.
    ticks: u64,
}

#[derive(Debug)]
struct Loop {
    /// In ticks from the start of the loop.
    start: u64,
    duration: u64,
    independent: bool,
    samples: Vec<TrunEntry>,
    /// The `mdat`, with its header.
    media: Bytes,
}

impl Rung {
    /// Reads `NAME.mp4`, of which the first `seconds` are used.
    ///
    /// # Errors
    /// If the file is not what [`media`](super::media) makes; names the file.
    pub(crate) fn read(folder: &Path, name: &str, seconds: u64) -> Result<Self> {
        let path = folder.join(name).with_extension("mp4");
        let parse = || {
            let bytes = fs::read(&path)?;
            Self::parse(name, &bytes, seconds)
        };
        parse().with_context(|| format!("in {}", path.display()))
    }

    fn parse(name: &str, bytes: &[u8], seconds: u64) -> Result<Self> {
        let mut splitter = Splitter::new(Limits::default());
        splitter.push(bytes);
        let Some(Piece::Init(_, mut moov)) = splitter.next()? else {
            bail!("no initialization segment at the start");
        };
        let track = track::read(&moov)?.swap_remove(0);
        let mut samples = Vec::new();
        while let Some(piece) = splitter.next()? {
            let Piece::Fragment(fragment) = piece else {
                bail!("a second initialization segment");
            };
            read_samples(&track, &fragment, &mut samples)?;
        }
        // The encoder's first AAC frame is a warm-up that an edit list hides; without both, the
        // next one begins at 0.
        if matches!(track.kind, Kind::Audio { .. }) && !samples.is_empty() {
            samples.remove(0);
        }
        for trak in &mut moov.trak {
            trak.edts = None;
        }
        let ticks = seconds * u64::from(track.timescale);
        let parts = cut(
            &samples,
            ticks,
            u64::from(track.timescale),
            seconds * 1000 / PART_MS,
        )?;
        let mut init = BytesMut::new();
        mp4_atom::Ftyp {
            major_brand: b"iso6".into(),
            minor_version: 0,
            compatible_brands: vec![b"iso6".into(), b"cmfc".into()],
        }
        .encode(&mut init)?;
        moov.encode(&mut init)?;
        let mut rung = Self {
            variant: variant(name, &track),
            init: init.freeze(),
            track,
            parts,
            ticks,
        };
        rung.measure();
        Ok(rung)
    }

    /// Part number `index` since 1970.
    pub(crate) fn part(&self, index: u64) -> Part {
        let (looped, base) = self.looped(index);
        let moof = self.moof(looped, base + looped.start, index as u32);
        Part {
            chunks: Arc::new([moof, looped.media.clone()]),
            duration: self.time(looped.duration),
            independent: looped.independent,
        }
    }

    /// When part number `index` begins to play, in milliseconds since 1970.
    pub(crate) fn start_ms(&self, index: u64) -> u64 {
        let (looped, base) = self.looped(index);
        self.time(base + looped.start).as_millis() as u64
    }

    /// Longest part.
    pub(crate) fn longest(&self) -> Duration {
        let longest = self.parts.iter().map(|part| part.duration).max();
        self.time(longest.unwrap_or(0))
    }

    /// A part of the loop and where in ticks this turn of the loop begins.
    fn looped(&self, index: u64) -> (&Loop, u64) {
        let count = self.parts.len() as u64;
        (
            &self.parts[(index % count) as usize],
            index / count * self.ticks,
        )
    }

    fn time(&self, ticks: u64) -> Duration {
        let scale = u64::from(self.track.timescale);
        let nanos = ticks % scale * 1_000_000_000 / scale;
        Duration::new(ticks / scale, nanos as u32)
    }

    fn moof(&self, looped: &Loop, decode: u64, sequence_number: u32) -> Bytes {
        let mut moof = Moof {
            mfhd: Mfhd { sequence_number },
            traf: vec![Traf {
                tfhd: Tfhd {
                    track_id: self.track.id,
                    default_base_is_moof: true,
                    ..Tfhd::default()
                },
                tfdt: Some(Tfdt {
                    base_media_decode_time: decode,
                }),
                trun: vec![Trun {
                    data_offset: Some(0),
                    samples: looped.samples.clone().into(),
                }],
                ..Traf::default()
            }],
        };
        let mut bytes = BytesMut::with_capacity(512);
        // The offset of the media depends on the length of the box that holds it.
        for _ in 0..2 {
            if let Some(run) = moof.traf.first_mut().and_then(|traf| traf.trun.first_mut()) {
                run.data_offset = Some(bytes.len() as i32 + MDAT_HEADER as i32);
            }
            bytes.clear();
            if let Err(error) = moof.encode(&mut bytes) {
                // Only composition offsets beyond 32 bits cannot be written, and they were read
                // from 32 bits.
                tracing::error!(%error, "cannot write a fragment header");
            }
        }
        bytes.freeze()
    }

    /// Bit rates as RFC 8216bis § 4.4.6.2 wants them: of the busiest segment, and of all.
    fn measure(&mut self) {
        let segment = SEGMENT_PARTS as usize;
        let bytes = |parts: &[Loop]| -> u64 {
            parts.iter().map(|part| part.media.len() as u64 + 200).sum()
        };
        let peak = self.parts.chunks(segment).map(bytes).max().unwrap_or(0);
        self.variant.peak = peak * 8000 / SEGMENT_MS;
        self.variant.average =
            bytes(&self.parts) * 8 * u64::from(self.track.timescale) / self.ticks.max(1);
        if self.variant.resolution.is_some() {
            let frames: usize = self.parts.iter().map(|part| part.samples.len()).sum();
            self.variant.rate =
                Some(frames as f64 * f64::from(self.track.timescale) / self.ticks as f64);
        }
    }
}

const MDAT_HEADER: usize = 8;

fn variant(name: &str, track: &Track) -> Variant {
    let (resolution, channels) = match track.kind {
        Kind::Video { width, height } => (Some((width, height)), 0),
        Kind::Audio { channels } => (None, channels),
    };
    Variant {
        rung: name.to_owned(),
        peak: 0,
        average: 0,
        codecs: track.codec.clone(),
        resolution,
        rate: None,
        channels,
    }
}

fn read_samples(
    track: &Track,
    fragment: &Fragment,
    samples: &mut Vec<(Sample, Bytes)>,
) -> Result<()> {
    let Some(traf) = track.part(&fragment.moof) else {
        return Ok(());
    };
    let offset = traf
        .trun
        .first()
        .and_then(|run| run.data_offset)
        .context("a run of samples without an offset")?;
    ensure!(
        traf.trun.len() == 1,
        "more than one run of samples in a fragment"
    );
    let mut at = usize::try_from(offset).context("a run of samples with a negative offset")?;
    for sample in track.samples(traf) {
        let end = at + sample.size as usize;
        ensure!(end <= fragment.bytes.len(), "a sample beyond its fragment");
        samples.push((sample, fragment.bytes.slice(at..end)));
        at = end;
    }
    Ok(())
}

/// Parts of 200 ms: a sample belongs to the part in which it begins.
fn cut(samples: &[(Sample, Bytes)], ticks: u64, scale: u64, count: u64) -> Result<Vec<Loop>> {
    let mut parts: Vec<Vec<&(Sample, Bytes)>> = (0..count).map(|_| Vec::new()).collect();
    let mut at = 0;
    for sample in samples {
        if at >= ticks {
            break;
        }
        let index = at * 1000 / (PART_MS * scale);
        parts
            .get_mut(index as usize)
            .context("a sample outside of the loop")?
            .push(sample);
        at += u64::from(sample.0.duration);
    }
    ensure!(
        at == ticks,
        "the samples do not fill the loop: {at} of {ticks} ticks"
    );
    let mut start = 0;
    parts
        .into_iter()
        .map(|samples| {
            let part = join(&samples, start)?;
            start += part.duration;
            Ok(part)
        })
        .collect()
}

fn join(samples: &[&(Sample, Bytes)], start: u64) -> Result<Loop> {
    let (first, _) = samples.first().context("a part without samples")?;
    let size: usize = samples.iter().map(|(_, data)| data.len()).sum();
    let mut media = BytesMut::with_capacity(size + MDAT_HEADER);
    media.put_u32(u32::try_from(size + MDAT_HEADER)?);
    media.put_slice(b"mdat");
    for (_, data) in samples {
        media.put_slice(data);
    }
    Ok(Loop {
        start,
        duration: samples
            .iter()
            .map(|(sample, _)| u64::from(sample.duration))
            .sum(),
        independent: first.is_sync(),
        samples: samples
            .iter()
            .map(|(sample, _)| TrunEntry {
                duration: Some(sample.duration),
                size: Some(sample.size),
                flags: Some(sample.flags),
                cts: sample.cts,
            })
            .collect(),
        media: media.freeze(),
    })
}
