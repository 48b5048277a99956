//! What an initialization segment says of its tracks, and what a fragment says of its samples.

use mp4_atom::{Codec, Moof, Moov, Traf, Trak, Trex};

use super::boxes::Fault;

/// Longest fragment that is taken, in seconds; above it no playlist could be low in latency.
const LONGEST_FRAGMENT_S: u64 = 10;

/// Fragments of a thousandth of a second or more are taken: shorter ones would only be a way to
/// make a playlist long.
const FRAGMENTS_PER_S: u64 = 1000;

/// `sample_is_non_sync_sample` of ISO/IEC 14496-12 § 8.8.3.1.
const NON_SYNC: u32 = 1 << 16;

/// What is in a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Moving pictures, in pixels.
    Video { width: u16, height: u16 },
    /// Sound.
    Audio { channels: u16 },
}

/// One track.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    pub(crate) id: u32,
    pub(crate) kind: Kind,
    /// Ticks a second.
    pub(crate) timescale: u32,
    /// For `CODECS` (RFC 6381), where it is known how to say it.
    pub(crate) codec: Option<String>,
    defaults: Trex,
}

/// One sample, with the defaults of its fragment and track filled in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) duration: u32,
    pub(crate) size: u32,
    pub(crate) flags: u32,
    pub(crate) cts: Option<i64>,
}

impl Sample {
    /// Whether decoding can begin here.
    pub(crate) fn is_sync(&self) -> bool {
        self.flags & NON_SYNC == 0
    }
}

/// When a fragment plays, by the lead track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Times {
    /// In ticks.
    pub(crate) decode: u64,
    /// In ticks, above 0.
    pub(crate) duration: u64,
    /// Whether decoding can begin here.
    pub(crate) independent: bool,
}

/// The tracks of an initialization segment, the lead first: pictures if there are any.
///
/// # Errors
/// If there is none that can be played.
pub(crate) fn read(moov: &Moov) -> Result<Vec<Track>, Fault> {
    let mut tracks = moov
        .trak
        .iter()
        .filter_map(|trak| track(moov, trak))
        .collect::<Vec<_>>();
    if tracks.is_empty() {
        return Err(Fault::NoTrack("neither video nor audio"));
    }
    if tracks.iter().any(|track| track.timescale == 0) {
        return Err(Fault::NoTrack("timescale 0"));
    }
    tracks.sort_by_key(|track| matches!(track.kind, Kind::Audio { .. }));
    Ok(tracks)
}

fn track(moov: &Moov, trak: &Trak) -> Option<Track> {
    let codec = trak.mdia.minf.stbl.stsd.codecs.first()?;
    let kind = if let Some(visual) = codec.visual() {
        Kind::Video {
            width: visual.width,
            height: visual.height,
        }
    } else if let Some(audio) = codec.audio() {
        Kind::Audio {
            channels: channels(codec).unwrap_or(audio.channel_count),
        }
    } else {
        return None;
    };
    let id = trak.tkhd.track_id;
    let defaults = moov
        .mvex
        .iter()
        .flat_map(|mvex| &mvex.trex)
        .find(|trex| trex.track_id == id);
    Some(Track {
        id,
        kind,
        timescale: trak.mdia.mdhd.timescale,
        codec: codec_name(codec),
        defaults: defaults.cloned().unwrap_or_default(),
    })
}

/// Of AAC, whose sample entry says 2 for one channel as well (ISO/IEC 14496-3 § 1.6.3.5).
fn channels(codec: &Codec) -> Option<u16> {
    let Codec::Mp4a(mp4a) = codec else {
        return None;
    };
    let config = mp4a
        .esds
        .es_desc
        .dec_config
        .dec_specific
        .as_ref()?
        .chan_conf;
    (1..=6).contains(&config).then_some(config.into())
}

/// RFC 6381 § 3.3 for H.264 and AAC; the plain code for those that need no more.
fn codec_name(codec: &Codec) -> Option<String> {
    match codec {
        Codec::Avc1(avc1) => Some(format!(
            "avc1.{:02x}{:02x}{:02x}",
            avc1.avcc.avc_profile_indication,
            avc1.avcc.profile_compatibility,
            avc1.avcc.avc_level_indication
        )),
        Codec::Mp4a(mp4a) => {
            let config = &mp4a.esds.es_desc.dec_config;
            let profile = config.dec_specific.as_ref()?.profile;
            Some(format!(
                "mp4a.{:02x}.{profile}",
                config.object_type_indication
            ))
        }
        Codec::Opus(_) => Some("opus".to_owned()),
        Codec::Flac(_) => Some("fLaC".to_owned()),
        _ => None,
    }
}

