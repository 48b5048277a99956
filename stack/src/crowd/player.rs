//! An HLS player without its network: what to fetch, when frames show, which rung. Pure: every
//! call carries `now` (seconds since the session began), requests and truth come out as data.
//!
//! It follows hls.js 1.7 with its defaults where that decides about stalls, start and rungs. What
//! it does not do: decode, subtitles, keys, interstitials, redundant streams.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use url::Url;

use super::abr::{Estimator, Rung};
use super::playback::{Playback, Settings};
use super::track::{Layout, Timeline};
use crate::truth::Event;

mod abandon;
mod cmcd;
mod load;
mod note;
mod reply;
mod request;
mod sound;
mod start;

pub(crate) use request::{Answer, Failure, Request, Want};

/// hls.js: `abrEwmaDefaultEstimate`, bits per second.
const DEFAULT_BPS: f64 = 500e3;
/// hls.js: `abrEwmaDefaultEstimateMax`; the first rung listed may raise the default to here.
const DEFAULT_MOST_BPS: f64 = 5e6;
/// How often a slow object is looked at (hls.js), seconds.
const ABANDON_EVERY_S: f64 = 0.1;

/// What the user does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Act {
    Pause,
    Resume,
    /// Jump by so many seconds, kept inside what can be played.
    Seek(f64),
}

/// The player.
#[derive(Debug)]
pub(crate) struct Player {
    session: Arc<str>,
    master: Url,
    master_pending: Option<u64>,
    master_retry_at: Option<f64>,
    ladder: Option<Ladder>,
    rung: usize,
    last_rung: Option<usize>,
    /// The rung was forced by an abandoned object; holds until its first object came.
    is_forced: bool,
    /// Picture (or all), then sound where it has a playlist of its own.
    loaders: Vec<Loader>,
    /// What was loaded last of rungs that were left: segment and part.
    lasts: HashMap<usize, Option<(u64, Option<u32>)>>,
    leftover: Option<abandon::Leftover>,
    sound: sound::Sound,
    timeline: Timeline,
    playback: Playback,
    settings: Settings,
    /// When media may be asked for, if sooner than at the first turn of the timer.
    media_at: Option<f64>,
    /// When the time of the first picture is known.
    parsed_at: Option<f64>,
    /// From when on sound is asked for.
    sound_at: Option<f64>,
    estimator: Estimator,
    playlist_took_s: f64,
    last_object_s: f64,
    next_id: u64,
    requests: VecDeque<Request>,
    aborts: Vec<u64>,
    notes: VecDeque<(f64, Event)>,
    switches: u32,
    /// A stall began since the last CMCD report.
    starved: bool,
    quickest_s: f64,
    edge_parts: u64,
    late_parts: u64,
}

#[derive(Debug)]
struct Ladder {
    /// Ascending by peak.
    rungs: Vec<Rung>,
    urls: Vec<Url>,
}

/// The loading side of one track.
#[derive(Debug)]
struct Loader {
    url: Url,
    layout: Option<Layout>,
    /// Playlist on its way, with when it was asked for.
    playlist: Option<(u64, f64)>,
    playlist_at: Option<f64>,
    /// What the first request of this playlist names: a segment and a part.
    first_ask: Option<(u64, Option<u32>)>,
    playlist_failures: u32,
    object: Option<Pending>,
    object_at: f64,
    object_failures: u32,
    /// Parts that followed in their segment when a chain of them began: newer playlists list old
    /// parts no more.
    following: VecDeque<super::track::Object>,
    /// Last object loaded from the present playlist: segment and part.
    last: Option<(u64, Option<u32>)>,
    parts_on: bool,
    /// Initialization section that was loaded, by address.
    map: Option<Url>,
}

#[derive(Debug)]
struct Pending {
    id: u64,
    object: super::track::Object,
    asked_at: f64,
    first_byte_s: Option<f64>,
    loaded: u64,
    /// It is the initialization section that comes first.
    is_map: bool,
    /// It follows another part of its segment without a look at rung and buffer: hls.js loads
    /// parts in chains for as long as the next one is there.
    is_chained: bool,
}

impl Pending {
    fn can_be_abandoned(&self) -> bool {
        !self.is_map && !self.is_chained
    }
}

/// Where playback stands, for the truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) buffer_s: f64,
    pub(crate) playhead_s: f64,
    pub(crate) latency_s: Option<f64>,
    pub(crate) estimate_bps: u64,
    pub(crate) rung_bps: u64,
}

impl Player {
    /// A player of the multivariant playlist at `master`; it asks for it at once.
    pub(crate) fn new(session: Arc<str>, master: Url, settings: Settings) -> Self {
        let mut player = Self {
            session,
            master,
            master_pending: None,
            master_retry_at: None,
            ladder: None,
            rung: 0,
            last_rung: None,
            is_forced: false,
            loaders: Vec::new(),
            lasts: HashMap::new(),
            leftover: None,
            sound: sound::Sound::default(),
            timeline: Timeline::default(),
            playback: Playback::new(settings, 1),
            settings,
            media_at: None,
            parsed_at: None,
            sound_at: None,
            estimator: Estimator::new(DEFAULT_BPS),
            playlist_took_s: 0.0,
            last_object_s: 0.0,
            next_id: 0,
            requests: VecDeque::new(),
            aborts: Vec::new(),
            notes: VecDeque::new(),
            switches: 0,
            starved: false,
            quickest_s: f64::INFINITY,
            edge_parts: 0,
            late_parts: 0,
        };
        player.ask_for_master();
        player
    }

