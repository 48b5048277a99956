//! A gamer: asks the matchmaker for a match, plays it in its arena at a steady beat, rests, again.

use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;
use tokio_tungstenite::tungstenite::{self, Message};
use url::Url;

use super::chatter::{Socket, closed, explain, open};
use super::net::{Gate, failure, wait_open};
use super::player::Failure;
use super::scene::Gaming;
use super::session::Session;
use super::tally::Tally;
use crate::game::protocol::{ClientMessage, Intent, ServerMessage, VERSION, close};
use crate::truth::{Event, Reason};

mod fight;
mod ticket;

use fight::Fight;

/// Longest pause between tries, seconds.
const RETRY_MOST_S: f64 = 8.0;
/// Longest wait for a message to be taken.
const SEND: Duration = Duration::from_secs(10);

/// What one gamer does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Of the matchmaker.
    pub(crate) url: Url,
    pub(crate) gaming: Gaming,
    pub(crate) seed: u64,
    /// Seconds of the session.
    pub(crate) leave_at: f64,
}

struct Gamer<'a> {
    session: &'a Session,
    gate: Gate,
    plan: &'a Plan,
    rng: Pcg64Mcg,
    tally: Tally,
    sent: u64,
}

/// Plays until the plan or the run ends.
pub(crate) async fn play(session: Session, gate: Gate, plan: Plan) {
    let mut gamer = Gamer {
        session: &session,
        gate,
        plan: &plan,
        rng: Pcg64Mcg::seed_from_u64(plan.seed),
        tally: Tally::default(),
        sent: 0,
    };
    let leave = session.clock.instant(plan.leave_at);
    let quit = tokio::select! {
        () = gamer.live() => true,
        // A match is left in good order; only waiting for one is cut short.
        () = tokio::time::sleep_until(leave + Duration::from_secs(2)) => true,
        () = session.shared.stop.cancelled() => false,
    };
    let (sent, tally) = (gamer.sent, gamer.tally);
    session.part(quit, sent, tally, "input_to_effect_and_match_wait");
}

