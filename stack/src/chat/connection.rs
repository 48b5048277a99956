//! The receiving side of one connection, from its first frame to its last: one small task that
//! owns no buffer while nothing is half received.

use std::cell::RefCell;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::audit::{Limiter, limiter};
use super::batch;
use super::consumer::{Consumer, Sent};
use super::frame::{Decoder, Event, Violation, close_frame, pong_frame};
use super::hub::Shared;
use super::metric::Ended;
use super::outbox::Frame;
use super::protocol::{ClientMessage, Refusal, Refused};
use super::room::Room;

/// Read at once.
const READ_BYTES: usize = 16 * 1024;
/// Malformed or rate-limited messages in a row that end a connection.
const PATIENCE: u32 = 100;
/// How long the client may take to answer a close.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    /// What a read fills before the frames in it are handled, shared by all connections of a thread.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Who connects, and since when.
pub(crate) struct Visit {
    pub(crate) user: Box<str>,
    /// Revision to resume after.
    pub(crate) from: Option<u64>,
}

/// Serves a connection until it ends. `early` came with the handshake.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    room: Arc<Room>,
    stream: TcpStream,
    early: Vec<u8>,
    visit: Visit,
) {
    let consumer = Arc::new(Consumer::new(
        stream,
        shared.now_s(),
        Arc::clone(&shared.metrics),
    ));
    let rev = room.rev();
    consumer.send(&batch::hello(&room.name, rev), &shared.config.bound());
    let tally = room.tally();
    if !tally.gifts.is_empty() || !tally.votes.is_empty() {
        consumer.send(&batch::tally(tally), &shared.config.bound());
    }
    let seen = match visit.from {
        Some(from) => {
            let replay = Box::pin(replay(&shared, &room, &consumer, from.min(rev)));
            let patience = Duration::from_secs(shared.config.silent_s.into());
            match tokio::time::timeout(patience, replay).await {
                Ok(seen) => seen,
                Err(_) => return consumer.end(Ended::Silent),
            }
        }
        None => rev,
    };
    shared
        .lanes
        .join(Arc::clone(&room), Arc::clone(&consumer), seen)
        .await;
    let decoder = Decoder::new(shared.config.message_bytes);
    let mut reader = Reader {
        shared,
        room,
        user: visit.user,
        consumer,
        decoder,
        limiter: None,
        strikes: 0,
    };
    match reader.read(early).await {
        Stop::Close(code, ended) => Box::pin(reader.say_goodbye(code, ended)).await,
        Stop::End(ended) => reader.consumer.end(ended),
    }
}

/// Sends what is kept after a revision until little is left, as fast as the client takes it, so
/// that a long history does not overflow its queue. Returns the last revision sent.
async fn replay(shared: &Shared, room: &Room, consumer: &Consumer, from: u64) -> u64 {
    let oldest_wanted = room.rev().saturating_sub(shared.config.replay as u64);
    let mut seen = from.max(oldest_wanted);
    while room.rev().saturating_sub(seen) > shared.config.batch_items as u64 || seen < room.oldest()
    {
        let items = match room.read(seen, shared.config.batch_items).await {
            Ok(items) if items.is_empty() => break,
            Ok(items) => items,
            Err(error) => {
                super::hub::report_failure(&shared.metrics, shared.started, "read", &error);
                break;
            }
        };
        for (rev, frame) in batch::runs(&items, room.frame_bound()) {
            if consumer.send(&frame, &shared.config.bound()) == Sent::Whole {
                shared.metrics.delivered.inc_by(u64::from(frame.items));
            }
            consumer.drain().await;
            seen = rev;
        }
    }
    seen
}

/// Why reading stopped.
enum Stop {
    /// With a close frame.
    Close(CloseCode, Ended),
    /// There is no one to say it to.
    End(Ended),
}

struct Reader {
    shared: Arc<Shared>,
    room: Arc<Room>,
    user: Box<str>,
    consumer: Arc<Consumer>,
    decoder: Decoder,
    /// Made by the first message: most only listen.
    limiter: Option<Box<Limiter>>,
    strikes: u32,
}

