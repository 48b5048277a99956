//! What can go wrong, as a file says it, and doing and undoing it.

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::stage::Stage;
use crate::link::fate::Direction;
use crate::up::stop::Stop;

/// More repetitions would be a mistake.
const MOST_TIMES: f64 = 10_000.0;

/// One fault: when, how long, and exactly one of the rest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// Since the crowds arrived.
    pub(crate) at_s: f64,
    /// Without it nothing is undone.
    pub(crate) lasts_s: Option<f64>,
    /// Again so often, as long as it ends before the scenario does; without it once.
    every_s: Option<f64>,
    /// What truth calls it; without it a name for its sort, such as `rate` or `stop`.
    name: Option<String>,
    /// Changes a link.
    link: Option<Link>,
    /// Stops a service or program (SIGSTOP); at the end it goes on.
    stop: Option<String>,
    /// Caps CPU time.
    cpu: Option<Cap>,
    /// Kills a service or program (SIGKILL); at the end it is started again.
    kill: Option<String>,
    /// Fills a disk; at the end the space is free again.
    fill: Option<Fill>,
    /// Tells a crowd something, on its standard input.
    say: Option<Say>,
}

/// Keys of an impairment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    /// Which.
    pub(crate) name: String,
    /// Absent: both.
    direction: Option<Direction>,
    /// Put in force; at the end all is as before.
    set: toml::Table,
}

/// How much CPU time is left.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cap {
    /// Service or program.
    pub(crate) target: String,
    /// In CPUs, such as 0.2.
    pub(crate) cpus: f64,
}

/// How full a disk gets.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fill {
    /// Which.
    pub(crate) disk: String,
    /// What stays free.
    #[serde(default)]
    leave_bytes: u64,
}

/// Words for a crowd: each one JSON object, written as a line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Say {
    /// Which.
    pub(crate) crowd: String,
    /// At the start.
    begin: toml::Table,
    /// At the end.
    end: Option<toml::Table>,
}

