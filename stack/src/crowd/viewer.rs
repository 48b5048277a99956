//! A player with its network: the pure model of [`super::player`] driven by real time and HTTP.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use url::Url;

use super::net::{Fetched, Gate, Net, SharedProgress};
use super::playback::Settings;
use super::player::{Act, Failure, Player, Want};
use super::session::Session;
use crate::truth::{Event, Reason};

/// Between two `level` lines, seconds.
const LEVEL_EVERY_S: f64 = 1.0;
/// Connections that are remembered so that each is told of once.
const CONNECTIONS: usize = 64;

/// What one viewer does; times are seconds since the session began.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The multivariant playlist.
    pub(crate) url: Url,
    /// In order of time.
    pub(crate) acts: Vec<(f64, Act)>,
    pub(crate) leave_at: f64,
    pub(crate) settings: Settings,
}

type Done = (u64, Result<Fetched, Failure>);

struct Viewer<'a> {
    session: &'a Session,
    player: Player,
    net: Net,
    hop: Duration,
    tasks: JoinSet<Done>,
    running: HashMap<u64, (AbortHandle, SharedProgress)>,
    connections: Vec<SocketAddr>,
    bytes: u64,
    bytes_of_level: u64,
}

/// Watches until the plan or the run ends; writes the session's truth from `startup` to `end`.
pub(crate) async fn watch(session: Session, gate: Gate, plan: Plan) {
    let mut viewer = Viewer {
        player: Player::new(session.name.clone(), plan.url, plan.settings),
        net: Net::new(gate),
        hop: Duration::from_secs_f64(plan.settings.hop_s.max(0.0)),
        session: &session,
        tasks: JoinSet::new(),
        running: HashMap::new(),
        connections: Vec::new(),
        bytes: 0,
        bytes_of_level: 0,
    };
    let quit = viewer.run(&plan.acts, plan.leave_at).await;
    viewer.finish(quit);
}

impl Viewer<'_> {
    /// True if the user left, false if the run ended.
    async fn run(&mut self, acts: &[(f64, Act)], leave_at: f64) -> bool {
        let clock = self.session.clock;
        let mut acts = acts.iter().copied().peekable();
        let mut level_at = LEVEL_EVERY_S;
        loop {
            self.pump();
            let next_act = acts.peek().map_or(f64::INFINITY, |(at, _)| *at);
            let due = self.player.deadline().unwrap_or(f64::INFINITY);
            let wake = clock.instant(due.min(next_act).min(level_at).min(leave_at));
            tokio::select! {
                done = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Some(Ok((id, result))) = done {
                        self.settle(id, result);
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
                () = self.session.shared.stop.cancelled() => return false,
            }
            let now = clock.now_s();
            if now >= leave_at {
                return true;
            }
            if due <= now {
                self.report_progress();
                self.player.tick(now);
            }
            if let Some((_, act)) = acts.next_if(|(at, _)| *at <= now) {
                self.player.act(now, act);
            }
            if level_at <= now {
                level_at = (now + LEVEL_EVERY_S).max(level_at + LEVEL_EVERY_S);
                self.write_level(now);
            }
        }
    }

    /// Carries out what the player wants and writes down what it says.
    fn pump(&mut self) {
        for id in self.player.take_aborts() {
            if let Some((handle, _)) = self.running.remove(&id) {
                handle.abort();
            }
        }
        while let Some(request) = self.player.take_request() {
            let (net, progress) = (self.net.clone(), SharedProgress::default());
            let (id, shared) = (request.id, progress.clone());
            let hop = self.hop;
            let handle = self.tasks.spawn(async move {
                let mut fetched = net.fetch(&request, &shared).await;
                if let Ok(fetched) = fetched.as_mut()
                    && request.want == Want::Size
                {
                    tokio::time::sleep(hop).await;
                    fetched.answer.first_byte_s += hop.as_secs_f64();
                }
                (id, fetched)
            });
            self.running.insert(id, (handle, progress));
        }
        while let Some((at, event)) = self.player.take_note() {
            self.session.put_at_s(at, event);
        }
    }

    fn settle(&mut self, id: u64, result: Result<Fetched, Failure>) {
        let now = self.session.clock.now_s();
        self.running.remove(&id);
        match result {
            Ok(fetched) => {
                self.bytes += fetched.answer.bytes;
                self.bytes_of_level += fetched.answer.bytes;
                if let Some((local, remote)) = fetched.addresses {
                    self.note_connection(local, remote);
                }
                self.player.answer(now, id, &fetched.answer);
            }
            Err(failure) => self.player.fail(now, id, failure),
        }
    }

    fn note_connection(&mut self, local: SocketAddr, remote: SocketAddr) {
        if !self.connections.contains(&local) {
            if self.connections.len() == CONNECTIONS {
                self.connections.remove(0);
            }
            self.connections.push(local);
            self.session.put(Event::Connect {
                local: local.to_string(),
                remote: remote.to_string(),
            });
        }
    }

    fn report_progress(&mut self) {
        for (id, (_, progress)) in &self.running {
            if let Some((first_byte_s, loaded)) = progress.get() {
                self.player.progress(*id, first_byte_s, loaded);
            }
        }
    }

    fn write_level(&mut self, now: f64) {
        self.player.tick(now);
        let standing = self.player.standing(now);
        let bytes = std::mem::take(&mut self.bytes_of_level);
        if self.player.playback().has_started() {
            self.session.put_at_s(
                now,
                Event::Level {
                    buffer_s: standing.buffer_s,
                    playhead_s: standing.playhead_s,
                    latency_s: standing.latency_s,
                    bytes,
                    estimate_bps: standing.estimate_bps,
                },
            );
        }
    }

    fn finish(&mut self, quit: bool) {
        let now = self.session.clock.now_s();
        self.player.leave(now);
        self.pump();
        self.tasks.abort_all();
        self.session.put(Event::Disconnect {
            reason: Reason::Done,
            detail: String::new(),
        });
        let spent = self.player.playback().spent();
        let (parts, late_parts) = self.player.parts();
        self.session.put(Event::End {
            quit,
            lasted_ms: now * 1e3,
            played_s: spent.playing_s,
            stalled_ms: spent.stalled_s * 1e3,
            stalls: self.player.playback().stalls(),
            switches: self.player.switches(),
            parts,
            late_parts,
            bytes: self.bytes,
            sent: 0,
            received: 0,
        });
    }
}

#[cfg(test)]
mod tests;