impl Track {
    /// Name for logs.
    pub(crate) fn describe(&self) -> String {
        let codec = self.codec.as_deref().unwrap_or("unknown codec");
        match self.kind {
            Kind::Video { width, height } => format!("{codec} {width}x{height}"),
            Kind::Audio { .. } => codec.to_owned(),
        }
    }

    /// This track's part of a fragment.
    pub(crate) fn part<'a>(&self, moof: &'a Moof) -> Option<&'a Traf> {
        moof.traf.iter().find(|traf| traf.tfhd.track_id == self.id)
    }

    /// The samples of a part, one by one. Only for files that are trusted to be finite: the count
    /// in a hostile `trun` may be huge.
    pub(crate) fn samples<'a>(&'a self, traf: &'a Traf) -> impl Iterator<Item = Sample> + 'a {
        traf.trun
            .iter()
            .flat_map(|trun| trun.samples.iter())
            .map(|entry| Sample {
                duration: entry.duration.unwrap_or(self.default_duration(traf)),
                size: entry
                    .size
                    .or(traf.tfhd.default_sample_size)
                    .unwrap_or(self.defaults.default_sample_size),
                flags: entry.flags.unwrap_or(self.default_flags(traf)),
                cts: entry.cts,
            })
    }

    fn default_duration(&self, traf: &Traf) -> u32 {
        traf.tfhd
            .default_sample_duration
            .unwrap_or(self.defaults.default_sample_duration)
    }

    fn default_flags(&self, traf: &Traf) -> u32 {
        traf.tfhd
            .default_sample_flags
            .unwrap_or(self.defaults.default_sample_flags)
    }

    /// When a fragment plays; nothing where it has no samples of this track.
    ///
    /// # Errors
    /// If its times are missing or cannot be.
    pub(crate) fn times(&self, moof: &Moof) -> Result<Option<Times>, Fault> {
        let Some(traf) = self.part(moof) else {
            return Ok(None);
        };
        let decode = traf
            .tfdt
            .as_ref()
            .ok_or(Fault::BadTimes("no tfdt"))?
            .base_media_decode_time;
        let default = u64::from(self.default_duration(traf));
        let mut duration = 0u64;
        for trun in &traf.trun {
            let sum = match &trun.samples {
                mp4_atom::TrunSamples::Inherited { count, .. } => {
                    default.checked_mul(u64::from(*count))
                }
                mp4_atom::TrunSamples::Explicit(entries) => Some(
                    entries
                        .iter()
                        .map(|entry| entry.duration.map_or(default, u64::from))
                        .sum(),
                ),
            };
            let sum = sum.and_then(|sum| duration.checked_add(sum));
            duration = sum.ok_or(Fault::BadTimes("duration overflows"))?;
        }
        let first = traf.trun.iter().find_map(|trun| trun.samples.get(0));
        let Some(first) = first else {
            return Ok(None);
        };
        if duration == 0 {
            return Err(Fault::BadTimes("duration 0"));
        }
        if duration > LONGEST_FRAGMENT_S * u64::from(self.timescale) {
            return Err(Fault::BadTimes("longer than 10 s"));
        }
        if duration * FRAGMENTS_PER_S < u64::from(self.timescale) {
            return Err(Fault::BadTimes("shorter than 1 ms"));
        }
        if decode > i64::MAX as u64 {
            return Err(Fault::BadTimes("decode time beyond 2^63"));
        }
        let flags = first.flags.unwrap_or(self.default_flags(traf));
        Ok(Some(Times {
            decode,
            duration,
            independent: flags & NON_SYNC == 0,
        }))
    }
}

/// `CODECS` of a rendition with these tracks; nothing if one of them cannot be named.
pub(crate) fn codecs(tracks: &[Track]) -> Option<String> {
    let names: Option<Vec<&str>> = tracks.iter().map(|track| track.codec.as_deref()).collect();
    names.map(|names| names.join(","))
}