/// The one thing that a fault does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action<'a> {
    Link(&'a Link),
    Stop(&'a str),
    Cpu(&'a Cap),
    Kill(&'a str),
    Fill(&'a Fill),
    Say(&'a Say),
}

/// What brings back the state before.
#[derive(Debug)]
pub(crate) enum Undo {
    Link(String, Vec<(Direction, Map<String, Value>)>),
    Continue(String),
    Uncap(String),
    Restart(String),
    Empty(String),
    Say(String, Value),
    Nothing,
}

impl Link {
    /// The keys as an impairment takes them.
    pub(crate) fn keys(&self) -> Result<Map<String, Value>> {
        match serde_json::to_value(&self.set).context("writing the keys of a link")? {
            Value::Object(keys) => Ok(keys),
            _ => anyhow::bail!("set is no table"),
        }
    }

    fn sort(&self) -> &'static str {
        let has = |keys: &[&str]| keys.iter().any(|key| self.set.contains_key(*key));
        if has(&["outage"]) {
            "outage"
        } else if has(&["rate_bps", "trace"]) {
            "rate"
        } else if has(&["loss", "gilbert_elliott"]) {
            "loss"
        } else if has(&["reorder"]) {
            "reorder"
        } else if has(&["delay_ms", "jitter_ms"]) {
            "delay"
        } else {
            "link"
        }
    }
}

impl Fault {
    /// It and its repetitions until the end of a scenario.
    pub(crate) fn repeated(self, until_s: f64) -> Result<Vec<Self>> {
        let Some(every_s) = self.every_s else {
            return Ok(vec![self]);
        };
        let lasts_s = self.lasts_s.context("every_s needs lasts_s")?;
        ensure!(
            every_s.is_finite() && every_s > lasts_s,
            "every_s = {every_s}: want more than lasts_s = {lasts_s}"
        );
        let times = ((until_s - lasts_s - self.at_s) / every_s).floor() + 1.0;
        ensure!(
            times <= MOST_TIMES,
            "every_s = {every_s}: {times} times, want {MOST_TIMES} at most"
        );
        // One that fits not even once stays, to be refused for that.
        let again = (0..(times as u32).max(1)).map(|time| Self {
            at_s: self.at_s + f64::from(time) * every_s,
            ..self.clone()
        });
        Ok(again.collect())
    }

    /// Refuses none and more than one.
    pub(crate) fn action(&self) -> Result<Action<'_>> {
        let all = [
            self.link.as_ref().map(Action::Link),
            self.stop.as_deref().map(Action::Stop),
            self.cpu.as_ref().map(Action::Cpu),
            self.kill.as_deref().map(Action::Kill),
            self.fill.as_ref().map(Action::Fill),
            self.say.as_ref().map(Action::Say),
        ];
        let mut given = all.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(action), None) => Ok(action),
            _ => anyhow::bail!("a fault has exactly one of link, stop, cpu, kill, fill, say"),
        }
    }

    /// When it is over; one without an end lasts, but for words, which are over once said.
    pub(crate) fn ends_s(&self) -> f64 {
        let never = if self.say.is_some() {
            self.at_s
        } else {
            f64::INFINITY
        };
        self.lasts_s.map_or(never, |lasts| self.at_s + lasts)
    }

    /// As truth calls it.
    pub(crate) fn name(&self) -> Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        Ok(match self.action()? {
            Action::Link(link) => link.sort(),
            Action::Stop(_) => "stop",
            Action::Cpu(_) => "cpu",
            Action::Kill(_) => "kill",
            Action::Fill(_) => "disk",
            Action::Say(_) => "client",
        }
        .to_owned())
    }

    /// What it strikes.
    pub(crate) fn target(&self) -> Result<&str> {
        Ok(match self.action()? {
            Action::Link(link) => &link.name,
            Action::Stop(target) | Action::Kill(target) => target,
            Action::Cpu(cap) => &cap.target,
            Action::Fill(fill) => &fill.disk,
            Action::Say(say) => &say.crowd,
        })
    }

    /// What must not be struck twice at a time.
    pub(crate) fn place(&self) -> Result<String> {
        let sort = match self.action()? {
            Action::Link(_) => "link",
            // A process that is not there cannot be stopped.
            Action::Stop(_) | Action::Kill(_) => "process",
            Action::Cpu(_) => "cpu",
            Action::Fill(_) => "disk",
            Action::Say(_) => "crowd",
        };
        Ok(format!("{sort} {}", self.target()?))
    }

    /// Its figures.
    pub(crate) fn detail(&self) -> Result<String> {
        Ok(match self.action()? {
            Action::Link(link) => {
                let direction = match link.direction {
                    None => "both",
                    Some(Direction::Forward) => "forward",
                    Some(Direction::Backward) => "backward",
                };
                json!({ "direction": direction, "set": link.keys()? }).to_string()
            }
            Action::Stop(_) => "SIGSTOP".to_owned(),
            Action::Kill(_) => "SIGKILL".to_owned(),
            Action::Cpu(cap) => format!("cpus={}", cap.cpus),
            Action::Fill(fill) => format!("leave_bytes={}", fill.leave_bytes),
            Action::Say(say) => serde_json::to_string(&say.begin)?,
        })
    }

    /// Does it.
    pub(crate) fn begin(&self, stage: &mut Stage) -> Result<Undo> {
        Ok(match self.action()? {
            Action::Link(link) => {
                let network = stage.network()?;
                let directions = link
                    .direction
                    .map_or(vec![Direction::Forward, Direction::Backward], |one| {
                        vec![one]
                    });
                let mut before = Vec::new();
                for direction in directions {
                    let Value::Object(all) =
                        serde_json::to_value(network.impairment(&link.name, direction)?)?
                    else {
                        anyhow::bail!("an impairment is no object");
                    };
                    before.push((direction, all));
                }
                network.change(&link.name, link.direction, &link.keys()?)?;
                Undo::Link(link.name.clone(), before)
            }
            Action::Stop(target) => {
                stage.service(target)?.signal(Signal::STOP)?;
                Undo::Continue(target.to_owned())
            }
            Action::Cpu(cap) => {
                stage.service(&cap.target)?.cap(Some(cap.cpus))?;
                Undo::Uncap(cap.target.clone())
            }
            Action::Kill(target) => {
                stage.kill(target)?;
                Undo::Restart(target.to_owned())
            }
            Action::Fill(fill) => {
                stage.disk(&fill.disk)?.fill(fill.leave_bytes)?;
                Undo::Empty(fill.disk.clone())
            }
            Action::Say(say) => {
                stage.say(&say.crowd, &serde_json::to_value(&say.begin)?)?;
                match &say.end {
                    Some(end) => Undo::Say(say.crowd.clone(), serde_json::to_value(end)?),
                    None => Undo::Nothing,
                }
            }
        })
    }
}

impl Undo {
    /// Undoes it.
    pub(crate) fn end(self, stage: &mut Stage, stop: &Stop) -> Result<()> {
        match self {
            Self::Link(name, before) => {
                for (direction, all) in before {
                    stage.network()?.change(&name, Some(direction), &all)?;
                }
                Ok(())
            }
            Self::Continue(target) => stage.service(&target)?.signal(Signal::CONT),
            Self::Uncap(target) => stage.service(&target)?.cap(None),
            Self::Restart(target) => stage.restart(&target, stop),
            Self::Empty(disk) => stage.disk(&disk)?.empty(),
            Self::Say(crowd, words) => stage.say(&crowd, &words),
            Self::Nothing => Ok(()),
        }
    }
}

/// Refuses an end without a beginning, which the plan of a run cannot hold.
pub(crate) fn take(undos: &mut [Option<Undo>], index: usize) -> Result<Undo> {
    let undo = undos.get_mut(index).and_then(Option::take);
    ensure!(undo.is_some(), "fault {} ends but did not begin", index + 1);
    undo.context("no undo")
}
