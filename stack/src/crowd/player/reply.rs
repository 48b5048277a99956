//! What to make of an answer.

use super::request::{Answer, Failure};
use super::{DEFAULT_BPS, DEFAULT_MOST_BPS, Ladder, Loader, Pending, Player};
use crate::crowd::abr::{Estimator, Rung};
use crate::crowd::playback::{Piece, Playback};
use crate::crowd::playlist::{Master, Media, Unusable};
use crate::crowd::track::{Layout, Object};
use crate::truth::{Event, Reason};

/// Longest pause between tries, seconds; the n-th waits n seconds (hls.js `maxRetryDelayMs`).
const RETRY_MOST_S: f64 = 8.0;

impl Player {
    /// A response came whole.
    pub(crate) fn answer(&mut self, now: f64, id: u64, answer: &Answer) {
        self.playback.advance(now);
        if self.master_pending == Some(id) {
            self.master_pending = None;
            self.take_master(now, answer);
        } else if let Some(track) = self.track_of_playlist(id) {
            self.take_playlist(now, track, answer);
            if track == 0 {
                self.abandon(now);
            }
        } else if let Some(track) = self.track_of_object(id)
            && let Some(pending) = self.loaders[track].object.take()
        {
            self.take_object(now, track, pending, answer);
        } else {
            self.take_leftover(now, id, answer);
        }
        self.load(now);
        self.note_changes(now);
    }

    /// A response has begun or goes on: bytes so far.
    pub(crate) fn progress(&mut self, id: u64, first_byte_s: f64, loaded: u64) {
        let objects = self
            .loaders
            .iter_mut()
            .filter_map(|loader| loader.object.as_mut());
        let left = self.leftover.as_mut().map(|left| &mut left.pending);
        for pending in objects.chain(left).filter(|pending| pending.id == id) {
            pending.first_byte_s = Some(first_byte_s);
            pending.loaded = loaded;
        }
    }

    /// A request brought nothing: it is tried again after a pause that grows.
    pub(crate) fn fail(&mut self, now: f64, id: u64, failure: Failure) {
        self.playback.advance(now);
        let what = if self.master_pending == Some(id) {
            self.master_pending = None;
            self.master_retry_at = Some(now + 1.0);
            "master"
        } else if let Some(track) = self.track_of_playlist(id) {
            self.fail_playlist(now, track, failure.reason);
            "playlist"
        } else if let Some(track) = self.track_of_object(id) {
            let loader = &mut self.loaders[track];
            loader.object = None;
            loader.object_failures += 1;
            loader.object_at = now + f64::from(loader.object_failures).min(RETRY_MOST_S);
            "object"
        } else if self
            .leftover
            .take_if(|left| left.pending.id == id)
            .is_some()
        {
            "object"
        } else {
            return;
        };
        let Failure { reason, detail } = failure;
        self.notes.push_back((
            now,
            Event::Failure {
                what: what.to_owned(),
                reason,
                detail,
            },
        ));
        self.load(now);
        self.note_changes(now);
    }

    fn fail_playlist(&mut self, now: f64, track: usize, reason: Reason) {
        let loader = &mut self.loaders[track];
        loader.playlist = None;
        loader.playlist_failures += 1;
        // A held request that timed out is repeated at once, without asking to be held.
        let wait = if reason == Reason::Timeout {
            0.0
        } else {
            f64::from(loader.playlist_failures).min(RETRY_MOST_S)
        };
        loader.playlist_at = Some(now + wait);
        if let Some(layout) = &mut loader.layout {
            layout.misses = layout.misses.max(1);
        }
    }

    fn track_of_playlist(&self, id: u64) -> Option<usize> {
        self.loaders
            .iter()
            .position(|loader| loader.playlist.is_some_and(|(pending, _)| pending == id))
    }

    fn track_of_object(&self, id: u64) -> Option<usize> {
        self.loaders.iter().position(|loader| {
            loader
                .object
                .as_ref()
                .is_some_and(|pending| pending.id == id)
        })
    }

