//! CMCD version 2 in the query of a request (CTA-5004-B), in hls.js's spelling: numbers that may
//! differ by object type are lists of one.

use std::fmt::Write as _;

use url::Url;

use super::{Loader, Player, whole};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A playlist.
    Manifest,
    /// The initialization section.
    Init,
    /// Media of a track, with its duration in seconds.
    Media { seconds: f64 },
}

impl Player {
    /// `url` with what the player tells the server about itself.
    pub(super) fn with_cmcd(&mut self, mut url: Url, track: usize, kind: Kind) -> Url {
        let report = self.report(track, kind);
        url.query_pairs_mut().append_pair("CMCD", &report);
        url
    }

    fn report(&mut self, track: usize, kind: Kind) -> String {
        let sound = track == 1;
        let mut report = String::with_capacity(160);
        // Writing to a string cannot fail. Keys come in alphabetical order.
        if let Kind::Media { seconds } = kind {
            let buffer_ms =
                hundreds((self.playback.end_of(track) - self.playback.playhead()).max(0.0) * 1e3);
            let _ = write!(report, "bl=({buffer_ms}),");
            if !sound {
                let _ = write!(report, "br=({}),", self.rung_bps(self.rung) / 1000);
            }
            if std::mem::take(&mut self.starved) {
                report.push_str("bs,");
            }
            let _ = write!(report, "d={},dl={buffer_ms},", whole(seconds * 1e3));
        }
        let _ = write!(report, "mtp=({}),", hundreds(self.estimator.bps() / 1e3));
        let object = match kind {
            Kind::Manifest => "m",
            Kind::Init => "i",
            Kind::Media { .. } if sound => "a",
            Kind::Media { .. } if self.loaders.len() == 1 => "av",
            Kind::Media { .. } => "v",
        };
        let _ = write!(report, "ot={object},sf=h,sid=\"{}\"", self.session);
        if let Some(layout) = self
            .loaders
            .get(track)
            .and_then(|loader: &Loader| loader.layout.as_ref())
        {
            report.push_str(if layout.is_live() { ",st=l" } else { ",st=v" });
        }
        if !self.playback.is_playing() && !self.playback.is_paused() {
            report.push_str(",su");
        }
        if let (Kind::Media { .. }, Some(ladder), false) = (kind, &self.ladder, sound) {
            let top = self.rung_bps(ladder.rungs.len() - 1) / 1000;
            let _ = write!(report, ",tb=({top})");
        }
        report.push_str(",v=2");
        report
    }
}

/// Rounded to the next hundred, as the standard asks for times and throughput.
fn hundreds(value: f64) -> u64 {
    whole(value / 100.0).saturating_mul(100)
}
