//! A scenario as its file says it. Unknown keys are refused with their line; what cannot be run is
//! refused before anything starts.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::fault::{Action, Fault};
use crate::link::topology::Topology;
use crate::up::Name;

/// Longer is a mistake.
const LONGEST_S: f64 = 24.0 * 3600.0;
/// More would be more than a machine's memory.
const MOST_DISK_MIB: u64 = 4096;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Short, for names of files.
    pub(crate) name: String,
    /// One sentence for readers.
    pub(crate) about: String,
    /// From the arrival of the crowds to the end.
    pub(crate) seconds: f64,
    /// Of all that is random.
    pub(crate) seed: u64,
    /// Commands that run to their end before anything else, such as `["{program}", "media"]`.
    #[serde(default)]
    pub(crate) prepare: Vec<Vec<String>>,
    /// Namespaces and links; without it all run on the host.
    pub(crate) network: Option<Topology>,
    /// Small file systems.
    #[serde(default)]
    pub(crate) disk: Vec<Disk>,
    /// Of `weir-stack`.
    #[serde(default)]
    pub(crate) services: Services,
    /// Others, such as an encoder; started when the services are ready.
    #[serde(default)]
    pub(crate) program: Vec<Program>,
    /// Between the start of programs and the arrival of the crowds.
    #[serde(default)]
    pub(crate) warm_up_s: f64,
    /// Users.
    #[serde(default)]
    pub(crate) crowd: Vec<Crowd>,
    /// What goes wrong, and when.
    #[serde(default)]
    pub(crate) fault: Vec<Fault>,
}

/// The services of a scenario.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Services {
    /// Where; empty: on the host.
    #[serde(default)]
    pub(crate) node: String,
    /// Which, in this order.
    pub(crate) run: Vec<Name>,
    /// Their configuration, as in the file that `--config` takes.
    #[serde(default)]
    pub(crate) config: toml::Table,
}

/// A file system in memory, of limited size.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disk {
    /// `{disk.NAME}` is where it is mounted.
    pub(crate) name: String,
    /// Its size.
    pub(crate) mib: u64,
}

/// A program that is not ours.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// For faults and logs.
    pub(crate) name: String,
    /// Where; empty: on the host.
    #[serde(default)]
    pub(crate) node: String,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
}

/// A run of `weir-stack crowd`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Crowd {
    /// For faults, truth and logs.
    pub(crate) name: String,
    /// Where; empty: on the host.
    #[serde(default)]
    pub(crate) node: String,
    /// How they come and behave: the name of a scene, or a whole scene.
    pub(crate) scene: Option<Scene>,
    /// How many watch `stream`.
    #[serde(default)]
    pub(crate) players: u32,
    /// How many write and read at `chat`.
    #[serde(default)]
    pub(crate) chatters: u32,
    /// How many play at `game`.
    #[serde(default)]
    pub(crate) gamers: u32,
    /// What is watched; empty: nothing.
    #[serde(default)]
    pub(crate) stream: String,
    /// Where is written; empty: nowhere.
    #[serde(default)]
    pub(crate) chat: String,
    /// Where is played; empty: nowhere.
    #[serde(default)]
    pub(crate) game: String,
    /// Further arguments.
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
}

/// A scene by name or in full.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Scene {
    /// One that comes with `crowd`, or a file.
    Named(String),
    /// As in such a file.
    Whole(toml::Table),
}

