//! Ticks all matches of a process on one thread of its own, on absolute deadlines: tick n of a
//! match is due at its start + n / rate, whatever came before.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{getpriority_process, setpriority_process};

use super::metrics::Metrics;
use super::room::{Presence, Published, Room, Seats};
use super::world::World;
use crate::game::book::{EndReason, MatchId};
use crate::game::config::{self, ms};
use crate::game::pipe::Report;

/// How often a match without players is looked at, and the longest sleep.
const LOOK: Duration = Duration::from_millis(50);

/// To the ticker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Starts a match whose seats are open.
    Open(Arc<Room>),
    /// Ends a match.
    Close(MatchId),
}

/// The thread's state.
pub(crate) struct Ticker {
    rules: config::Room,
    seats: Arc<Seats>,
    metrics: Metrics,
    /// What happened: ticker → `game`. What finds no room is made up for by the next beat.
    reports: tokio::sync::mpsc::Sender<Report>,
    /// Rounds of the loop: grows as long as the ticks go on.
    alive: Arc<AtomicU64>,
    running: HashMap<MatchId, Running>,
    deadlines: BinaryHeap<Reverse<(Instant, MatchId)>>,
}

struct Running {
    room: Arc<Room>,
    world: World,
    opened: Instant,
    /// When all had joined, or the wait for them was over.
    began: Option<Instant>,
    empty_since: Option<Instant>,
    /// What the tick before the last one published, to be filled anew once nobody reads it.
    spare: Option<Arc<Published>>,
}

impl Ticker {
    /// Without matches.
    pub(crate) fn new(
        rules: config::Room,
        seats: Arc<Seats>,
        metrics: Metrics,
        reports: tokio::sync::mpsc::Sender<Report>,
        alive: Arc<AtomicU64>,
    ) -> Self {
        let (running, deadlines) = (HashMap::new(), BinaryHeap::new());
        Self {
            rules,
            seats,
            metrics,
            reports,
            alive,
            running,
            deadlines,
        }
    }

    /// Runs until nobody can send commands any more; then all matches end.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) {
        self.take_precedence();
        loop {
            self.alive.fetch_add(1, Ordering::Relaxed);
            let due = self
                .deadlines
                .peek()
                .map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()));
            match commands.recv_timeout(due.map_or(LOOK, |due| due.min(LOOK))) {
                Ok(Command::Open(room)) => self.open(room),
                Ok(Command::Close(id)) => self.end(id, EndReason::Stopped),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            while let Some(Reverse((due, id))) = self.deadlines.peek().copied()
                && due <= Instant::now()
            {
                self.deadlines.pop();
                if let Some(next) = self.turn(id, due) {
                    self.deadlines.push(Reverse((next, id)));
                }
            }
        }
        let ids: Vec<MatchId> = self.running.keys().copied().collect();
        ids.into_iter()
            .for_each(|id| self.end(id, EndReason::Stopped));
    }

    /// Lets this thread go before others: a tick is short, but late if it has to wait until
    /// everyone else has used up a share of the processor.
    fn take_precedence(&self) {
        let nice = i32::from(self.rules.tick_nice);
        // No process named: the calling thread alone, as Linux has it (setpriority(2)).
        if let Err(error) = setpriority_process(None, nice) {
            tracing::info!(
                %error,
                nice,
                "setpriority: ticks wait like any other work; grant CAP_SYS_NICE, raise RLIMIT_NICE, or set [game.arenas.room] tick_nice = 0"
            );
        }
        if let Ok(nice) = getpriority_process(None) {
            self.metrics.tick_nice.set(nice.into());
        }
    }

    fn open(&mut self, room: Arc<Room>) {
        let now = Instant::now();
        let world = World::new(room.tokens.len(), self.rules.tick_hz);
        self.deadlines.push(Reverse((now + LOOK, room.id)));
        self.running.insert(
            room.id,
            Running {
                room,
                world,
                opened: now,
                began: None,
                empty_since: None,
                spare: None,
            },
        );
        self.metrics.matches.set(self.running.len() as i64);
    }

    /// A match's turn: a tick once somebody is there. Returns when the next one is due, nothing
    /// if the match is over.
    fn turn(&mut self, id: MatchId, due: Instant) -> Option<Instant> {
        let now = Instant::now();
        let match_ = self.running.get_mut(&id)?;
        let (parts, applied, presence) = match_.room.take_parts();
        if let Some(reason) = match_.over(now, presence, &self.rules) {
            self.end(id, reason);
            return None;
        }
        if presence.joined == 0 {
            return Some(due + LOOK);
        }
        match_.world.step(&parts);
        let published = Published {
            snapshot: match_.world.snapshot(),
            applied,
            over: None,
        };
        match_.publish(published);
        let done = Instant::now();
        self.metrics.tick_late.observe((now - due).as_secs_f64());
        self.metrics.tick.observe((done - now).as_secs_f64());
        let interval = Duration::from_secs(1) / u32::from(self.rules.tick_hz);
        let missed = (done - due).as_nanos() / interval.as_nanos();
        if missed > 0 {
            self.metrics.overruns.inc();
            self.metrics.ticks_missed.inc_by(missed as u64);
        }
        Some(due + interval * (missed as u32 + 1))
    }

    fn end(&mut self, id: MatchId, reason: EndReason) {
        let Some(match_) = self.running.remove(&id) else {
            return;
        };
        self.seats.close(&match_.room);
        self.metrics.matches.set(self.running.len() as i64);
        let standings = if reason == EndReason::Finished {
            match_.world.standings()
        } else {
            Vec::new()
        };
        let for_game = standings
            .iter()
            .map(|one| (one.slot, u32::from(one.place), i32::from(one.score)));
        let report = Report::Ended {
            id,
            reason,
            standings: for_game.collect(),
        };
        if self.reports.try_send(report).is_err() {
            self.metrics.reports_dropped.inc();
        }
        match_.room.newest.send_modify(|newest| {
            *newest = Arc::new(Published {
                over: Some((reason, standings)),
                ..(**newest).clone()
            });
        });
    }
}