    fn take_master(&mut self, now: f64, answer: &Answer) {
        match self.read_master(&answer.text) {
            Ok(audio) => {
                let ladder = self.ladder.as_ref().map(|ladder| &ladder.urls);
                let Some(url) = ladder.and_then(|urls| urls.get(self.rung)).cloned() else {
                    return;
                };
                self.playback = Playback::new(self.settings, if audio.is_some() { 2 } else { 1 });
                self.playback.advance(now);
                self.playback.hold_until(f64::INFINITY);
                self.loaders = std::iter::once(url).chain(audio).map(Loader::new).collect();
                for track in 0..self.loaders.len() {
                    self.ask_for_playlist(track, now);
                }
            }
            Err(error) => self.note_unusable(now, "master", error),
        }
    }

    /// Sets up the ladder; the address of the sound if it comes apart.
    fn read_master(&mut self, text: &[u8]) -> Result<Option<url::Url>, Unusable> {
        let text = String::from_utf8_lossy(text);
        let mut master = match Master::parse(&text) {
            Err(Unusable::NoVariant) if Media::parse(&text).is_ok() => {
                // A media playlist by itself is a ladder of one rung of unknown rate.
                self.ladder = Some(Ladder {
                    rungs: vec![Rung {
                        peak_bps: 0.0,
                        mean_bps: 0.0,
                    }],
                    urls: vec![self.master.clone()],
                });
                return Ok(None);
            }
            parsed => parsed?,
        };
        let first_bps = rate(master.variants[0].bandwidth);
        self.estimator = Estimator::new(first_bps.clamp(DEFAULT_BPS, DEFAULT_MOST_BPS));
        master.variants.sort_by_key(|variant| variant.bandwidth);
        let audio = master
            .audio_for(&master.variants[0])
            .and_then(|audio| self.master.join(&audio.uri).ok());
        let (mut rungs, mut urls) = (Vec::new(), Vec::new());
        for variant in &master.variants {
            if let Ok(url) = self.master.join(&variant.uri) {
                rungs.push(Rung {
                    peak_bps: rate(variant.bandwidth),
                    mean_bps: rate(variant.average_bandwidth),
                });
                urls.push(url);
            }
        }
        if rungs.is_empty() {
            return Err(Unusable::NoVariant);
        }
        let view = crate::crowd::abr::View {
            last: None,
            current: 0,
            buffer_s: 0.0,
            object_s: 0.0,
            live: true,
            playlist_s: 0.0,
        };
        self.rung = crate::crowd::abr::choose(&rungs, &self.estimator, &view);
        self.ladder = Some(Ladder { rungs, urls });
        Ok(audio)
    }

    fn take_playlist(&mut self, now: f64, track: usize, answer: &Answer) {
        self.playlist_took_s = (answer.took_s - answer.first_byte_s).max(0.0);
        self.wake(now, track);
        let loader = &mut self.loaders[track];
        let asked_at = loader.playlist.take().map_or(now, |(_, at)| at);
        loader.playlist_failures = 0;
        let media = match Media::parse(&String::from_utf8_lossy(&answer.text)) {
            Ok(media) => media,
            Err(error) => {
                loader.playlist_at = Some(now + 1.0);
                return self.note_unusable(now, "playlist", error);
            }
        };
        let mut previous = loader.layout.take();
        match Layout::new(media, previous.as_mut(), &mut self.timeline, now) {
            Ok(layout) => self.lay_out(now, track, asked_at, layout),
            // Without the version before: ask for the whole.
            Err(_) => self.loaders[track].playlist_at = Some(now),
        }
    }

    fn lay_out(&mut self, now: f64, track: usize, asked_at: f64, layout: Layout) {
        let position = layout.live_position(now, self.playback.stalls());
        let (live, start, edge) = (layout.is_live(), layout.start(), layout.edge());
        let low_latency = layout.is_low_latency() && layout.misses == 0;
        let target_s = layout.media.target_s;
        let last_s = layout
            .media
            .segments
            .last()
            .map_or(target_s, |segment| segment.duration_s);
        // Near the edge hls.js reloads after the last segment's duration; after a miss, sooner.
        let wait_s = if layout.misses > 0 {
            target_s / 2.0
        } else {
            last_s.clamp(0.1, target_s)
        };
        let first = track == 0 && self.last_rung.is_none() && self.loaders[0].object.is_none();
        self.loaders[track].layout = Some(layout);
        self.loaders[track].playlist_at = live.then(|| {
            if low_latency {
                now
            } else {
                now.max(asked_at + wait_s)
            }
        });
        if track != 0 {
            return;
        }
        if !live {
            self.playback.set_end(now, edge);
        }
        let playhead = self.playback.playhead();
        if first && !self.playback.has_started() {
            if !live {
                self.playback.jump(now, start);
            }
        } else if live && playhead < start - 0.25 && self.playback.ahead_s() <= 0.0 {
            // The window has left the playhead behind: back to the live edge.
            self.playback.jump(now, position);
            self.drop_objects();
        }
    }