    /// Next request to send.
    pub(crate) fn take_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Requests that are no longer wanted.
    pub(crate) fn take_aborts(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.aborts)
    }

    /// Next line for the truth, with its moment.
    pub(crate) fn take_note(&mut self) -> Option<(f64, Event)> {
        self.notes.pop_front()
    }

    /// The model of playback, for sums.
    pub(crate) fn playback(&self) -> &Playback {
        &self.playback
    }

    /// Rung switches so far.
    pub(crate) fn switches(&self) -> u32 {
        self.switches
    }

    /// Parts loaded at the live edge, and how many of them came late.
    pub(crate) fn parts(&self) -> (u64, u64) {
        (self.edge_parts, self.late_parts)
    }

    /// Where playback stands.
    pub(crate) fn standing(&self, now: f64) -> Standing {
        let latency_s = self
            .live_layout()
            .map(|layout| layout.edge() + (now - layout.loaded_at) - self.playback.playhead());
        Standing {
            buffer_s: self.playback.ahead_s(),
            playhead_s: self.playback.playhead(),
            latency_s,
            estimate_bps: whole(self.estimator.bps()),
            rung_bps: self.rung_bps(self.rung),
        }
    }

    /// Lets time pass: due timers fire, playback moves on.
    pub(crate) fn tick(&mut self, now: f64) {
        self.playback.advance(now);
        if self.master_retry_at.is_some_and(|at| at <= now) {
            self.ask_for_master();
        }
        self.abandon(now);
        self.load(now);
        self.note_changes(now);
    }

    /// The user does something.
    pub(crate) fn act(&mut self, now: f64, act: Act) {
        self.playback.advance(now);
        let from_s = self.playback.playhead();
        match act {
            Act::Pause if !self.playback.has_started() || self.playback.is_paused() => return,
            Act::Pause => {
                self.playback.pause(now);
                self.note_changes(now);
                self.notes
                    .push_back((now, Event::Pause { playhead_s: from_s }));
            }
            Act::Resume if !self.playback.is_paused() => return,
            Act::Resume => {
                self.notes
                    .push_back((now, Event::Resume { playhead_s: from_s }));
                self.playback.resume(now);
            }
            Act::Seek(by) => {
                let Some(to_s) = self
                    .seekable(now, from_s + by)
                    .filter(|_| self.playback.has_started())
                else {
                    return;
                };
                self.playback.leave_stall(now);
                self.note_changes(now);
                self.notes.push_back((now, Event::Seek { from_s, to_s }));
                self.playback.seek(now, to_s);
                self.drop_objects();
            }
        }
        self.load(now);
        self.note_changes(now);
    }

    /// The user leaves: open stalls end.
    pub(crate) fn leave(&mut self, now: f64) {
        self.playback.leave_stall(now);
        self.note_changes(now);
    }

    /// When [`Player::tick`] must be called if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<f64> {
        let mut times = vec![self.playback.next_change_at(), self.master_retry_at];
        times.push(self.leftover_until());
        for (track, loader) in self.loaders.iter().enumerate() {
            times.push(loader.playlist_at.filter(|_| loader.playlist.is_none()));
            match &loader.object {
                Some(pending) if track == 0 && self.rung > 0 && pending.can_be_abandoned() => {
                    let since = (self.playback_now() - pending.asked_at).max(0.0);
                    let looks = (since / ABANDON_EVERY_S).floor() + 1.0;
                    times.push(Some(pending.asked_at + looks * ABANDON_EVERY_S));
                }
                Some(_) => {}
                None => times.push(self.next_load_at(track)),
            }
        }
        times.into_iter().flatten().reduce(f64::min)
    }

    fn live_layout(&self) -> Option<&Layout> {
        self.loaders
            .first()?
            .layout
            .as_ref()
            .filter(|layout| layout.is_live())
    }

    fn seekable(&self, now: f64, to: f64) -> Option<f64> {
        let layout = self.loaders.first()?.layout.as_ref()?;
        let last = if layout.is_live() {
            layout.live_position(now, self.playback.stalls())
        } else {
            layout.edge() - 1.0
        };
        Some(to.min(last).max(layout.start()))
    }

    fn rung_bps(&self, rung: usize) -> u64 {
        let rung = self
            .ladder
            .as_ref()
            .and_then(|ladder| ladder.rungs.get(rung));
        rung.map_or(0, |rung| whole(rung.peak_bps))
    }

    fn playback_now(&self) -> f64 {
        let spent = self.playback.spent();
        spent.starting_s
            + spent.playing_s
            + spent.stalled_s
            + spent.paused_s
            + spent.refilling_s
            + spent.finished_s
    }
}

/// Seconds or bits per second as a whole number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and no more is wanted"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

#[cfg(test)]
pub(crate) mod tests;
