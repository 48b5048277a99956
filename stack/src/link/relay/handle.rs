//! The rest of the relay's side of a direction's thread: messages go in, answers come back.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{EventfdFlags, eventfd};
use serde_json::{Map, Value, json};
use tun_rs::SyncDevice;

use super::pump::{Pump, Sums};
use crate::link::fate::Direction;
use crate::link::impairment::Impairment;
use crate::link::pipe::{Pipe, load};
use crate::link::schedule::Schedule;

/// A thread that does not answer for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the thread is told.
pub(super) enum Message {
    /// Other figures.
    Change(Box<Plan>, SyncSender<()>),
    /// Say the sums.
    Counts(SyncSender<Sums>),
}

/// A checked change, its trace read.
pub(super) struct Plan {
    pub(super) impairment: Impairment,
    pub(super) schedule: Option<Schedule>,
}

/// One direction's thread.
pub(super) struct Handle {
    impairment: Impairment,
    messages: Sender<Message>,
    wake: Arc<OwnedFd>,
}

impl Handle {
    pub(super) fn start(
        start: Instant,
        seed: u64,
        direction: Direction,
        impairment: Impairment,
        mtu: u16,
        from: &Arc<SyncDevice>,
        to: &Arc<SyncDevice>,
    ) -> Result<Self> {
        let pipe = Pipe::new(seed, direction, impairment.clone())?;
        let (messages, inbox) = channel();
        let wake = Arc::new(
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("eventfd")?,
        );
        let pump = Pump::new(
            start,
            pipe,
            mtu,
            Arc::clone(from),
            Arc::clone(to),
            inbox,
            Arc::clone(&wake),
        );
        thread::Builder::new()
            .name(format!("{direction:?}").to_lowercase())
            .spawn(move || {
                let error = pump.run();
                // Without one of its directions a link is no link: whoever started it must see.
                eprintln!("error: the relay ends, {direction:?}: {error}");
                std::process::exit(1);
            })
            .context("starting a thread")?;
        Ok(Self {
            impairment,
            messages,
            wake,
        })
    }

    /// What a change would come to.
    pub(super) fn plan(&self, set: &Map<String, Value>) -> Result<Plan> {
        let impairment = self.impairment.changed(set)?;
        let schedule = load(&impairment)?;
        Ok(Plan {
            impairment,
            schedule,
        })
    }

    /// Puts it in force; returns when it is.
    pub(super) fn change(&mut self, plan: Plan) -> Result<()> {
        self.impairment = plan.impairment.clone();
        let (done, answer) = sync_channel(1);
        self.send(Message::Change(Box::new(plan), done), &answer)
    }

    /// The sums; `missed` is what the kernel dropped before us.
    pub(super) fn counts(&self, missed: Option<u64>) -> Result<Value> {
        let (reply, answer) = sync_channel(1);
        let sums = self.send(Message::Counts(reply), &answer)?;
        let mut value = serde_json::to_value(sums.counts).context("writing counts")?;
        value["refused"] = sums.refused.into();
        value["unreadable"] = sums.unreadable.into();
        value["missed"] = json!(missed);
        Ok(value)
    }

    fn send<T>(&self, message: Message, answer: &Receiver<T>) -> Result<T> {
        self.messages
            .send(message)
            .ok()
            .context("the thread of this direction has ended")?;
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes())
            .context("waking the thread of this direction")?;
        answer
            .recv_timeout(PATIENCE)
            .context("the thread of this direction does not answer")
    }
}
