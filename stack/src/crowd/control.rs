//! Orders on standard input while a run goes on, one JSON object a line:
//! `{"stop_reading": 5, "role": "player", "seconds": 10}` makes the five users of that role who came
//! first and still read stop reading their sockets, for ten seconds or (without `seconds`) until
//! `{"read_again": true}`; without `role` it means players. `{"end": true}` ends the run early.
//! `{"fault": {"fault": "rate", "phase": "begin", "target": "down", "detail": "300 kbit/s"}}` is
//! written into the truth as it is, so that who makes faults can have them in the same file.

use std::io::{BufRead, Read as _};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::session::{Session, Shared, Valve};
use crate::truth::{Event, Phase, Role};

/// Longest order, in bytes; longer lines come in pieces that are no orders.
const ORDER_BYTES: u64 = 4096;

/// One order.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Order {
    stop_reading: Option<usize>,
    role: Option<Role>,
    seconds: Option<f64>,
    read_again: bool,
    end: bool,
    fault: Option<Fault>,
}

/// A fault that somebody else makes; see [`Event::Fault`].
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Fault {
    fault: String,
    phase: Phase,
    #[serde(default)]
    target: String,
    #[serde(default)]
    detail: String,
}

/// A session that can be told to stop reading.
pub(crate) struct Member {
    pub(crate) session: Session,
    pub(crate) valve: Valve,
}

/// Carries out orders on the members that have come; goes on until it is dropped, since dropping
/// it lets go of every valve.
pub(crate) async fn obey(
    shared: Shared,
    mut orders: mpsc::Receiver<Order>,
    mut comers: mpsc::Receiver<Member>,
) {
    let mut members: Vec<Member> = Vec::new();
    loop {
        tokio::select! {
            Some(order) = orders.recv() => {
                members.retain(|member| !member.valve.is_closed());
                carry_out(order, &shared, &members);
            }
            Some(member) = comers.recv() => members.push(member),
            else => std::future::pending().await,
        }
    }
}

fn carry_out(order: Order, shared: &Shared, members: &[Member]) {
    if order.end {
        shared.stop.cancel();
    }
    if let Some(Fault {
        fault,
        phase,
        target,
        detail,
    }) = order.fault
    {
        shared.truth.put(
            None,
            Event::Fault {
                fault,
                phase,
                target,
                detail,
            },
        );
    }
    if order.read_again {
        members.iter().for_each(read_again);
    }
    let role = order.role.unwrap_or(Role::Player);
    let reading = members
        .iter()
        .filter(|member| member.session.role == role && *member.valve.borrow());
    for member in reading.take(order.stop_reading.unwrap_or(0)) {
        member.valve.send_replace(false);
        member.session.put(Event::StopReading);
        if let Some(seconds) = order
            .seconds
            .filter(|seconds| (0.0..=86_400.0).contains(seconds))
        {
            let member = Member {
                session: member.session.clone(),
                valve: member.valve.clone(),
            };
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
                read_again(&member);
            });
        }
    }
}

fn read_again(member: &Member) {
    if !member.valve.send_replace(true) {
        member.session.put(Event::ReadAgain);
    }
}

/// Reads orders until the input ends or nobody takes them; what is no order is logged. Blocks, so
/// it belongs on a thread of its own: the run time's own reading of standard input would keep the
/// process from ending.
pub(crate) fn listen(mut input: impl BufRead, orders: &mpsc::Sender<Order>) {
    let mut line = String::new();
    loop {
        line.clear();
        match input.by_ref().take(ORDER_BYTES).read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        match parse(&line) {
            Ok(Some(order)) => {
                if orders.blocking_send(order).is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("not an order: {error:#}"),
        }
    }
}

fn parse(line: &str) -> Result<Option<Order>> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    serde_json::from_str(line)
        .map(Some)
        .with_context(|| format!("{:?}", line.chars().take(80).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_nonsense_is_named() {
        let order = parse(r#"{"stop_reading": 5, "role": "chatter", "seconds": 2.5}"#)
            .unwrap()
            .unwrap();
        assert_eq!(
            (order.stop_reading, order.role, order.seconds),
            (Some(5), Some(Role::Chatter), Some(2.5))
        );
        assert_eq!(parse("\n").unwrap(), None);
        let fault =
            parse(r#"{"fault": {"fault": "rate", "phase": "begin", "detail": "300 kbit/s"}}"#)
                .unwrap()
                .unwrap();
        assert_eq!(fault.fault.unwrap().phase, Phase::Begin);
        assert!(format!("{:#}", parse("{\"halt\":1}").unwrap_err()).contains("halt"));
    }
}