    fn take_object(&mut self, now: f64, track: usize, pending: Pending, answer: &Answer) {
        let Pending { object, is_map, .. } = pending;
        let loader = &mut self.loaders[track];
        loader.object_failures = 0;
        if is_map {
            let map = object
                .map
                .as_ref()
                .and_then(|map| loader.url.join(&map.uri).ok());
            loader.map = map;
            if let Ok(url) = loader.url.join(&object.resource.uri) {
                self.ask_for_media(track, now, object, url, false);
            }
            return;
        }
        loader.last = Some((object.segment, object.part));
        if track != 0 {
            self.take_sound(now, object.start, object.end);
            self.chain(track, now);
            return self.release(now, track);
        }
        self.last_rung = Some(self.rung);
        self.is_forced = false;
        self.note_parsed(now);
        self.note_lateness(now, &object);
        self.show(now, &object, self.rung);
        self.chain(track, now);
        self.estimator.add_first_byte(answer.first_byte_s);
        // Of a chain hls.js measures the last one.
        if self.loaders[0].object.is_none() {
            self.measure(answer);
        }
        self.release(now, track);
    }

    fn measure(&mut self, answer: &Answer) {
        let wait_s = answer.first_byte_s.min(self.estimator.first_byte_s());
        self.estimator
            .add((answer.took_s - wait_s).max(0.0), answer.bytes);
    }

    fn show(&mut self, now: f64, object: &Object, rung: usize) {
        let piece = Piece {
            from: object.start,
            to: object.end,
            rung,
            has_key: object.independent,
        };
        self.playback.append_picture(now, piece);
        if self.loaders.len() > 1 {
            let was_held = self.sound.is_held();
            self.let_sound_through(now, object.start, object.end);
            if was_held {
                self.release(now, 1);
            }
        }
    }

    /// An object of the rung that was left came after all.
    fn take_leftover(&mut self, now: f64, id: u64, answer: &Answer) {
        let Some(left) = self.leftover.take_if(|left| left.pending.id == id) else {
            return;
        };
        if !left.is_wanted {
            return;
        }
        let object = &left.pending.object;
        self.lasts
            .insert(left.rung, Some((object.segment, object.part)));
        self.last_rung = Some(left.rung);
        self.show(now, object, left.rung);
        self.estimator.add_first_byte(answer.first_byte_s);
        self.measure(answer);
    }

    /// Lateness against the quickest part so far: whatever delays a part shows, be it the
    /// server's clock, a held playlist or the network.
    fn note_lateness(&mut self, now: f64, object: &Object) {
        let Some(part) = object.part.filter(|_| object.newest) else {
            return;
        };
        let behind_s = now - object.end;
        self.quickest_s = self.quickest_s.min(behind_s);
        let late_s = behind_s - self.quickest_s;
        self.edge_parts += 1;
        if late_s > object.end - object.start {
            self.late_parts += 1;
            self.notes.push_back((
                now,
                Event::LatePart {
                    segment: object.segment,
                    part,
                    late_ms: late_s * 1e3,
                },
            ));
        }
    }

    fn note_unusable(&mut self, now: f64, what: &str, error: Unusable) {
        if what == "master" {
            self.master_retry_at = Some(now + 1.0);
        }
        let (what, detail) = (what.to_owned(), error.to_string());
        self.notes.push_back((
            now,
            Event::Failure {
                what,
                reason: Reason::Protocol,
                detail,
            },
        ));
    }
}

#[expect(clippy::cast_precision_loss, reason = "bit rates are far below 2^53")]
fn rate(bps: u64) -> f64 {
    bps as f64
}
