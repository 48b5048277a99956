//! What players said of how it went for them, by session: bounded in number, forgotten when silent.
//! A session's story is pure: sets in, time as an argument.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::cmcd::{Set, State};
use super::metric::Players;

/// A player's own clock is believed while it is at most this far from ours, in milliseconds.
const CLOCK_SKEW_MS: f64 = 60_000.0;

/// One player, as it tells it. Times in milliseconds, rates in kbit/s.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Session {
    pub(crate) sid: String,
    pub(crate) cid: Option<String>,
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    pub(crate) state: Option<State>,
    /// Since when, on the player's clock.
    #[serde(skip)]
    since: f64,
    pub(crate) startup_ms: Option<f64>,
    /// Stalls seen as changes of state, and their time.
    pub(crate) stalls: u64,
    pub(crate) stalled_ms: f64,
    pub(crate) played_ms: f64,
    /// Stalls as the player counts them itself (`bsa`, `bsda`).
    pub(crate) own_stalls: Option<f64>,
    pub(crate) own_stalled_ms: Option<f64>,
    /// Sets that said that the buffer had run empty (`bs`).
    pub(crate) starved: u64,
    pub(crate) buffer_ms: Option<f64>,
    pub(crate) bitrate_kbps: Option<f64>,
    pub(crate) throughput_kbps: Option<f64>,
    pub(crate) latency_ms: Option<f64>,
    pub(crate) dropped_frames: Option<f64>,
    pub(crate) errors: u64,
    pub(crate) sets: u64,
}

/// What one set brought that is worth counting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct News {
    pub(crate) stall_begun: bool,
    /// In milliseconds.
    pub(crate) stall_ended: Option<f64>,
    pub(crate) startup: Option<f64>,
    pub(crate) latency: Option<f64>,
    pub(crate) played: f64,
    pub(crate) starved: bool,
    pub(crate) error: bool,
}

impl Session {
    fn new(set: &Set, now_ms: u64) -> Self {
        Self {
            sid: set.session.clone(),
            cid: set.content.clone(),
            first_ms: now_ms,
            last_ms: now_ms,
            state: None,
            since: now_ms as f64,
            startup_ms: None,
            stalls: 0,
            stalled_ms: 0.0,
            played_ms: 0.0,
            own_stalls: None,
            own_stalled_ms: None,
            starved: 0,
            buffer_ms: None,
            bitrate_kbps: None,
            throughput_kbps: None,
            latency_ms: None,
            dropped_frames: None,
            errors: 0,
            sets: 0,
        }
    }

    /// Goes on with one set.
    pub(crate) fn apply(&mut self, set: &Set, now_ms: u64) -> News {
        let now = now_ms as f64;
        let at = set
            .at
            .filter(|at| (at - now).abs() <= CLOCK_SKEW_MS)
            .unwrap_or(now);
        self.last_ms = self.last_ms.max(now_ms);
        self.sets += 1;
        let mut news = News {
            starved: set.starved,
            error: set.error || set.state == Some(State::Failed) && self.state != set.state,
            latency: set.latency,
            ..News::default()
        };
        if let Some(state) = set.state {
            self.change(state, at, &mut news);
        }
        if self.startup_ms.is_none() && set.startup.is_some() {
            self.startup_ms = set.startup;
            news.startup = set.startup;
        }
        self.starved += u64::from(news.starved);
        self.errors += u64::from(news.error);
        for (kept, said) in [
            (&mut self.buffer_ms, set.buffer),
            (&mut self.bitrate_kbps, set.bitrate),
            (&mut self.throughput_kbps, set.throughput),
            (&mut self.latency_ms, set.latency),
            (&mut self.dropped_frames, set.dropped_frames),
            (&mut self.own_stalls, set.stalls),
            (&mut self.own_stalled_ms, set.stalled),
        ] {
            *kept = said.or(*kept);
        }
        if set.content.is_some() {
            self.cid.clone_from(&set.content);
        }
        news
    }

    fn change(&mut self, state: State, at: f64, news: &mut News) {
        let spent = (at - self.since).max(0.0);
        match self.state {
            Some(State::Rebuffering) => {
                self.stalled_ms += spent;
                if state != State::Rebuffering {
                    news.stall_ended = Some(spent);
                }
            }
            Some(State::Playing) => {
                self.played_ms += spent;
                news.played = spent;
            }
            _ => {}
        }
        if state == State::Rebuffering && self.state != Some(State::Rebuffering) {
            self.stalls += 1;
            news.stall_begun = true;
        }
        // Reports may overtake one another; time does not run back.
        self.since = if self.state.is_none() {
            at
        } else {
            at.max(self.since)
        };
        self.state = Some(state);
    }
}

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Sessions at a time.
    pub(crate) sessions: usize,
    /// Silence after which one is forgotten, in milliseconds; an ended one after a tenth of it.
    pub(crate) silence_ms: u64,
}