impl Gamer<'_> {
    async fn live(&mut self) {
        let clock = self.session.clock;
        let mut failures = 0.0_f64;
        while clock.now_s() < self.plan.leave_at {
            match self.play_once().await {
                Ok(()) => failures = 0.0,
                Err((what, Failure { reason, detail })) => {
                    failures = (failures + 1.0).min(RETRY_MOST_S);
                    self.session.put(Event::Failure {
                        what: what.to_owned(),
                        reason,
                        detail,
                    });
                }
            }
            let pause = self.plan.gaming.rest_s + failures;
            tokio::time::sleep_until(clock.instant(self.plan.leave_at.min(clock.now_s() + pause)))
                .await;
        }
    }

    /// From a ticket to the end of its match; the error says at which step.
    async fn play_once(&mut self) -> Result<(), (&'static str, Failure)> {
        let clock = self.session.clock;
        self.session.put(Event::Sent {
            id: self.sent,
            messages: 1,
            bytes: 0,
            what: "ticket",
        });
        self.sent += 1;
        let asked = clock.now_s();
        let leave = clock.instant(self.plan.leave_at);
        let Ok(assigned) =
            tokio::time::timeout_at(leave, ticket::find_match(self.plan, &self.session.name)).await
        else {
            return Ok(());
        };
        let Some(assignment) = assigned? else {
            return Ok(());
        };
        let now = clock.now_s();
        self.tally
            .add(now, "assignment", Some((now - asked) * 1e3), 0);
        self.tally.write_all(self.session);
        let url = Url::parse(&assignment.connection)
            .map_err(|error| ("assignment", failure(Reason::Protocol, error.to_string())))?;
        let (socket, local, remote) = open(&url).await.map_err(|failure| ("arena", failure))?;
        self.session.put(Event::Connect {
            local: local.to_string(),
            remote: remote.to_string(),
        });
        let Failure { reason, detail } = match self.fight(socket, assignment.token).await {
            Ok(failure) | Err(failure) => failure,
        };
        self.session.put(Event::Disconnect { reason, detail });
        Ok(())
    }

    /// Plays one match; returns why its connection ended.
    async fn fight(&mut self, mut socket: Socket, token: String) -> Result<Failure, Failure> {
        let clock = self.session.clock;
        let mut fight = Fight {
            seq: 1,
            ..Fight::default()
        };
        send(
            &mut socket,
            &ClientMessage::Hello {
                version: VERSION,
                token,
            },
        )
        .await?;
        let beat = 1.0 / self.plan.gaming.inputs_per_second;
        let mut input_at = clock.now_s() + beat;
        let mut gate = self.gate.clone();
        loop {
            let open = *gate.borrow();
            let wake = input_at.min(self.plan.leave_at).min(self.tally.due_s());
            tokio::select! {
                message = socket.next(), if open => {
                    if let ControlFlow::Break(end) = self.take(&mut fight, message)? {
                        return Ok(end);
                    }
                }
                () = wait_open(&mut gate), if !open => {}
                () = closed(self.gate.clone()), if open => {}
                () = tokio::time::sleep_until(clock.instant(wake)) => {}
            }
            let now = clock.now_s();
            if self.tally.due_s() <= now {
                self.tally.write_all(self.session);
                self.note_inputs(&mut fight);
            }
            if now >= self.plan.leave_at {
                send(&mut socket, &ClientMessage::Leave).await?;
                return Ok(failure(Reason::Done, String::new()));
            }
            if input_at <= now {
                // Beats are on absolute times; those missed altogether are left out.
                input_at += beat * ((now - input_at) / beat + 1.0).floor();
                self.act(&mut socket, &mut fight).await?;
            }
        }
    }

    async fn act(&mut self, socket: &mut Socket, fight: &mut Fight) -> Result<(), Failure> {
        let intent = Intent {
            move_x: self.rng.random_range(-127..=127),
            move_y: self.rng.random_range(-127..=127),
            buttons: self.rng.random_range(0..=1),
        };
        let ack = fight.known.back().map_or(0, |snapshot| snapshot.tick);
        let bytes = send(
            socket,
            &ClientMessage::Input {
                ack,
                seq: fight.seq,
                intents: vec![intent],
            },
        )
        .await?;
        fight.await_effect(self.session.clock.now_s());
        fight.seq += 1;
        fight.inputs += 1;
        fight.input_bytes += bytes;
        self.sent += 1;
        Ok(())
    }

    fn take(
        &mut self,
        fight: &mut Fight,
        message: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<ControlFlow<Failure>, Failure> {
        match message {
            Some(Ok(Message::Binary(bytes))) => match ServerMessage::decode(&bytes) {
                Ok(message) => self.read(fight, &message, bytes.len()),
                Err(error) => Err(failure(Reason::Protocol, error.to_string())),
            },
            Some(Ok(Message::Close(frame))) => {
                self.note_inputs(fight);
                let code = frame.as_ref().map_or(1005, |frame| u16::from(frame.code));
                let reason = if code == close::TOO_FAST {
                    Reason::Protocol
                } else {
                    Reason::Closed
                };
                let detail =
                    frame.map_or_else(String::new, |frame| format!("{code} {}", frame.reason));
                Ok(ControlFlow::Break(failure(reason, detail)))
            }
            Some(Ok(
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
            )) => Ok(ControlFlow::Continue(())),
            Some(Err(error)) => Err(explain(&error)),
            None => Err(failure(
                Reason::Closed,
                "ended without a close frame".to_owned(),
            )),
        }
    }

    fn read(
        &mut self,
        fight: &mut Fight,
        message: &ServerMessage,
        bytes: usize,
    ) -> Result<ControlFlow<Failure>, Failure> {
        let now = self.session.clock.now_s();
        match message {
            ServerMessage::Welcome { tick_hz, .. } => {
                fight.tick_s = Some(1.0 / f64::from((*tick_hz).max(1)))
            }
            ServerMessage::Snapshot {
                tick,
                base,
                ack_seq,
                changes,
            } => {
                fight
                    .learn(*tick, *base, changes)
                    .map_err(|error| failure(Reason::Protocol, error.to_string()))?;
                let latency_ms = fight.see_effect(*ack_seq, now);
                self.tally.add(now, "snapshot", latency_ms, bytes);
                if let Some(ms) = fight.gap_ms(now) {
                    self.session.put(Event::Gap {
                        ms,
                        usual_ms: fight.tick_s.unwrap_or_default() * 1e3,
                    });
                }
            }
            ServerMessage::Ended { .. } => self.note_inputs(fight),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn note_inputs(&self, fight: &mut Fight) {
        let (messages, bytes) = (
            std::mem::take(&mut fight.inputs),
            std::mem::take(&mut fight.input_bytes),
        );
        if messages > 0 {
            self.session.put(Event::Sent {
                id: u64::from(fight.seq),
                messages,
                bytes,
                what: "input",
            });
        }
    }
}

async fn send(socket: &mut Socket, message: &ClientMessage) -> Result<u64, Failure> {
    let mut bytes = Vec::with_capacity(32);
    message.encode(&mut bytes);
    let length = bytes.len() as u64;
    match tokio::time::timeout(SEND, socket.send(Message::binary(bytes))).await {
        Ok(sent) => sent.map(|()| length).map_err(|error| explain(&error)),
        Err(_) => Err(failure(
            Reason::Timeout,
            format!("nothing taken for {} s", SEND.as_secs()),
        )),
    }
}
