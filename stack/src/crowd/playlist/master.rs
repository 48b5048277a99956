//! Multivariant playlists: the rungs and the audio that goes with them (RFC 8216bis 4.4.6).

use std::sync::Arc;

use super::attribute::Attributes;
use super::{Unusable, lines, split_tag};

/// What may be played.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Master {
    /// In the order of the playlist; never empty.
    pub(crate) variants: Vec<Variant>,
    /// Audio renditions that have a playlist of their own.
    pub(crate) audio: Vec<Audio>,
}

/// One rung.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variant {
    pub(crate) uri: Arc<str>,
    /// Peak bits per second, audio included.
    pub(crate) bandwidth: u64,
    /// Mean bits per second; the peak where the playlist does not tell.
    pub(crate) average_bandwidth: u64,
    /// Group of [`Master::audio`] that it plays with.
    pub(crate) audio_group: Option<Arc<str>>,
}

/// One audio rendition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Audio {
    pub(crate) group: Arc<str>,
    pub(crate) uri: Arc<str>,
    pub(crate) is_default: bool,
}

impl Master {
    pub(crate) fn parse(text: &str) -> Result<Self, Unusable> {
        let (mut variants, mut audio) = (Vec::new(), Vec::new());
        let mut pending = None;
        for line in lines(text)? {
            match split_tag(line) {
                ("#EXT-X-STREAM-INF", value) => pending = Some(Attributes::new(value)),
                ("#EXT-X-MEDIA", value) => audio.extend(parse_audio(Attributes::new(value))),
                _ if line.starts_with('#') => {}
                _ => variants.extend(pending.take().and_then(|list| parse_variant(list, line))),
            }
        }
        if variants.is_empty() {
            Err(Unusable::NoVariant)
        } else {
            Ok(Self { variants, audio })
        }
    }

    /// The audio playlist that goes with a variant, if its sound is not in the variant itself.
    pub(crate) fn audio_for(&self, variant: &Variant) -> Option<&Audio> {
        let group = variant.audio_group.as_ref()?;
        let mut of_group = self.audio.iter().filter(|audio| audio.group == *group);
        let first = of_group.clone().next();
        of_group.find(|audio| audio.is_default).or(first)
    }
}

fn parse_variant(list: Attributes<'_>, uri: &str) -> Option<Variant> {
    let bandwidth = list.number("BANDWIDTH")?;
    Some(Variant {
        uri: uri.into(),
        bandwidth,
        average_bandwidth: list.number("AVERAGE-BANDWIDTH").unwrap_or(bandwidth),
        audio_group: list.get("AUDIO").map(Into::into),
    })
}

fn parse_audio(list: Attributes<'_>) -> Option<Audio> {
    if list.get("TYPE") != Some("AUDIO") {
        return None;
    }
    Some(Audio {
        group: list.get("GROUP-ID")?.into(),
        uri: list.get("URI")?.into(),
        is_default: list.is_yes("DEFAULT"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rungs_come_with_their_audio() {
        let text = "#EXTM3U\n#EXT-X-VERSION:9\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x\",URI=\"audio/index.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"y\",DEFAULT=YES,URI=\"y/index.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"b\",NAME=\"in the variant\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=900,AVERAGE-BANDWIDTH=800,AUDIO=\"a\"\r\n720p/index.m3u8\r\n\
            #EXT-X-STREAM-INF:BANDWIDTH=300,AUDIO=\"b\"\nlow.m3u8\n";
        let master = Master::parse(text).unwrap();
        assert_eq!(master.variants.len(), 2);
        assert_eq!(master.variants[0].average_bandwidth, 800);
        assert_eq!(master.variants[1].average_bandwidth, 300);
        let audio = master.audio_for(&master.variants[0]).unwrap();
        assert_eq!(&*audio.uri, "y/index.m3u8");
        assert!(master.audio_for(&master.variants[1]).is_none());
    }

    #[test]
    fn what_is_no_playlist_is_refused() {
        assert_eq!(Master::parse("<html>"), Err(Unusable::NoHeader));
        assert_eq!(
            Master::parse("#EXTM3U\n#EXTINF:2,\na.ts"),
            Err(Unusable::NoVariant)
        );
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "(#EXTM3U\n)?(#EXT-X-(STREAM-INF|MEDIA):[A-Z=\",0-9a]{0,40}\n|[a-z#\n\"=,é]{0,20}){0,20}") {
            let _ = Master::parse(&text);
        }
    }
}
