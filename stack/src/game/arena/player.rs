//! One player's connection: Hello, then intents in and snapshots out, side by side.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use governor::{Quota, RateLimiter};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Arena;
use super::metrics::{Metrics, Parting, Reason};
use super::room::{Published, Room};
use crate::game::config::ms;
use crate::game::protocol::delta::{self, Snapshot};
use crate::game::protocol::{
    BASE_TICKS, ClientMessage, MAX_CLIENT_MESSAGE, ServerMessage, VERSION,
};

/// Messages a player may send in the time of a tick, on average.
const MESSAGES_PER_TICK: u32 = 4;
/// Time to tell a player why its connection ends.
const CLOSING: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Serves a connection to its end.
pub(super) async fn play(arena: Arc<Arena>, upgraded: Upgraded) {
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_CLIENT_MESSAGE))
        .max_frame_size(Some(MAX_CLIENT_MESSAGE));
    let mut socket =
        Socket::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let reason = serve(&arena, &mut socket).await;
    arena
        .metrics
        .partings
        .get_or_create(&Parting { reason })
        .inc();
    if let Some(code) = reason.close_code() {
        let frame = CloseFrame {
            code: code.into(),
            reason: format!("{reason:?}").into(),
        };
        // Reading on until the peer's answer, so that the kernel does not reset what it has not read.
        let closing = async {
            socket.close(Some(frame)).await?;
            while let Some(Ok(_)) = socket.next().await {}
            Ok::<(), Error>(())
        };
        _ = time::timeout(CLOSING, closing).await;
    }
}

async fn serve(arena: &Arena, socket: &mut Socket) -> Reason {
    let hello = tokio::select! {
        hello = time::timeout(ms(arena.rules.hello_timeout_ms), receive(socket)) => hello,
        () = arena.stop.cancelled() => return Reason::Stopping,
    };
    let token = match hello {
        Ok(Ok(ClientMessage::Hello {
            version: VERSION,
            token,
        })) => token,
        Ok(Ok(_)) => return Reason::Malformed,
        Ok(Err(reason)) => return reason,
        Err(_) => return Reason::NoHello,
    };
    let Some((room, slot)) = arena.seats.find(&token) else {
        return Reason::BadToken;
    };
    let Some(connection) = room.join(slot) else {
        return Reason::BadToken;
    };
    arena.metrics.players.inc();
    let player = Player {
        arena,
        room: &room,
        slot,
        acked: Mutex::default(),
    };
    let (mut sink, mut stream) = socket.split();
    let reason = tokio::select! {
        // In this order, so that a match's end is said before the match is forgotten.
        biased;
        reason = player.write(&mut sink) => reason,
        reason = player.read(&mut stream) => reason,
        () = connection.cancelled() => Reason::Replaced,
        () = arena.stop.cancelled() => Reason::Stopping,
    };
    arena.metrics.players.dec();
    room.part(slot, &connection, reason == Reason::Left);
    reason
}

/// The next message of the protocol; WebSocket's own control messages pass unseen.
async fn receive<S>(stream: &mut S) -> Result<ClientMessage, Reason>
where
    S: futures_util::Stream<Item = Result<Message, Error>> + Unpin,
{
    loop {
        return match stream.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                ClientMessage::decode(&bytes).map_err(|_| Reason::Malformed)
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Text(_) | Message::Frame(_))) => Err(Reason::Malformed),
            Some(Ok(Message::Close(_))) | None => Err(Reason::Gone),
            Some(Err(Error::Capacity(_))) => Err(Reason::TooBig),
            Some(Err(Error::Protocol(_) | Error::Utf8(_) | Error::AttackAttempt)) => {
                Err(Reason::Malformed)
            }
            Some(Err(_)) => Err(Reason::Gone),
        };
    }
}

struct Player<'a> {
    arena: &'a Arena,
    room: &'a Room,
    slot: u8,
    /// Newest acknowledged tick, and when that came: reader → writer.
    acked: Mutex<Option<(u32, Instant)>>,
}

