//! All that a scenario needs, standing: network, disks, services, programs, crowds. Taken down in
//! the opposite order on drop.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::disk::Disk;
use super::file::{Crowd, Scenario, Scene};
use super::template::{Values, fill, fill_table};
use crate::link::command;
use crate::link::network::Network;
use crate::up::directory::Directory;
use crate::up::health;
use crate::up::service::{Plan, Service};
use crate::up::stop::Stop;

/// Dropped from top to bottom.
pub(crate) struct Stage {
    crowds: Vec<Actor>,
    inputs: HashMap<String, ChildStdin>,
    actors: Vec<Actor>,
    network: Option<Network>,
    disks: Vec<(String, Disk)>,
    values: Values,
    directory: Directory,
    out: PathBuf,
}

struct Actor {
    process: Service,
    /// A service of ours says when it is ready; a program does not.
    is_service: bool,
    /// Killed by a fault, so its end is no surprise.
    killed: bool,
    /// Its end was seen and found in order.
    done: bool,
}

impl Stage {
    /// Raises everything but the crowds.
    pub(crate) fn raise(scenario: &Scenario, out: &Path, stop: &Stop) -> Result<Self> {
        crate::link::leftover::clear();
        let directory = Directory::make("scenario")?;
        let mut stage = Self {
            crowds: Vec::new(),
            inputs: HashMap::new(),
            actors: Vec::new(),
            network: None,
            disks: Vec::new(),
            values: Values::new(),
            directory,
            out: out.to_owned(),
        };
        let program = std::env::current_exe().context("finding this program")?;
        stage.know("program", program.display());
        stage.know("out", out.display());
        stage.know("seed", scenario.seed);
        for words in &scenario.prepare {
            let words = stage.fill(words)?;
            tracing::info!(command = words.join(" "), "preparing");
            command::run(std::process::Command::new(&words[0]).args(&words[1..]))
                .context("prepare")?;
        }
        for disk in &scenario.disk {
            let path = stage.directory.path().join(format!("disk-{}", disk.name));
            stage
                .disks
                .push((disk.name.clone(), Disk::mount(&path, disk.mib)?));
            stage.know(&format!("disk.{}", disk.name), path.display());
        }
        if let Some(topology) = &scenario.network {
            stage.network = Some(Network::raise(
                topology,
                scenario.seed,
                stage.directory.path(),
            )?);
        }
        stage.start_services(scenario, stop)?;
        stage.start_programs(scenario)?;
        Ok(stage)
    }

    /// Lets a crowd in.
    pub(crate) fn admit(&mut self, crowd: &Crowd, scenario: &Scenario) -> Result<()> {
        let program = self.directory.program_as("weir-crowd")?;
        let mut words = vec![
            program.display().to_string(),
            "crowd".to_owned(),
            "--json".to_owned(),
        ];
        let mut flag = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        for (name, count) in [
            ("players", crowd.players),
            ("chatters", crowd.chatters),
            ("gamers", crowd.gamers),
        ] {
            flag(name, count.to_string());
        }
        for (name, text) in [
            ("stream", &crowd.stream),
            ("chat", &crowd.chat),
            ("game", &crowd.game),
        ] {
            if !text.is_empty() {
                flag(name, fill(text, &self.values)?);
            }
        }
        match &crowd.scene {
            None => {}
            Some(Scene::Named(name)) => flag("scene", name.clone()),
            Some(Scene::Whole(scene)) => {
                let path = self.out.join(format!("scene-{}.toml", crowd.name));
                std::fs::write(&path, toml::to_string_pretty(scene)?)
                    .with_context(|| format!("writing {}", path.display()))?;
                flag("scene", path.display().to_string());
            }
        }
        flag("seed", scenario.seed.to_string());
        flag("seconds", scenario.seconds.to_string());
        flag(
            "truth",
            self.out
                .join(format!("crowd-{}.jsonl", crowd.name))
                .display()
                .to_string(),
        );
        words.extend(self.fill(&crowd.arguments)?);
        let mut plan = self.plan(&crowd.name, &crowd.node, words)?;
        plan.output = Some(self.summary(&crowd.name));
        let mut process = Service::start(plan)?;
        if let Some(input) = process.take_input() {
            self.inputs.insert(crowd.name.clone(), input);
        }
        self.crowds.push(Actor {
            process,
            is_service: false,
            killed: false,
            done: false,
        });
        Ok(())
    }

    /// Fails if something has ended that should not have.
    pub(crate) fn check(&mut self, crowds_may_end: bool) -> Result<()> {
        if let Some(network) = &mut self.network {
            network.check()?;
        }
        let crowds = self.crowds.iter_mut().map(|actor| (actor, crowds_may_end));
        let actors = self.actors.iter_mut().map(|actor| {
            let may_end = actor.killed || !actor.is_service;
            (actor, may_end)
        });
        for (actor, may_end) in actors.chain(crowds).filter(|(actor, _)| !actor.done) {
            if let Some(status) = actor.process.ended()? {
                let is_in_order = actor.killed || (may_end && status.success());
                if !is_in_order {
                    return Err(actor.process.obituary(status));
                }
                actor.done = !actor.killed;
            }
        }
        Ok(())
    }

    /// Whether all crowds have ended.
    pub(crate) fn crowds_are_done(&self) -> bool {
        self.crowds.iter().all(|actor| actor.done)
    }

