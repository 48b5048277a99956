//! Fan-out. A lane is a task that owns a share of all connections, room by room, and writes each
//! batch to them; one lane for each processor. The socket of a slow consumer is tried again
//! later, so it costs the others one look at its queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::config::Config;
use super::consumer::{Consumer, Sent};
use super::frame::{close_frame, ping_frame};
use super::metric::{Ended, Metrics};
use super::outbox::{Bound, Frame};
use super::room::Room;

/// Commands that wait for a lane. Few: when a lane is behind, rooms wait and make larger batches.
const COMMANDS: usize = 16;
/// Writes between two yields to the run time, so that readers and timers get their turn.
const WRITES: usize = 64;
/// Between two tries of the sockets of slow consumers.
const RETRY: Duration = Duration::from_millis(20);

enum Command {
    /// Adds a consumer and sends it what the room has after the revision.
    Join {
        room: Arc<Room>,
        consumer: Arc<Consumer>,
        seen: u64,
    },
    /// Sends to a room. `last` is 0 for what has no revision.
    Batch {
        room: u64,
        last: u64,
        frame: Frame,
        since: Instant,
    },
    Stop,
}

/// All lanes.
#[derive(Clone)]
pub(crate) struct Lanes {
    senders: Arc<[mpsc::Sender<Command>]>,
    next: Arc<AtomicUsize>,
}

impl Lanes {
    /// Starts `count` lanes on the current run time.
    pub(crate) fn start(
        count: usize,
        config: &Config,
        metrics: &Arc<Metrics>,
        started: Instant,
    ) -> Self {
        let senders = (0..count.max(1)).map(|_| {
            let (sender, commands) = mpsc::channel(COMMANDS);
            let lane = Lane {
                rooms: HashMap::new(),
                late: Vec::new(),
                bound: config.bound(),
                ping_s: config.ping_s,
                silent_s: config.silent_s,
                ping: Frame {
                    bytes: ping_frame(),
                    items: 0,
                },
                metrics: Arc::clone(metrics),
                started,
                stopping: false,
            };
            tokio::spawn(lane.run(commands));
            sender
        });
        Self {
            senders: senders.collect(),
            next: Arc::default(),
        }
    }

    /// Gives a consumer to a lane; it gets everything after `seen`, once.
    pub(crate) async fn join(&self, room: Arc<Room>, consumer: Arc<Consumer>, seen: u64) {
        let lane = self.next.fetch_add(1, Ordering::Relaxed) % self.senders.len();
        if let Some(lane) = self.senders.get(lane) {
            // A lane ends only with the service.
            let _ = lane
                .send(Command::Join {
                    room,
                    consumer,
                    seen,
                })
                .await;
        }
    }

    /// Sends a frame to everyone in the room; waits while the lanes are behind.
    pub(crate) async fn send(&self, room: u64, last: u64, frame: Frame, since: Instant) {
        for lane in self.senders.iter() {
            let _ = lane
                .send(Command::Batch {
                    room,
                    last,
                    frame: frame.clone(),
                    since,
                })
                .await;
        }
    }

    /// Says goodbye to everyone.
    pub(crate) async fn stop(&self) {
        for lane in self.senders.iter() {
            let _ = lane.send(Command::Stop).await;
        }
    }
}

struct Member {
    consumer: Arc<Consumer>,
    /// Newest revision that it was sent.
    seen: u64,
}

struct Members {
    /// Keeps the room in memory.
    _room: Arc<Room>,
    list: Vec<Member>,
}

struct Lane {
    rooms: HashMap<u64, Members>,
    late: Vec<Arc<Consumer>>,
    bound: Bound,
    ping_s: u32,
    silent_s: u32,
    ping: Frame,
    metrics: Arc<Metrics>,
    started: Instant,
    /// Said goodbye to all; who comes after hears it at once.
    stopping: bool,
}