/// All sessions. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    limits: Limits,
    sessions: Arc<Mutex<HashMap<String, Session>>>,
    metrics: Players,
}

impl Sessions {
    pub(crate) fn new(limits: Limits, metrics: Players) -> Self {
        Self {
            limits,
            sessions: Arc::default(),
            metrics,
        }
    }

    /// Takes one set. A session above the bound is counted and not kept.
    pub(crate) fn take(&self, set: &Set, now_ms: u64) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if !sessions.contains_key(&set.session) && sessions.len() >= self.limits.sessions {
            drop(sessions);
            self.metrics.refuse("too_many_sessions");
            return;
        }
        let session = sessions
            .entry(set.session.clone())
            .or_insert_with(|| Session::new(set, now_ms));
        let news = session.apply(set, now_ms);
        drop(sessions);
        self.metrics.count(&news);
    }

    /// Forgets the silent ones; to be called now and then.
    pub(crate) fn forget(&self, now_ms: u64) {
        let silence = |session: &Session| {
            let over = session.state.is_some_and(State::is_last);
            self.limits.silence_ms / if over { 10 } else { 1 }
        };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.last_ms + silence(session) > now_ms);
        self.metrics
            .set_states(sessions.values().map(|session| session.state));
    }

    /// The newest first, at most `most`.
    pub(crate) fn list(&self, most: usize) -> Vec<Session> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<Session> = sessions.values().cloned().collect();
        drop(sessions);
        list.sort_by(|a, b| b.last_ms.cmp(&a.last_ms).then_with(|| a.sid.cmp(&b.sid)));
        list.truncate(most);
        list
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::origin::cmcd;

    fn sessions(most: usize) -> Sessions {
        let limits = Limits {
            sessions: most,
            silence_ms: 60_000,
        };
        Sessions::new(
            limits,
            Players::register(&mut crate::daemon::Table::default()),
        )
    }

    fn tell(sessions: &Sessions, now_ms: u64, text: &str) {
        sessions.take(&cmcd::parse(text).unwrap(), now_ms);
    }

    #[test]
    fn stalls_are_timed_on_the_players_clock() {
        let sessions = sessions(10);
        for (now, text) in [
            (10_000, r#"sid="a",v=2,e=ps,sta=s,ts=9000"#),
            (10_500, r#"sid="a",v=2,e=ps,sta=p,ts=9460,msd=460"#),
            (15_000, r#"sid="a",v=2,e=ps,sta=r,ts=14460"#),
            (19_000, r#"sid="a",v=2,e=ps,sta=p,ts=15460,bsa=1,bsda=1000"#),
            (20_000, r#"sid="a",v=2,e=t,sta=p,ts=19460,ltc=900"#),
        ] {
            tell(&sessions, now, text);
        }
        let session = sessions.list(1).remove(0);
        assert_eq!(
            (session.stalls, session.stalled_ms, session.played_ms),
            (1, 1000.0, 9000.0)
        );
        assert_eq!(
            (session.startup_ms, session.latency_ms),
            (Some(460.0), Some(900.0))
        );
        assert_eq!(
            (session.own_stalls, session.own_stalled_ms),
            (Some(1.0), Some(1000.0))
        );
    }

    #[test]
    fn a_clock_that_is_far_off_is_not_believed() {
        let sessions = sessions(10);
        tell(&sessions, 1_000_000, r#"sid="a",v=2,sta=r,ts=5"#);
        tell(&sessions, 1_002_000, r#"sid="a",v=2,sta=p,ts=99999999999"#);
        assert_eq!(sessions.list(1)[0].stalled_ms, 2000.0);
    }

    #[test]
    fn sessions_are_bounded_and_the_silent_forgotten() {
        let sessions = sessions(2);
        for (now, sid) in [(0, "a"), (50_000, "b"), (50_000, "c")] {
            tell(&sessions, now, &format!("sid=\"{sid}\""));
        }
        assert_eq!(sessions.list(10).len(), 2);
        sessions.forget(60_000);
        assert_eq!(
            sessions
                .list(10)
                .iter()
                .map(|session| &session.sid[..])
                .collect::<Vec<_>>(),
            ["b"]
        );
        tell(&sessions, 61_000, r#"sid="b",v=2,sta=e"#);
        sessions.forget(67_001);
        assert!(sessions.list(10).is_empty());
    }
}
