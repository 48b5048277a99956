//! Which playlist and which object to ask for next.

use std::collections::VecDeque;
use std::time::Duration;

use url::Url;

use super::cmcd::Kind;
use super::request::{Request, Want};
use super::{Loader, Pending, Player};
use crate::crowd::abr::{self, View};
use crate::crowd::playlist::{Range, Resource};
use crate::crowd::track::Object;
use crate::truth::Event;

/// hls.js: `maxBufferLength` and `maxMaxBufferLength`, seconds, and `maxBufferSize`, bits.
const BUFFER_S: f64 = 30.0;
const BUFFER_MOST_S: f64 = 600.0;
const BUFFER_BITS: f64 = 8.0 * 60e6;

impl Loader {
    pub(super) fn new(url: Url) -> Self {
        Self {
            url,
            layout: None,
            playlist: None,
            playlist_at: None,
            first_ask: None,
            playlist_failures: 0,
            object: None,
            object_at: 0.0,
            object_failures: 0,
            following: VecDeque::new(),
            last: None,
            parts_on: true,
            map: None,
        }
    }

    /// Address of something the playlist names; none where it makes no address.
    fn resolve(&self, resource: &Resource) -> Option<Url> {
        self.url.join(&resource.uri).ok()
    }
}

impl Player {
    pub(super) fn ask_for_master(&mut self) {
        self.master_retry_at = None;
        let url = self.with_cmcd(self.master.clone(), 0, Kind::Manifest);
        self.master_pending = Some(self.ask(url, None, Want::Text));
    }

    /// Asks for all that is due.
    pub(super) fn load(&mut self, now: f64) {
        self.adapt(now);
        for track in 0..self.loaders.len() {
            let due = self.loaders[track].playlist_at.is_some_and(|at| at <= now);
            if due && self.loaders[track].playlist.is_none() {
                self.ask_for_playlist(track, now);
            }
            self.ask_for_object(track, now);
        }
    }

    /// When [`Player::ask_for_object`] may have something to do though nothing arrives.
    pub(super) fn next_load_at(&self, track: usize) -> Option<f64> {
        let loader = &self.loaders[track];
        let now = self.playback_now();
        loader.layout.as_ref()?;
        let from = loader.object_at.max(self.media_from(track));
        if from > now {
            return Some(from).filter(|from| from.is_finite());
        }
        // A full buffer drains with playback; look again when it has room.
        let over =
            self.playback.end_of(track) - self.playback.playhead() - self.buffer_limit(track);
        (over >= 0.0 && self.playback.is_playing()).then_some(now + over + 0.05)
    }

    /// Picks the rung for the next object; a switch drops the playlist that is on its way.
    fn adapt(&mut self, now: f64) {
        let Some(ladder) = &self.ladder else { return };
        let Some(loader) = self.loaders.first() else {
            return;
        };
        if loader.object.is_some()
            || self.last_rung.is_none()
            || loader.layout.is_none()
            || self.is_forced
        {
            return;
        }
        let view = View {
            last: self.last_rung,
            current: self.rung,
            buffer_s: (self.playback.end_of(0) - self.playback.playhead()).max(0.0),
            object_s: self.last_object_s,
            live: loader
                .layout
                .as_ref()
                .is_some_and(|layout| layout.is_live()),
            playlist_s: self.playlist_took_s,
        };
        let rung = abr::choose(&ladder.rungs, &self.estimator, &view);
        self.switch(now, rung);
    }

    pub(super) fn switch(&mut self, now: f64, rung: usize) {
        let Some(url) = self
            .ladder
            .as_ref()
            .and_then(|ladder| ladder.urls.get(rung))
        else {
            return;
        };
        if rung == self.rung {
            return;
        }
        let url = url.clone();
        self.notes.push_back((
            now,
            Event::Switch {
                from_bps: self.rung_bps(self.rung),
                to_bps: self.rung_bps(rung),
            },
        ));
        self.switches += 1;
        let old = std::mem::replace(&mut self.loaders[0], Loader::new(url));
        self.lasts.insert(self.rung, old.last);
        let this = self.loaders[0].url.clone();
        let is_this = |uri: &str| old.url.join(uri).is_ok_and(|found| found == this);
        let layout = old.layout.as_ref().filter(|layout| layout.media.can_block);
        self.loaders[0].first_ask = layout.and_then(|layout| layout.newest_of(now, is_this));
        self.rung = rung;
        self.loaders[0].parts_on = old.parts_on;
        self.loaders[0].last = self.lasts.get(&rung).copied().flatten();
        self.aborts.extend(old.playlist.map(|(id, _)| id));
        self.aborts.extend(old.object.map(|pending| pending.id));
        self.loaders[0].playlist_at = Some(now);
    }