impl Lane {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let (mut sweep, mut retry) = (interval(Duration::from_secs(1)), interval(RETRY));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Join { room, consumer, seen }) => self.join(room, consumer, seen),
                    Some(Command::Batch { room, last, frame, since }) => self.send(room, last, &frame, since).await,
                    Some(Command::Stop) => self.say_goodbye(),
                    None => return,
                },
                _ = retry.tick(), if !self.late.is_empty() => self.retry(),
                _ = sweep.tick() => self.sweep().await,
            }
        }
    }

    fn join(&mut self, room: Arc<Room>, consumer: Arc<Consumer>, seen: u64) {
        if self.stopping {
            consumer.say_goodbye(&goodbye(), Ended::ServerStops);
            return;
        }
        let (frames, seen) = room.catch_up(seen);
        for frame in &frames {
            match consumer.send(frame, &self.bound) {
                Sent::Whole => {
                    self.metrics.delivered.inc_by(u64::from(frame.items));
                }
                Sent::Queued => push_late(&mut self.late, &consumer),
                Sent::Gone => return,
            }
        }
        let members = self.rooms.entry(room.number).or_insert_with(|| Members {
            _room: room,
            list: Vec::new(),
        });
        members.list.push(Member { consumer, seen });
    }

    async fn send(&mut self, room: u64, last: u64, frame: &Frame, since: Instant) {
        let Some(members) = self.rooms.get_mut(&room) else {
            return;
        };
        let (mut index, mut whole) = (0, 0_u64);
        while let Some(member) = members.list.get_mut(index) {
            if last != 0 && member.seen >= last {
                index += 1;
                continue;
            }
            match member.consumer.send(frame, &self.bound) {
                Sent::Whole => whole += 1,
                Sent::Queued => push_late(&mut self.late, &member.consumer),
                Sent::Gone => {
                    members.list.swap_remove(index);
                    continue;
                }
            }
            member.seen = member.seen.max(last);
            index += 1;
            if index.is_multiple_of(WRITES) {
                tokio::task::yield_now().await;
            }
        }
        self.metrics.frames.inc_by(whole);
        self.metrics
            .delivered
            .inc_by(whole * u64::from(frame.items));
        if last != 0 {
            self.metrics.delay(since.elapsed().as_secs_f64());
        }
    }

    fn retry(&mut self) {
        self.late.retain(|consumer| {
            let done = consumer.retry();
            if done {
                consumer.late.store(false, Ordering::Relaxed);
            }
            !done
        });
        if self.late.is_empty() {
            self.late = Vec::new();
        }
    }

    /// Removes the dead, pings the silent, finds replies that wait.
    async fn sweep(&mut self) {
        let now_s = self.started.elapsed().as_secs() as u32;
        let mut looked = 0_usize;
        for members in self.rooms.values_mut() {
            members.list.retain(|member| !member.consumer.is_gone());
            if members.list.capacity() > 4 * members.list.len() {
                members.list.shrink_to_fit();
            }
            for Member { consumer, .. } in &members.list {
                consumer.probe(now_s, self.ping_s, self.silent_s, &self.ping, &self.bound);
                if consumer.waits() {
                    push_late(&mut self.late, consumer);
                }
                looked += 1;
                if looked.is_multiple_of(16 * WRITES) {
                    tokio::task::yield_now().await;
                }
            }
        }
        self.rooms.retain(|_, members| !members.list.is_empty());
    }

    fn say_goodbye(&mut self) {
        self.stopping = true;
        let close = goodbye();
        for member in self.rooms.values().flat_map(|members| &members.list) {
            member.consumer.say_goodbye(&close, Ended::ServerStops);
        }
        self.rooms.clear();
        self.late.clear();
    }
}

fn push_late(late: &mut Vec<Arc<Consumer>>, consumer: &Arc<Consumer>) {
    if !consumer.late.swap(true, Ordering::Relaxed) {
        late.push(Arc::clone(consumer));
    }
}

fn goodbye() -> Frame {
    Frame {
        bytes: close_frame(CloseCode::Away),
        items: 0,
    }
}
