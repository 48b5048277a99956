//! A chat user: talks by its plan, reads everything, comes back when cut off.
//!
//! Of the wire (JSON in WebSocket text frames, documented with the chat service) it reads only
//! what it needs. The `id` of what it says carries its clock, `<microseconds>-<number>`, so that
//! every reader on the host can tell how long an item took.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use url::Url;

use super::arrival::{Saying, Talk};
use super::net::{Gate, explain_cause, failure, wait_open};
use super::player::Failure;
use super::session::Session;
use super::tally::Tally;
use crate::truth::{Event, Reason, Stamp};

mod wire;

/// Longest wait for a connection and its handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest pause between tries to come back, seconds.
const RETRY_MOST_S: f64 = 8.0;
/// Largest message that is read, bytes.
const MESSAGE_BYTES: usize = 1 << 20;

/// What one chat user does.
pub(crate) struct Plan {
    /// With room and user.
    pub(crate) url: Url,
    pub(crate) talk: Talk,
    /// When the session begins, seconds of the run.
    pub(crate) begin_s: f64,
    /// Seconds of the session.
    pub(crate) leave_at: f64,
    pub(crate) text_bytes: usize,
}

struct Chatter<'a> {
    session: &'a Session,
    gate: Gate,
    plan: Plan,
    tally: Tally,
    number: u64,
    sent: u64,
    /// Last revision seen; 0 before the first.
    revision: u64,
    next: Option<(f64, Saying)>,
}

/// A client's connection.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Talks and reads until the plan or the run ends.
pub(crate) async fn talk(session: Session, gate: Gate, mut plan: Plan) {
    let next = plan.talk.next();
    let mut chatter = Chatter {
        session: &session,
        gate,
        plan,
        tally: Tally::default(),
        number: 0,
        sent: 0,
        revision: 0,
        next,
    };
    let quit = tokio::select! {
        () = chatter.live() => true,
        () = session.shared.stop.cancelled() => false,
    };
    let (sent, tally) = (chatter.sent, chatter.tally);
    session.part(quit, sent, tally, "message_latency");
}