impl Running {
    /// Makes public what a tick brought, in memory of the tick before the last one if no connection
    /// still reads that.
    fn publish(&mut self, published: Published) {
        let mut spare = self.spare.take();
        let next = match spare.as_mut().and_then(Arc::get_mut) {
            Some(place) => {
                *place = published;
                spare
            }
            None => Some(Arc::new(published)),
        };
        self.spare = next.map(|next| self.room.newest.send_replace(next));
    }

    /// Whether the match is over now, and why.
    fn over(
        &mut self,
        now: Instant,
        presence: Presence,
        rules: &config::Room,
    ) -> Option<EndReason> {
        let waited = now - self.opened >= ms(rules.join_timeout_ms);
        if presence.joined == 0 {
            return waited.then_some(EndReason::NotJoined);
        }
        if self.began.is_none() && (waited || presence.joined == self.room.tokens.len()) {
            self.began = Some(now);
        }
        if self
            .began
            .is_some_and(|began| now - began >= ms(rules.match_ms))
        {
            return Some(EndReason::Finished);
        }
        if presence.left == self.room.tokens.len() {
            return Some(EndReason::Abandoned);
        }
        if presence.connected > 0 {
            self.empty_since = None;
            return None;
        }
        let since = *self.empty_since.get_or_insert(now);
        (now - since >= ms(rules.abandon_ms)).then_some(EndReason::Abandoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::game::protocol::delta::Snapshot;

    fn running(tokens: usize) -> Running {
        let room = Arc::new(Room::new(
            1,
            "m".to_owned(),
            (0..tokens).map(|token| token.to_string()).collect(),
        ));
        let world = World::new(tokens, 30);
        Running {
            room,
            world,
            opened: Instant::now(),
            began: None,
            empty_since: None,
            spare: None,
        }
    }

    fn presence(joined: usize, connected: usize, left: usize) -> Presence {
        Presence {
            joined,
            connected,
            left,
        }
    }

    #[test]
    fn what_is_read_is_never_written_over() {
        let mut match_ = running(1);
        let tick = |tick| Published {
            snapshot: Snapshot {
                tick,
                ..Snapshot::default()
            },
            ..Published::default()
        };
        match_.publish(tick(1));
        let held = Arc::clone(&match_.room.newest.borrow());
        for number in 2..5 {
            match_.publish(tick(number));
            assert_eq!(match_.room.newest.borrow().snapshot.tick, number);
        }
        assert_eq!(held.snapshot.tick, 1);
    }

    #[test]
    fn a_match_that_nobody_joins_is_given_back() {
        let (mut match_, rules) = (running(2), config::Room::default());
        let opened = match_.opened;
        assert_eq!(
            match_.over(opened + ms(9_999), presence(0, 0, 0), &rules),
            None
        );
        assert_eq!(
            match_.over(opened + ms(10_000), presence(0, 0, 0), &rules),
            Some(EndReason::NotJoined)
        );
    }

    #[test]
    fn the_match_time_runs_from_the_last_join_or_the_end_of_waiting() {
        let rules = config::Room::default();
        let mut full = running(2);
        let opened = full.opened;
        assert_eq!(
            full.over(opened + ms(3_000), presence(2, 2, 0), &rules),
            None
        );
        assert_eq!(
            full.over(opened + ms(62_999), presence(2, 2, 0), &rules),
            None
        );
        assert_eq!(
            full.over(opened + ms(63_000), presence(2, 2, 0), &rules),
            Some(EndReason::Finished)
        );
        let mut half = running(2);
        let opened = half.opened;
        assert_eq!(
            half.over(opened + ms(10_000), presence(1, 1, 0), &rules),
            None
        );
        assert_eq!(
            half.over(opened + ms(70_000), presence(1, 1, 0), &rules),
            Some(EndReason::Finished)
        );
    }

    #[test]
    fn an_empty_match_waits_for_players_to_come_back() {
        let (mut match_, rules) = (running(2), config::Room::default());
        let opened = match_.opened;
        assert_eq!(
            match_.over(opened + ms(1_000), presence(2, 0, 0), &rules),
            None
        );
        assert_eq!(
            match_.over(opened + ms(2_000), presence(2, 1, 0), &rules),
            None
        );
        assert_eq!(
            match_.over(opened + ms(4_000), presence(2, 0, 0), &rules),
            None
        );
        assert_eq!(
            match_.over(opened + ms(8_999), presence(2, 0, 0), &rules),
            None
        );
        assert_eq!(
            match_.over(opened + ms(9_000), presence(2, 0, 0), &rules),
            Some(EndReason::Abandoned)
        );
        assert_eq!(
            running(2).over(Instant::now(), presence(2, 0, 2), &rules),
            Some(EndReason::Abandoned)
        );
    }
}