    pub(crate) fn network(&mut self) -> Result<&mut Network> {
        self.network.as_mut().context("the scenario has no network")
    }

    pub(crate) fn disk(&self, name: &str) -> Result<&Disk> {
        let found = self.disks.iter().find(|(known, _)| known == name);
        found
            .map(|(_, disk)| disk)
            .with_context(|| format!("there is no disk {name:?}"))
    }

    pub(crate) fn service(&mut self, name: &str) -> Result<&mut Service> {
        self.actor(name).map(|actor| &mut actor.process)
    }

    pub(crate) fn kill(&mut self, name: &str) -> Result<()> {
        let actor = self.actor(name)?;
        actor.killed = true;
        actor.process.kill().map(|_| ())
    }

    /// Starts one again that was killed, and waits until it is ready.
    pub(crate) fn restart(&mut self, name: &str, stop: &Stop) -> Result<()> {
        let actor = self.actor(name)?;
        actor.process.again()?;
        actor.killed = false;
        if actor.is_service {
            actor.process.wait_ready(stop)?;
        }
        Ok(())
    }

    /// Writes a line to a crowd.
    pub(crate) fn say(&mut self, crowd: &str, words: &Value) -> Result<()> {
        let input = self
            .inputs
            .get_mut(crowd)
            .with_context(|| format!("there is no crowd {crowd:?}"))?;
        writeln!(input, "{words}").with_context(|| format!("telling the crowd {crowd}"))
    }

    /// What links did, and each service's own metrics as files among the logs.
    pub(crate) fn last_words(&mut self) -> Result<Value> {
        for actor in self
            .actors
            .iter()
            .filter(|actor| actor.is_service && !actor.killed)
        {
            match health::metrics(actor.process.addresses(), actor.process.namespace()) {
                Ok(text) => {
                    let path = self
                        .out
                        .join("logs")
                        .join(format!("{}.metrics", actor.process.name()));
                    std::fs::write(&path, text)
                        .with_context(|| format!("writing {}", path.display()))?;
                }
                Err(error) => {
                    tracing::warn!(
                        service = actor.process.name(),
                        error = format!("{error:#}"),
                        "tells no metrics"
                    );
                }
            }
        }
        self.network.as_ref().map_or(Ok(json!({})), Network::counts)
    }

    /// What each crowd summed up, as far as it did.
    pub(crate) fn crowds(&self) -> Value {
        let mut all = json!({});
        for actor in &self.crowds {
            let name = actor.process.name();
            let text = std::fs::read(self.summary(name)).unwrap_or_default();
            all[name] = serde_json::from_slice(&text).unwrap_or_default();
        }
        all
    }

    fn actor(&mut self, name: &str) -> Result<&mut Actor> {
        let found = self
            .actors
            .iter_mut()
            .find(|actor| actor.process.name() == name);
        found.with_context(|| format!("there is no service or program {name:?}"))
    }

    fn start_services(&mut self, scenario: &Scenario, stop: &Stop) -> Result<()> {
        let services = &scenario.services;
        let config = self.out.join("services.toml");
        let text = toml::to_string_pretty(&fill_table(&services.config, &self.values)?)
            .context("writing services.config")?;
        std::fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;
        crate::config::Config::load(Some(&config)).context("services.config")?;
        for name in &services.run {
            let words = name.command(&self.directory, Some(&config))?;
            let plan = self.plan(name.as_str(), &services.node, words)?;
            let process = Service::start(plan)?;
            self.actors.push(Actor {
                process,
                is_service: true,
                killed: false,
                done: false,
            });
        }
        for index in 0..self.actors.len() {
            let process = &mut self.actors[index].process;
            process.wait_ready(stop)?;
            let known: Vec<(String, String)> = process
                .addresses()
                .iter()
                .map(|(what, address)| (format!("{}.{what}", process.name()), address.clone()))
                .collect();
            self.values.extend(known);
        }
        Ok(())
    }

    fn start_programs(&mut self, scenario: &Scenario) -> Result<()> {
        for program in &scenario.program {
            let words = self.fill(&program.command)?;
            let plan = self.plan(&program.name, &program.node, words)?;
            let process = Service::start(plan)?;
            self.actors.push(Actor {
                process,
                is_service: false,
                killed: false,
                done: false,
            });
        }
        Ok(())
    }

    fn plan(&self, name: &str, node: &str, command: Vec<String>) -> Result<Plan> {
        let namespace = match (&self.network, node) {
            (_, "") => None,
            (Some(network), node) => Some(network.namespace(node)?.to_owned()),
            (None, node) => bail!("there is no network with a node {node:?}"),
        };
        let log = Some(self.out.join("logs").join(format!("{name}.log")));
        Ok(Plan {
            name: name.to_owned(),
            command,
            namespace,
            log,
            output: None,
        })
    }

    fn summary(&self, crowd: &str) -> PathBuf {
        self.out.join(format!("crowd-{crowd}.json"))
    }

    fn fill(&self, words: &[String]) -> Result<Vec<String>> {
        words.iter().map(|word| fill(word, &self.values)).collect()
    }

    fn know(&mut self, key: &str, value: impl ToString) {
        self.values.insert(key.to_owned(), value.to_string());
    }
}