impl Chatter<'_> {
    /// Until the user leaves.
    async fn live(&mut self) {
        let clock = self.session.clock;
        let mut failures = 0.0_f64;
        while clock.now_s() < self.plan.leave_at {
            match self.connect().await {
                Ok(socket) => {
                    let began = clock.now_s();
                    match self.converse(socket).await {
                        Ok(()) => return,
                        Err(Failure { reason, detail }) => {
                            self.session.put(Event::Disconnect { reason, detail })
                        }
                    }
                    // A connection that held is no failure of connecting.
                    failures = if clock.now_s() - began > RETRY_MOST_S {
                        0.0
                    } else {
                        failures
                    };
                }
                Err(Failure { reason, detail }) => self.session.put(Event::Failure {
                    what: "connect".to_owned(),
                    reason,
                    detail,
                }),
            }
            failures = (failures + 1.0).min(RETRY_MOST_S);
            tokio::time::sleep_until(
                clock.instant(self.plan.leave_at.min(clock.now_s() + failures)),
            )
            .await;
        }
    }

    async fn connect(&self) -> Result<Socket, Failure> {
        let mut url = self.plan.url.clone();
        if self.revision > 0 {
            url.query_pairs_mut()
                .append_pair("from", &self.revision.to_string());
        }
        let (socket, local, remote) = open(&url).await?;
        self.session.put(Event::Connect {
            local: local.to_string(),
            remote: remote.to_string(),
        });
        Ok(socket)
    }

    /// `Ok` when the user leaves.
    async fn converse(&mut self, mut socket: Socket) -> Result<(), Failure> {
        let clock = self.session.clock;
        let mut gate = self.gate.clone();
        loop {
            let open = *gate.borrow();
            let say_at = self
                .next
                .map_or(f64::INFINITY, |(at, _)| at - self.plan.begin_s);
            let wake = say_at.min(self.plan.leave_at).min(self.tally.due_s());
            tokio::select! {
                message = socket.next(), if open => match self.take(message)? {
                    ControlFlow::Continue(()) => {}
                    ControlFlow::Break(failure) => return Err(failure),
                },
                () = wait_open(&mut gate), if !open => {}
                () = closed(self.gate.clone()), if open => {}
                () = tokio::time::sleep_until(clock.instant(wake)) => {}
            }
            let now = clock.now_s();
            self.tally.write_due(now, self.session);
            if now >= self.plan.leave_at {
                let _gone = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
                return Ok(());
            }
            if say_at <= now
                && let Some((_, saying)) = self.next
            {
                self.next = self.plan.talk.next();
                self.say(&mut socket, saying).await?;
            }
        }
    }

    async fn say(&mut self, socket: &mut Socket, saying: Saying) -> Result<(), Failure> {
        let id = wire::make_id(Stamp::now(), self.number);
        let (what, text) = wire::make_message(saying, &id, self.plan.text_bytes);
        let bytes = text.len() as u64;
        // A server that takes nothing for this long has us stuck; the session says so and returns.
        match tokio::time::timeout(CONNECT, socket.send(Message::text(text))).await {
            Ok(sent) => sent.map_err(|error| explain(&error))?,
            Err(_) => {
                return Err(failure(
                    Reason::Timeout,
                    "nothing taken for 10 s".to_owned(),
                ));
            }
        }
        self.session.put(Event::Sent {
            id: self.number,
            messages: 1,
            bytes,
            what,
        });
        self.number += 1;
        self.sent += 1;
        Ok(())
    }

    fn take(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<ControlFlow<Failure>, Failure> {
        let now = Stamp::now();
        match message {
            Some(Ok(Message::Text(text))) => self.read(now, &text),
            Some(Ok(Message::Close(frame))) => {
                let (code, detail) = frame.map_or((1005, String::new()), |frame| {
                    (u16::from(frame.code), frame.reason.to_string())
                });
                let reason = if code == 1013 {
                    Reason::SlowConsumer
                } else {
                    Reason::Closed
                };
                return Ok(ControlFlow::Break(failure(
                    reason,
                    format!("{code} {detail}"),
                )));
            }
            Some(Ok(
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
            )) => {}
            Some(Err(error)) => return Err(explain(&error)),
            None => {
                return Err(failure(
                    Reason::Closed,
                    "ended without a close frame".to_owned(),
                ));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn read(&mut self, now: Stamp, text: &str) {
        let frame = match wire::parse(text) {
            Ok(frame) => frame,
            Err(error) => {
                let (what, detail) = ("message".to_owned(), error.to_string());
                return self.session.put(Event::Failure {
                    what,
                    reason: Reason::Protocol,
                    detail,
                });
            }
        };
        if let Some(refused) = frame.err {
            let (what, detail) = ("message".to_owned(), refused.code.into_owned());
            self.session.put(Event::Failure {
                what,
                reason: Reason::Status,
                detail,
            });
        }
        if let Some(hello) = frame.hello
            && self.revision == 0
        {
            self.revision = hello.rev;
        }
        let Some(revision) = frame.rev else { return };
        let expected = self.revision + frame.items.len() as u64;
        if revision > expected {
            self.session.put(Event::Missed {
                messages: revision - expected,
            });
        }
        self.revision = self.revision.max(revision);
        let at_s = self.session.clock.now_s();
        for item in &frame.items {
            let latency_ms = item.id.as_deref().and_then(|id| wire::latency_ms(now, id));
            self.tally.add(
                at_s,
                &item.t,
                latency_ms,
                text.len() / frame.items.len().max(1),
            );
        }
    }
}

/// Connects and shakes hands; small buffers, since a crowd has thousands of these.
pub(crate) async fn open(url: &Url) -> Result<(Socket, SocketAddr, SocketAddr), Failure> {
    let connect = async {
        let host = url
            .host_str()
            .ok_or_else(|| failure(Reason::Other, "the address has no host".to_owned()))?;
        let port = url.port_or_known_default().unwrap_or(80);
        let host = host.trim_matches(|bracket| bracket == '[' || bracket == ']');
        let io =
            |error: std::io::Error| failure(super::net::reason_of(error.kind()), error.to_string());
        let stream = TcpStream::connect((host, port)).await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        let (local, remote) = (
            stream.local_addr().map_err(io)?,
            stream.peer_addr().map_err(io)?,
        );
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let (socket, _) =
            tokio_tungstenite::client_async_with_config(url.as_str(), stream, Some(config))
                .await
                .map_err(|error| explain(&error))?;
        Ok((socket, local, remote))
    };
    match tokio::time::timeout(CONNECT, connect).await {
        Ok(opened) => opened,
        Err(_) => Err(failure(
            Reason::Timeout,
            format!("not connected within {} s", CONNECT.as_secs()),
        )),
    }
}

/// Waits until reading is to stop.
pub(crate) async fn closed(mut gate: Gate) {
    if gate.wait_for(|open| !*open).await.is_err() {
        std::future::pending().await
    }
}

/// A WebSocket error in the truth's words.
pub(crate) fn explain(error: &tungstenite::Error) -> Failure {
    let detail = error.to_string();
    match error {
        tungstenite::Error::Io(io) => failure(super::net::reason_of(io.kind()), detail),
        tungstenite::Error::Http(_) => failure(Reason::Status, detail),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            failure(Reason::Closed, detail)
        }
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
        ) => failure(Reason::Reset, detail),
        tungstenite::Error::Protocol(_)
        | tungstenite::Error::Utf8(_)
        | tungstenite::Error::Capacity(_) => failure(Reason::Protocol, detail),
        _ => explain_cause(error, detail),
    }
}

#[cfg(test)]
mod tests;