impl Reader {
    async fn read(&mut self, mut early: Vec<u8>) -> Stop {
        if let Err(stop) = self.take(&mut early) {
            return stop;
        }
        drop(early);
        loop {
            if self.consumer.stream().readable().await.is_err() {
                return Stop::End(Ended::Reset);
            }
            let result =
                SCRATCH.with_borrow_mut(|scratch| match self.consumer.stream().try_read(scratch) {
                    Ok(0) => Err(Stop::End(Ended::Client)),
                    Ok(n) => {
                        self.consumer.hear(self.shared.now_s());
                        self.take(scratch.get_mut(..n).unwrap_or_default())
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                    Err(_) => Err(Stop::End(Ended::Reset)),
                });
            if let Err(stop) = result {
                return stop;
            }
        }
    }

    /// Handles what was read.
    fn take(&mut self, bytes: &mut [u8]) -> Result<(), Stop> {
        let mut decoder = std::mem::replace(
            &mut self.decoder,
            Decoder::new(self.shared.config.message_bytes),
        );
        let mut stop = None;
        let result = decoder.feed(bytes, |event| match self.handle(event) {
            Ok(()) => ControlFlow::Continue(()),
            Err(why) => {
                stop = Some(why);
                ControlFlow::Break(())
            }
        });
        self.decoder = decoder;
        match (stop, result) {
            (Some(stop), _) => Err(stop),
            (None, Err(violation)) => Err(self.blame(violation)),
            (None, Ok(())) => Ok(()),
        }
    }

    fn blame(&self, violation: Violation) -> Stop {
        self.shared.metrics.violate(violation);
        Stop::Close(violation.code(), Ended::Violation)
    }

    fn handle(&mut self, event: Event<'_>) -> Result<(), Stop> {
        match event {
            Event::Text(text) => self.publish(text),
            Event::Ping(payload) => {
                self.send(&Frame {
                    bytes: pong_frame(payload),
                    items: 0,
                });
                Ok(())
            }
            Event::Pong => Ok(()),
            Event::Close(code) => Err(Stop::Close(
                code.map_or(CloseCode::Normal, echo),
                Ended::Client,
            )),
        }
    }

    fn publish(&mut self, text: &str) -> Result<(), Stop> {
        let message = serde_json::from_str::<ClientMessage<'_>>(text);
        let limiter = self
            .limiter
            .get_or_insert_with(|| Box::new(limiter(self.shared.config.connection_rate)));
        let refused = match message {
            // Also malformed ones cost of the rate.
            Ok(message) if limiter.check().is_err() => {
                let id = message
                    .id
                    .filter(|id| id.len() <= super::protocol::ID_BYTES);
                self.shared.metrics.refuse(Refusal::RateLimited);
                Refused {
                    code: Refusal::RateLimited,
                    id,
                }
            }
            Ok(message) => match self.room.publish(&self.user, message) {
                Ok(()) => {
                    self.strikes = 0;
                    return Ok(());
                }
                Err(refused) => refused,
            },
            Err(_) => {
                self.shared.metrics.refuse(Refusal::Malformed);
                Refused {
                    code: Refusal::Malformed,
                    id: None,
                }
            }
        };
        if matches!(refused.code, Refusal::Malformed | Refusal::RateLimited) {
            self.strikes += 1;
        }
        self.send(&batch::refusal(refused));
        if self.strikes >= PATIENCE {
            Err(Stop::Close(CloseCode::Policy, Ended::Abuse))
        } else {
            Ok(())
        }
    }

    fn send(&self, frame: &Frame) {
        self.consumer.send(frame, &self.shared.config.bound());
    }

    /// Sends the close frame and reads on for a moment: closing with unread data would reset the
    /// connection and take the close frame with it.
    async fn say_goodbye(&self, code: CloseCode, ended: Ended) {
        self.consumer.say_goodbye(
            &Frame {
                bytes: close_frame(code),
                items: 0,
            },
            ended,
        );
        let stream = self.consumer.stream();
        let drain = async {
            while stream.readable().await.is_ok() {
                let more = SCRATCH.with_borrow_mut(|scratch| match stream.try_read(scratch) {
                    Ok(n) => n > 0,
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                });
                if !more {
                    return;
                }
            }
        };
        // A client that keeps sending is cut off.
        let _ = tokio::time::timeout(LINGER, drain).await;
    }
}

/// The code to answer a close with: the client's own where it may be sent.
fn echo(code: u16) -> CloseCode {
    let code = CloseCode::from(code);
    if code.is_allowed() {
        code
    } else {
        CloseCode::Protocol
    }
}