impl Scenario {
    /// Reads and checks a file.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the scenario {}", path.display()))?;
        let place = || format!("in the scenario {}", path.display());
        let mut scenario = Self::parse(&text).with_context(place)?;
        if let Some(network) = &mut scenario.network {
            network.settle(path.parent().unwrap_or(Path::new(".")));
        }
        Ok(scenario)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text)?;
        let mut faults = Vec::new();
        for (index, fault) in std::mem::take(&mut scenario.fault).into_iter().enumerate() {
            let repeated = fault.repeated(scenario.seconds);
            faults.extend(repeated.with_context(|| format!("fault {}", index + 1))?);
        }
        scenario.fault = faults;
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            is_name(&self.name),
            "name {:?} is not made of a-z, 0-9 and -",
            self.name
        );
        ensure!(
            self.seconds > 0.0 && self.seconds <= LONGEST_S,
            "seconds must be more than 0, at most {LONGEST_S}"
        );
        ensure!(
            (0.0..=LONGEST_S).contains(&self.warm_up_s),
            "warm_up_s must be 0 to {LONGEST_S}"
        );
        if let Some(network) = &self.network {
            network.check().context("network")?;
        }
        self.check_names()?;
        for disk in &self.disk {
            ensure!(
                (1..=MOST_DISK_MIB).contains(&disk.mib),
                "disk {}: mib must be 1 to {MOST_DISK_MIB}",
                disk.name
            );
        }
        for program in &self.program {
            ensure!(
                !program.command.is_empty(),
                "program {}: command is empty",
                program.name
            );
        }
        ensure!(
            self.prepare.iter().all(|command| !command.is_empty()),
            "prepare has an empty command"
        );
        for (index, fault) in self.fault.iter().enumerate() {
            self.check_fault(fault)
                .with_context(|| format!("fault {}", index + 1))?;
        }
        self.check_overlap()
    }

    fn check_names(&self) -> Result<()> {
        let mut seen = HashSet::new();
        let services = self.services.run.iter().map(|name| name.as_str());
        let others = self
            .program
            .iter()
            .map(|program| &program.name)
            .chain(self.crowd.iter().map(|crowd| &crowd.name));
        for name in services.chain(others.map(String::as_str)) {
            ensure!(
                is_name(name),
                "the name {name:?} is not made of a-z, 0-9 and -"
            );
            ensure!(seen.insert(name), "the name {name:?} is used twice");
        }
        let disks: HashSet<&String> = self.disk.iter().map(|disk| &disk.name).collect();
        ensure!(
            disks.len() == self.disk.len() && disks.iter().all(|name| is_name(name)),
            "a disk's name is wrong or used twice"
        );
        let nodes = self
            .program
            .iter()
            .map(|program| &program.node)
            .chain(self.crowd.iter().map(|crowd| &crowd.node));
        for node in nodes
            .chain([&self.services.node])
            .filter(|node| !node.is_empty())
        {
            let there = self
                .network
                .as_ref()
                .is_some_and(|network| network.nodes.contains(node));
            ensure!(there, "there is no node {node:?} in [network]");
        }
        Ok(())
    }

    fn check_fault(&self, fault: &Fault) -> Result<()> {
        let end = fault.at_s + fault.lasts_s.unwrap_or(0.0);
        ensure!(
            fault.at_s >= 0.0 && fault.lasts_s.is_none_or(|lasts| lasts > 0.0),
            "at_s must be 0 or more, lasts_s more than 0"
        );
        ensure!(
            end <= self.seconds,
            "it ends after {end} s, later than the scenario's {} s",
            self.seconds
        );
        match fault.action()? {
            Action::Link(wanted) => {
                let links = self.network.iter().flat_map(|network| &network.link);
                let link = links.into_iter().find(|link| link.name == wanted.name);
                let link = link
                    .with_context(|| format!("there is no link {:?} in [network]", wanted.name))?;
                for impairment in [&link.forward, &link.backward] {
                    let changed = impairment.changed(&wanted.keys()?)?;
                    if link.kind == crate::link::topology::Kind::Veth {
                        changed.check_veth()?;
                    }
                }
            }
            Action::Stop(target) | Action::Kill(target) => self.check_target(target)?,
            Action::Cpu(cap) => {
                ensure!(
                    cap.cpus > 0.0 && cap.cpus <= 64.0,
                    "cpus must be more than 0, at most 64"
                );
                self.check_target(&cap.target)?;
            }
            Action::Fill(fill) => {
                ensure!(
                    self.disk.iter().any(|disk| disk.name == fill.disk),
                    "there is no disk {:?}",
                    fill.disk
                );
            }
            Action::Say(say) => {
                ensure!(
                    self.crowd.iter().any(|crowd| crowd.name == say.crowd),
                    "there is no crowd {:?}",
                    say.crowd
                );
            }
        }
        Ok(())
    }

    fn check_target(&self, target: &str) -> Result<()> {
        let services = self.services.run.iter().map(|name| name.as_str());
        let mut all = services.chain(self.program.iter().map(|program| program.name.as_str()));
        ensure!(
            all.any(|name| name == target),
            "there is no service or program {target:?}"
        );
        Ok(())
    }

    /// Two faults of one sort at one place at one time could not be ended one without the other.
    fn check_overlap(&self) -> Result<()> {
        for (index, one) in self.fault.iter().enumerate() {
            for other in &self.fault[..index] {
                let apart = one.ends_s() <= other.at_s || other.ends_s() <= one.at_s;
                if !apart && one.place()? == other.place()? {
                    bail!(
                        "the faults at {} s and {} s strike {} at the same time",
                        other.at_s,
                        one.at_s,
                        one.place()?
                    );
                }
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 40
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests;