impl Player<'_> {
    async fn read(&self, stream: &mut SplitStream<&mut Socket>) -> Reason {
        let rules = &self.arena.rules;
        let rate = NonZeroU32::MIN.saturating_add(u32::from(rules.tick_hz) * MESSAGES_PER_TICK);
        // A second's worth at once: what a stalled network hands over in one piece.
        let limit = RateLimiter::direct(Quota::per_second(rate));
        loop {
            let message = match time::timeout(ms(rules.idle_timeout_ms), receive(stream)).await {
                Ok(Ok(message)) => message,
                Ok(Err(reason)) => return reason,
                Err(_) => return Reason::TimedOut,
            };
            if limit.check().is_err() {
                return Reason::TooFast;
            }
            match message {
                ClientMessage::Input { ack, seq, intents } => {
                    let new = self.room.intend(self.slot, seq, &intents);
                    self.arena.metrics.inputs.inc_by(new as u64);
                    self.arena
                        .metrics
                        .inputs_repeated
                        .inc_by((intents.len() - new) as u64);
                    self.acknowledge(ack);
                }
                ClientMessage::Leave => return Reason::Left,
                ClientMessage::Hello { .. } => return Reason::Malformed,
            }
        }
    }

    fn acknowledge(&self, tick: u32) {
        let mut acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        if tick > acked.map_or(0, |(tick, _)| tick) {
            *acked = Some((tick, Instant::now()));
        }
    }

    /// Writes the newest snapshot each time the one before is on its way, however long that took.
    async fn write(&self, sink: &mut SplitSink<&mut Socket, Message>) -> Reason {
        let idle = ms(self.arena.rules.idle_timeout_ms);
        let mut newest = self.room.newest.subscribe();
        let mut sent = Sent::default();
        let mut message = Vec::with_capacity(256);
        self.welcome(newest.borrow().snapshot.tick)
            .encode(&mut message);
        loop {
            if !message.is_empty() {
                let bytes = bytes::Bytes::copy_from_slice(&message);
                match time::timeout(idle, sink.send(Message::Binary(bytes))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Reason::Gone,
                    Err(_) => return Reason::TimedOut,
                }
            }
            if newest.changed().await.is_err() {
                return Reason::Stopping;
            }
            let published = Arc::clone(&newest.borrow_and_update());
            message.clear();
            if let Some((reason, standings)) = &published.over {
                let ended = ServerMessage::Ended {
                    reason: *reason as u8,
                    standings: standings.clone(),
                };
                ended.encode(&mut message);
                _ = time::timeout(CLOSING, sink.send(Message::Binary(message.into()))).await;
                return Reason::MatchOver;
            }
            self.snapshot(&published, &mut sent, &mut message);
        }
    }

    fn welcome(&self, tick: u32) -> ServerMessage {
        ServerMessage::Welcome {
            slot: self.slot,
            players: self.room.tokens.len() as u8,
            tick_hz: self.arena.rules.tick_hz,
            tick,
            match_id: self.room.name.clone(),
        }
    }

    fn snapshot(&self, published: &Published, sent: &mut Sent, message: &mut Vec<u8>) {
        let metrics = &self.arena.metrics;
        let acked = *self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        let tick = published.snapshot.tick;
        let (base, skipped) = sent.push(published.snapshot, acked, metrics);
        let snapshot = ServerMessage::Snapshot {
            tick,
            base: base.map_or(0, |base| base.tick),
            ack_seq: published.applied[usize::from(self.slot)],
            changes: delta::changes(base.as_ref(), &published.snapshot),
        };
        snapshot.encode(message);
        metrics.snapshots.inc();
        metrics.snapshots_skipped.inc_by(skipped);
        metrics.snapshots_whole.inc_by(u64::from(base.is_none()));
        metrics.snapshot_bytes.inc_by(message.len() as u64);
    }
}

/// Snapshots that the player may acknowledge, and the newest that it did.
#[derive(Debug, Default)]
struct Sent {
    base: Option<Snapshot>,
    /// Oldest first, at most [`BASE_TICKS`].
    open: VecDeque<(Snapshot, Instant)>,
    last_tick: u32,
}

impl Sent {
    /// Notes a snapshot as sent; returns the base for it, and how many ticks it skips.
    fn push(
        &mut self,
        snapshot: Snapshot,
        acked: Option<(u32, Instant)>,
        metrics: &Metrics,
    ) -> (Option<Snapshot>, u64) {
        if let Some((tick, at)) = acked {
            while let Some((oldest, sent_at)) =
                self.open.pop_front_if(|(oldest, _)| oldest.tick <= tick)
            {
                if oldest.tick == tick {
                    metrics
                        .round_trip
                        .observe(at.saturating_duration_since(sent_at).as_secs_f64());
                    self.base = Some(oldest);
                }
            }
        }
        self.base = self
            .base
            .filter(|base| snapshot.tick - base.tick <= BASE_TICKS as u32);
        let skipped = if self.last_tick == 0 {
            0
        } else {
            snapshot.tick.saturating_sub(self.last_tick + 1)
        };
        self.last_tick = snapshot.tick;
        if self.open.len() == BASE_TICKS {
            self.open.pop_front();
        }
        self.open.push_back((snapshot, Instant::now()));
        (self.base, skipped.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot(tick: u32) -> Snapshot {
        let mut snapshot = Snapshot {
            tick,
            ..Snapshot::default()
        };
        snapshot.entities[0] = Some(delta::Entity {
            x: tick as u16,
            ..delta::Entity::default()
        });
        snapshot
    }

    proptest! {
        /// A player that decodes what it gets, skips ticks, and acknowledges what it likes: what
        /// it has is always what was sent, and the base is always one that it acknowledged.
        #[test]
        fn the_base_is_always_one_that_the_player_has(ticks in prop::collection::vec((1_u32..20, any::<bool>()), 1..200), bogus in any::<u32>()) {
            let metrics = Metrics::new(&mut crate::daemon::Table::default());
            let mut sent = Sent::default();
            let (mut tick, mut acked) = (0, None);
            let mut has = std::collections::HashMap::new();
            for (step, acks) in ticks {
                tick += step;
                let (base, skipped) = sent.push(snapshot(tick), acked, &metrics);
                prop_assert_eq!(skipped, if has.is_empty() { 0 } else { u64::from(step - 1) });
                if let Some(base) = &base {
                    prop_assert!(tick - base.tick <= BASE_TICKS as u32);
                    prop_assert_eq!(has.get(&base.tick), Some(base));
                }
                let changes = delta::changes(base.as_ref(), &snapshot(tick));
                let decoded = delta::apply(base.as_ref(), tick, &changes).unwrap();
                prop_assert_eq!(decoded, snapshot(tick));
                has.insert(tick, decoded);
                if acks {
                    acked = Some((if tick % 7 == 0 { bogus } else { tick }, Instant::now()));
                }
                prop_assert!(sent.open.len() <= BASE_TICKS);
            }
        }
    }

    #[test]
    fn without_acknowledgement_snapshots_stay_whole() {
        let metrics = Metrics::new(&mut crate::daemon::Table::default());
        let mut sent = Sent::default();
        assert_eq!(sent.push(snapshot(1), None, &metrics).0, None);
        assert_eq!(
            sent.push(snapshot(2), Some((1, Instant::now())), &metrics)
                .0,
            Some(snapshot(1))
        );
        assert_eq!(
            sent.push(snapshot(66), Some((1, Instant::now())), &metrics)
                .0,
            None
        );
    }
}
