//! Giving up an object that will not come in time, for a lower rung, and what becomes of it: as in
//! hls.js it goes on until media of the lower rung is asked for, unless it is given up before.

use super::{Pending, Player};
use crate::crowd::abr;

/// An object of the rung that was left.
#[derive(Debug)]
pub(super) struct Leftover {
    pub(super) pending: Pending,
    pub(super) rung: usize,
    /// When it is given up at last.
    give_up_at: f64,
    /// It still counts if it comes before anything of the new rung is asked for.
    pub(super) is_wanted: bool,
}

impl Player {
    /// Looks at the object on its way, and at what was left over.
    pub(super) fn abandon(&mut self, now: f64) {
        if self
            .leftover
            .as_ref()
            .is_some_and(|leftover| leftover.give_up_at <= now)
        {
            self.abort_leftover();
            self.fall_to_lowest(now);
        }
        if !self.playback.is_playing() && !self.playback.is_stalled() {
            return;
        }
        let Some((loading, abandon)) = self.judge(now) else {
            return;
        };
        match loading.first_byte_s.filter(|_| loading.loaded > 0) {
            Some(first) => {
                let wait = first.min(self.estimator.first_byte_s());
                self.estimator.add(loading.elapsed_s - wait, loading.loaded);
            }
            None => self.estimator.add_first_byte(loading.elapsed_s),
        }
        let lower = self.peak_bps(abandon.rung);
        if self.estimator.bps() * abr::RAISE_SHARE > lower {
            self.estimator.reset(lower);
        }
        self.is_forced = true;
        if abandon.grace_s <= 0.0 {
            self.fall_to_lowest(now);
            return;
        }
        self.abort_leftover();
        let left = self.loaders[0].object.take();
        self.leftover = left.map(|pending| Leftover {
            pending,
            rung: self.rung,
            give_up_at: now + abandon.grace_s,
            is_wanted: true,
        });
        self.switch(now, abandon.rung);
    }

    fn judge(&self, now: f64) -> Option<(abr::Loading, abr::Abandon)> {
        let (ladder, loader) = (self.ladder.as_ref()?, self.loaders.first()?);
        let pending = loader
            .object
            .as_ref()
            .filter(|pending| pending.can_be_abandoned())?;
        let loading = abr::Loading {
            rung: self.rung,
            duration_s: pending.object.end - pending.object.start,
            elapsed_s: now - pending.asked_at,
            first_byte_s: pending.first_byte_s,
            loaded: pending.loaded,
        };
        let buffer_s = (self.playback.end_of(0) - self.playback.playhead()).max(0.0);
        let live = self.live_layout().is_some();
        let abandon = abr::abandon(
            &ladder.rungs,
            &self.estimator,
            &loading,
            buffer_s,
            live,
            self.playlist_took_s,
        )?;
        Some((loading, abandon))
    }

    /// hls.js goes all the way down once it interrupts an object, and forgets what it measured.
    fn fall_to_lowest(&mut self, now: f64) {
        let lowest = self.peak_bps(0);
        self.estimator.reset(lowest);
        self.is_forced = true;
        self.switch(now, 0);
    }

    fn peak_bps(&self, rung: usize) -> f64 {
        let rungs = self.ladder.as_ref().map(|ladder| &ladder.rungs);
        rungs
            .and_then(|rungs| rungs.get(rung))
            .map_or(0.0, |rung| rung.peak_bps)
    }

    /// Something of the new rung was asked for: what is left over goes on in vain.
    pub(super) fn disown_leftover(&mut self, track: usize) {
        if let Some(leftover) = self.leftover.as_mut().filter(|_| track == 0) {
            leftover.is_wanted = false;
        }
    }

    pub(super) fn abort_leftover(&mut self) {
        let left = self.leftover.take();
        self.aborts.extend(left.map(|left| left.pending.id));
    }

    /// When what is left over is given up.
    pub(super) fn leftover_until(&self) -> Option<f64> {
        let at = self.leftover.as_ref()?.give_up_at;
        Some(at).filter(|at| at.is_finite())
    }
}
