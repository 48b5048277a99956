//! A player of an arena that moves about, tags at random and acknowledges every snapshot.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::SinkExt as _;
use hdrhistogram::Histogram;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tokio::time::{self, MissedTickBehavior};
use tokio_stream::StreamExt as _;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;

use crate::game::proto::Assignment;
use crate::game::protocol::delta::{self, Snapshot};
use crate::game::protocol::{
    BASE_TICKS, BUTTON_TAG, ClientMessage, Intent, MAX_SERVER_MESSAGE, ServerMessage, VERSION,
};

/// How a bot plays.
pub(super) struct Behaviour {
    /// Of its moves.
    pub(super) seed: u64,
    /// What it sees is counted while this is 1.
    pub(super) counting: Arc<AtomicU64>,
    /// When it leaves.
    pub(super) stop: CancellationToken,
}

/// What bots saw.
pub(super) struct Seen {
    pub(super) snapshots: u64,
    pub(super) ended_early: u64,
    pub(super) input_to_snapshot_us: Histogram<u64>,
    pub(super) gap_us: Histogram<u64>,
}

impl Seen {
    pub(super) fn new() -> Result<Self> {
        let (input_to_snapshot_us, gap_us) = (Histogram::new(3)?, Histogram::new(3)?);
        Ok(Self {
            snapshots: 0,
            ended_early: 0,
            input_to_snapshot_us,
            gap_us,
        })
    }

    pub(super) fn add(&mut self, other: Self) -> Result<()> {
        self.snapshots += other.snapshots;
        self.ended_early += other.ended_early;
        self.input_to_snapshot_us.add(other.input_to_snapshot_us)?;
        self.gap_us.add(other.gap_us)?;
        Ok(())
    }
}

struct Bot {
    has: VecDeque<Snapshot>,
    /// Inputs that no snapshot contains yet.
    open: VecDeque<(u32, Instant)>,
    last: Option<Instant>,
    seq: u32,
    intent: Intent,
    random: Pcg64Mcg,
    seen: Seen,
}

/// Plays until it is told to stop or the match is over.
pub(super) async fn play(assignment: Assignment, behaviour: Behaviour) -> Result<Seen> {
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_SERVER_MESSAGE));
    let connecting = connect_async_with_config(&assignment.connection, Some(limits), true);
    let (mut socket, _) = connecting.await.context("a bot's connection")?;
    send(
        &mut socket,
        &ClientMessage::Hello {
            version: VERSION,
            token: assignment.token,
        },
    )
    .await?;
    let welcome = socket.next().await.context("no welcome")??;
    let Ok(ServerMessage::Welcome { tick_hz, .. }) = ServerMessage::decode(&welcome.into_data())
    else {
        bail!("the first message is no welcome");
    };
    let mut bot = Bot {
        has: VecDeque::new(),
        open: VecDeque::new(),
        last: None,
        seq: 0,
        intent: Intent::default(),
        random: Pcg64Mcg::seed_from_u64(behaviour.seed),
        seen: Seen::new()?,
    };
    let period = Duration::from_secs(1) / u32::from(tick_hz);
    // Bots do not press their buttons in step.
    let phase = period.mul_f64(bot.random.random());
    let mut inputs = time::interval_at(time::Instant::now() + phase, period);
    inputs.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let counts = behaviour.counting.load(Ordering::Relaxed) == 1;
                    if !bot.take(&bytes, counts)? {
                        bot.seen.ended_early += 1;
                        return Ok(bot.seen);
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    bot.seen.ended_early += 1;
                    return Ok(bot.seen);
                }
                Some(Ok(_)) => {}
            },
            _ = inputs.tick() => send(&mut socket, &bot.input()).await?,
            () = behaviour.stop.cancelled() => {
                send(&mut socket, &ClientMessage::Leave).await?;
                return Ok(bot.seen);
            }
        }
    }
}

impl Bot {
    /// Whether the match goes on.
    fn take(&mut self, bytes: &[u8], counts: bool) -> Result<bool> {
        let ServerMessage::Snapshot {
            tick,
            base,
            ack_seq,
            changes,
        } = ServerMessage::decode(bytes)?
        else {
            return Ok(false);
        };
        let base = if base == 0 {
            None
        } else {
            Some(
                self.has
                    .iter()
                    .find(|snapshot| snapshot.tick == base)
                    .context("a base that the bot lacks")?,
            )
        };
        let snapshot = delta::apply(base, tick, &changes)?;
        if self.has.len() == BASE_TICKS {
            self.has.pop_front();
        }
        self.has.push_back(snapshot);
        let now = Instant::now();
        while let Some((_, sent)) = self.open.pop_front_if(|(seq, _)| *seq <= ack_seq) {
            if counts {
                self.seen
                    .input_to_snapshot_us
                    .record((now - sent).as_micros() as u64)?;
            }
        }
        if let Some(last) = self.last.replace(now)
            && counts
        {
            self.seen.gap_us.record((now - last).as_micros() as u64)?;
            self.seen.snapshots += 1;
        }
        Ok(true)
    }

    fn input(&mut self) -> ClientMessage {
        if self.seq.is_multiple_of(15) {
            let (move_x, move_y) = (
                self.random.random_range(-127..=127),
                self.random.random_range(-127..=127),
            );
            self.intent = Intent {
                move_x,
                move_y,
                buttons: 0,
            };
        }
        let buttons = if self.random.random_ratio(1, 10) {
            BUTTON_TAG
        } else {
            0
        };
        self.seq += 1;
        if self.open.len() < BASE_TICKS {
            self.open.push_back((self.seq, Instant::now()));
        }
        let ack = self.has.back().map_or(0, |snapshot| snapshot.tick);
        ClientMessage::Input {
            ack,
            seq: self.seq,
            intents: vec![Intent {
                buttons,
                ..self.intent
            }],
        }
    }
}

async fn send(
    socket: &mut WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
    message: &ClientMessage,
) -> Result<()> {
    let mut bytes = Vec::with_capacity(64);
    message.encode(&mut bytes);
    socket
        .send(Message::Binary(bytes.into()))
        .await
        .context("a bot's message")
}