    pub(super) fn ask_for_playlist(&mut self, track: usize, now: f64) {
        let loader = &mut self.loaders[track];
        loader.playlist_at = None;
        let mut url = loader.url.clone();
        let mut held = None;
        if let Some(layout) = loader
            .layout
            .as_ref()
            .filter(|layout| layout.is_live() && layout.misses == 0)
        {
            let (number, part) = match layout.last_part() {
                Some((number, part)) if number == layout.media.open() => (number, Some(part + 1)),
                Some(_) => (layout.media.open(), Some(0)),
                None => (layout.media.open(), None),
            };
            let mut query = url.query_pairs_mut();
            if layout.media.can_block {
                query.append_pair("_HLS_msn", &number.to_string());
                if let Some(part) = part {
                    query.append_pair("_HLS_part", &part.to_string());
                    // hls.js gives a held request up sooner than others.
                    let part_s = layout.media.part_target_s.unwrap_or_default();
                    held = Some(f64::max(3.0 * part_s, 0.8 * layout.media.target_s).min(10.0));
                }
            }
            if layout
                .media
                .can_skip_until_s
                .is_some_and(|until| now - layout.loaded_at < until / 2.0)
            {
                query.append_pair("_HLS_skip", "YES");
            }
            drop(query);
        } else if let Some((number, part)) = loader.first_ask.take() {
            let mut query = url.query_pairs_mut();
            query.append_pair("_HLS_msn", &number.to_string());
            if let Some(part) = part {
                query.append_pair("_HLS_part", &part.to_string());
            }
        }
        let held_within = held.map(Duration::from_secs_f64);
        let url = self.with_cmcd(url, track, Kind::Manifest);
        let id = self.ask(url, None, Want::Text);
        if let (Some(within), Some(request)) = (held_within, self.requests.back_mut()) {
            request.within = (within, within);
        }
        self.loaders[track].playlist = Some((id, now));
    }

    fn ask_for_object(&mut self, track: usize, now: f64) {
        if now < self.media_from(track) {
            return;
        }
        self.find_start(track, now);
        let limit = self.buffer_limit(track);
        let playhead = self.playback.playhead();
        let target = self.playback.end_of(track);
        let loader = &mut self.loaders[track];
        if loader.object.is_some() || loader.object_at > now || target - playhead >= limit {
            return;
        }
        if track == 1 && self.sound.is_held() {
            return;
        }
        let Some(layout) = &loader.layout else { return };
        // Behind the window there is nothing to load until the playhead jumps back to the edge.
        let behind = layout.is_live() && target < layout.start() - 0.25;
        if behind || layout.is_stale(now, loader.parts_on, playhead) {
            return;
        }
        let Some(object) = layout.next_object(target, loader.last, &mut loader.parts_on, playhead)
        else {
            return;
        };
        loader.following = layout.parts_following(&object);
        let Some(url) = loader.resolve(&object.resource) else {
            return;
        };
        let map = object
            .map
            .as_ref()
            .and_then(|map| Some((loader.resolve(map)?, map.range)));
        match map {
            Some((map_url, range)) if loader.map.as_ref() != Some(&map_url) => {
                self.disown_leftover(track);
                let url = self.with_cmcd(map_url.clone(), track, Kind::Init);
                let id = self.ask(url, range, Want::Size);
                let pending = Pending {
                    id,
                    object,
                    asked_at: now,
                    first_byte_s: None,
                    loaded: 0,
                    is_map: true,
                    is_chained: false,
                };
                self.loaders[track].object = Some(pending);
            }
            _ => self.ask_for_media(track, now, object, url, false),
        }
    }

    /// The next part of the segment that was loaded last, if the playlist has it, or the one had it
    /// that the chain began with.
    pub(super) fn chain(&mut self, track: usize, now: f64) {
        let loader = &mut self.loaders[track];
        let (Some(layout), Some((segment, Some(part)))) = (&loader.layout, loader.last) else {
            return;
        };
        let is_next = |object: &Object| (object.segment, object.part) == (segment, Some(part + 1));
        let known = || loader.following.iter().find(|object| is_next(object));
        let Some(object) = layout
            .part_after(segment, part)
            .or_else(|| known().cloned())
        else {
            return;
        };
        if let Some(url) = loader.resolve(&object.resource) {
            self.ask_for_media(track, now, object, url, true);
        }
    }

    /// Asks for the media itself, its initialization section being there.
    pub(super) fn ask_for_media(
        &mut self,
        track: usize,
        now: f64,
        object: Object,
        url: Url,
        is_chained: bool,
    ) {
        let seconds = object.end - object.start;
        let range = object.resource.range;
        if track == 0 {
            self.abort_leftover();
        }
        let url = self.with_cmcd(url, track, Kind::Media { seconds });
        if track == 0 {
            self.last_object_s = seconds;
        }
        let id = self.ask(url, range, Want::Size);
        let pending = Pending {
            id,
            object,
            asked_at: now,
            first_byte_s: None,
            loaded: 0,
            is_map: false,
            is_chained,
        };
        self.loaders[track].object = Some(pending);
    }

    fn ask(&mut self, url: Url, range: Option<Range>, want: Want) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.requests.push_back(Request {
            id,
            url,
            range,
            want,
            within: want.within(),
        });
        id
    }

    /// After a seek what is on its way is of no use.
    pub(super) fn drop_objects(&mut self) {
        for loader in &mut self.loaders {
            self.aborts
                .extend(loader.object.take().map(|pending| pending.id));
            loader.last = None;
        }
        self.lasts.clear();
        self.sound.clear();
        self.abort_leftover();
    }

    pub(super) fn buffer_limit(&self, track: usize) -> f64 {
        let peak = self
            .ladder
            .as_ref()
            .and_then(|ladder| ladder.rungs.get(self.rung))
            .map(|rung| rung.peak_bps);
        match peak.filter(|peak| track == 0 && *peak > 0.0) {
            Some(peak) => (BUFFER_BITS / peak).clamp(BUFFER_S, BUFFER_MOST_S),
            None => BUFFER_S,
        }
    }
}
