//! What a URL below `/live/NAME/RUNG/` asks for: the file, and the delivery directives of a
//! playlist (RFC 8216bis § 6.2.5). Both come from outside.

/// A file of a rendition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum File {
    Playlist,
    /// By number; the newest without one.
    Init(Option<u32>),
    /// By Media Sequence Number.
    Segment(u64),
    /// By Media Sequence Number and place in the segment.
    Part(u64, u32),
}

impl File {
    /// Reads a file name as playlists write it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "index.m3u8" => return Some(Self::Playlist),
            "init.mp4" => return Some(Self::Init(Some(0))),
            _ => {}
        }
        if let Some(number) = name
            .strip_prefix("init-")
            .and_then(|rest| rest.strip_suffix(".mp4"))
        {
            return if number == "latest" {
                Some(Self::Init(None))
            } else {
                number_of(number).map(|number| Self::Init(Some(number)))
            };
        }
        let stem = name.strip_suffix(".m4s")?;
        if let Some(msn) = stem.strip_prefix("seg-") {
            return number_of(msn).map(Self::Segment);
        }
        let (msn, part) = stem.strip_prefix("part-")?.split_once('-')?;
        Some(Self::Part(number_of(msn)?, number_of(part)?))
    }

    /// Name for counts.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Playlist => "playlist",
            Self::Init(_) => "init",
            Self::Segment(_) => "segment",
            Self::Part(..) => "part",
        }
    }
}

/// Delivery directives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    /// `_HLS_msn`
    pub(crate) msn: Option<u64>,
    /// `_HLS_part`
    pub(crate) part: Option<u32>,
    /// `_HLS_skip`
    pub(crate) skip: bool,
}

impl Directives {
    /// Reads them from a query; other keys are not its business.
    ///
    /// # Errors
    /// If one cannot be: what, in words.
    pub(crate) fn parse(query: &str) -> Result<Self, &'static str> {
        let mut directives = Self::default();
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match key {
                "_HLS_msn" => {
                    directives.msn = Some(number_of(value).ok_or("_HLS_msn is not a number")?)
                }
                "_HLS_part" => {
                    directives.part = Some(number_of(value).ok_or("_HLS_part is not a number")?)
                }
                "_HLS_skip" => directives.skip = matches!(value, "YES" | "v2"),
                _ => {}
            }
        }
        if directives.part.is_some() && directives.msn.is_none() {
            return Err("_HLS_part without _HLS_msn");
        }
        Ok(directives)
    }
}

/// A number written in digits alone.
fn number_of<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_are_read_as_playlists_write_them() {
        assert_eq!(File::parse("seg-12.m4s"), Some(File::Segment(12)));
        assert_eq!(File::parse("part-12-3.m4s"), Some(File::Part(12, 3)));
        assert_eq!(File::parse("init-2.mp4"), Some(File::Init(Some(2))));
        for wrong in [
            "",
            "seg-.m4s",
            "seg-+1.m4s",
            "part-1.m4s",
            "part-1-2-3.m4s",
            "seg-99999999999999999999.m4s",
            "x.m3u8",
        ] {
            assert_eq!(File::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn directives_are_read_and_wrong_ones_refused() {
        let read = Directives::parse("_HLS_msn=7&CMCD=x%3D1&_HLS_part=2&_HLS_skip=YES");
        assert_eq!(
            read,
            Ok(Directives {
                msn: Some(7),
                part: Some(2),
                skip: true
            })
        );
        assert_eq!(Directives::parse(""), Ok(Directives::default()));
        assert!(Directives::parse("_HLS_part=2").is_err());
        assert!(Directives::parse("_HLS_msn=-1").is_err());
    }

    proptest! {
        #[test]
        fn any_name_and_query_is_read_or_refused(text in any::<String>(), name in "(seg|part|init)[-0-9]{0,30}\\.(m4s|mp4)") {
            _ = (File::parse(&text), Directives::parse(&text), File::parse(&name));
            _ = Directives::parse(&format!("_HLS_msn={text}&_HLS_part={text}"));
        }
    }
}
