//! A topology that stands: namespaces, links and relays, changed while it runs, gone on drop.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Map, Value, json};

use super::command::run;
use super::control::{Change, Request, ask};
use super::fate::Direction;
use super::impairment::Impairment;
use super::leftover;
use super::mark::Mark;
use super::namespace;
use super::shape;
use super::topology::{Kind, Link, Topology};

/// How long a relay may take to open its devices.
const START_S: i64 = 10;

/// Namespaces and what joins them.
pub(crate) struct Network {
    mark: Mark,
    directory: PathBuf,
    congestion: String,
    /// Node and namespace.
    nodes: Vec<(String, String)>,
    wires: Vec<Wire>,
}

struct Wire {
    link: Link,
    relay: Option<Relay>,
}

struct Relay {
    child: Child,
    socket: PathBuf,
}

impl Network {
    /// Clears away what dead runs left, then builds. Sockets and the relays' words go to a directory.
    pub(crate) fn raise(topology: &Topology, seed: u64, directory: &Path) -> Result<Self> {
        leftover::clear();
        let mut network = Self {
            mark: Mark::own()?,
            directory: directory.to_owned(),
            congestion: topology.congestion.clone(),
            nodes: Vec::new(),
            wires: Vec::new(),
        };
        for node in &topology.nodes {
            let name = network.mark.name(node);
            namespace::add(&name)
                .with_context(|| format!("node {node} (needs root and iproute2)"))?;
            network.nodes.push((node.clone(), name));
        }
        for (index, link) in topology.link.iter().enumerate() {
            // Links of one run must not share their fates.
            let own_seed = link.seed.unwrap_or(seed.wrapping_add((index as u64) << 32));
            network
                .join(link.clone(), own_seed)
                .with_context(|| format!("link {}", link.name))?;
        }
        network.forward(topology)?;
        for route in &topology.route {
            let (to, via) = (route.to.to_string(), route.via.to_string());
            network
                .ip(&route.node, &["route", "replace", &to, "via", &via])
                .context("route")?;
        }
        Ok(network)
    }

    /// The namespace of a node.
    pub(crate) fn namespace(&self, node: &str) -> Result<&str> {
        let found = self.nodes.iter().find(|(name, _)| name == node);
        found
            .map(|(_, namespace)| namespace.as_str())
            .with_context(|| format!("there is no node {node:?}"))
    }

    /// Nodes and their namespaces.
    pub(crate) fn nodes(&self) -> &[(String, String)] {
        &self.nodes
    }

    /// What is in force on a link.
    pub(crate) fn impairment(&self, link: &str, direction: Direction) -> Result<&Impairment> {
        let wire = self.wires.iter().find(|wire| wire.link.name == link);
        let wire = wire.with_context(|| format!("there is no link {link:?}"))?;
        Ok(match direction {
            Direction::Forward => &wire.link.forward,
            Direction::Backward => &wire.link.backward,
        })
    }

    /// Puts some keys of a link's impairment in force.
    pub(crate) fn change(
        &mut self,
        name: &str,
        direction: Option<Direction>,
        set: &Map<String, Value>,
    ) -> Result<()> {
        let change = Change {
            link: None,
            direction,
            set: set.clone(),
        };
        let (forward, backward) = (
            self.impairment(name, Direction::Forward)?.clone(),
            self.impairment(name, Direction::Backward)?.clone(),
        );
        let mut after = [forward, backward];
        for direction in change.directions() {
            after[direction as usize] = after[direction as usize].changed(set)?;
        }
        let wire = self
            .wires
            .iter()
            .position(|wire| wire.link.name == name)
            .context("no such link")?;
        if let Some(relay) = &self.wires[wire].relay {
            ask(&relay.socket, &Request::Change(change))?;
        } else {
            for impairment in &after {
                impairment.check_veth()?;
            }
            self.shape(&self.wires[wire].link, &after)?;
        }
        let [forward, backward] = after;
        let link = &mut self.wires[wire].link;
        (link.forward, link.backward) = (forward, backward);
        Ok(())
    }

    /// What the relays did, by link.
    pub(crate) fn counts(&self) -> Result<Value> {
        let mut all = json!({});
        for wire in &self.wires {
            if let Some(relay) = &wire.relay {
                all[&wire.link.name] = ask(&relay.socket, &Request::Counts)?;
            }
        }
        Ok(all)
    }

    /// Fails if a relay has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        for wire in &mut self.wires {
            if let Some(relay) = &mut wire.relay
                && let Some(status) = relay.child.try_wait().context("looking at a relay")?
            {
                bail!(
                    "the relay of link {} ended ({status}): {}",
                    wire.link.name,
                    said(&self.directory, &wire.link.name)
                );
            }
        }
        Ok(())
    }

    fn join(&mut self, link: Link, seed: u64) -> Result<()> {
        let (from, to) = (
            self.namespace(&link.from)?.to_owned(),
            self.namespace(&link.to)?.to_owned(),
        );
        let relay = match link.kind {
            Kind::Relay => Some(self.start_relay(&link, seed, &from, &to)?),
            Kind::Veth => {
                let veth = ["-n", &from, "link", "add", &link.name, "type", "veth"];
                let peer = ["peer", "name", &link.name, "netns", &to];
                run(Command::new("ip").args(veth).args(peer))?;
                None
            }
        };
        // Taken note of first, so that it is ended if what follows fails.
        self.wires.push(Wire {
            link: link.clone(),
            relay,
        });
        for (node, address) in [
            (&link.from, link.addresses[0]),
            (&link.to, link.addresses[1]),
        ] {
            self.address(node, &link, &address.to_string())?;
        }
        if link.kind == Kind::Veth {
            self.shape(&link, &[link.forward.clone(), link.backward.clone()])?;
        }
        Ok(())
    }

    fn address(&self, node: &str, link: &Link, address: &str) -> Result<()> {
        let device = link.name.as_str();
        // Without IPv6's own addresses no packet passes that nobody sent: fates go by number.
        self.ip(node, &["link", "set", device, "addrgenmode", "none"])?;
        self.ip(node, &["link", "set", device, "mtu", &link.mtu.to_string()])?;
        self.ip(node, &["addr", "add", address, "dev", device])?;
        self.ip(node, &["link", "set", device, "up"])?;
        if self.congestion.is_empty() {
            return Ok(());
        }
        let network: ipnet::IpNet = address.parse().context("an address")?;
        let (to, own) = (network.trunc().to_string(), network.addr().to_string());
        self.ip(
            node,
            &[
                "route",
                "replace",
                &to,
                "dev",
                device,
                "src",
                &own,
                "congctl",
                &self.congestion,
            ],
        )
        .with_context(|| {
            format!(
                "congestion = {:?} (see net.ipv4.tcp_available_congestion_control)",
                self.congestion
            )
        })
    }

    fn shape(&self, link: &Link, impairments: &[Impairment; 2]) -> Result<()> {
        let (from, to) = (self.namespace(&link.from)?, self.namespace(&link.to)?);
        shape::apply(from, to, &link.name, link.shaper, &impairments[0])?;
        shape::apply(to, from, &link.name, link.shaper, &impairments[1])
    }

    fn start_relay(&self, link: &Link, seed: u64, from: &str, to: &str) -> Result<Relay> {
        let socket = self.directory.join(format!("relay-{}.sock", link.name));
        let log = std::fs::File::create(self.directory.join(format!("relay-{}.log", link.name)))
            .context("making a log")?;
        let program = std::env::current_exe().context("finding this program")?;
        // Ends with this process even if that is killed.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(["link", "relay"]);
        command.args(["--name", &link.name, "--from", from, "--to", to]);
        command.args(["--seed", &seed.to_string(), "--mtu", &link.mtu.to_string()]);
        command
            .arg("--forward")
            .arg(serde_json::to_string(&link.forward)?);
        command
            .arg("--backward")
            .arg(serde_json::to_string(&link.backward)?);
        command.arg("--control").arg(&socket);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting the relay (needs setpriv of util-linux)")?;
        let mut relay = Relay { child, socket };
        if let Err(error) = wait_ready(&mut relay.child) {
            relay.end();
            return Err(error.context(said(&self.directory, &link.name)));
        }
        Ok(relay)
    }

    /// Lets nodes with several links pass packets on.
    fn forward(&self, topology: &Topology) -> Result<()> {
        for (node, name) in &self.nodes {
            let ends = topology
                .link
                .iter()
                .filter(|link| link.from == *node || link.to == *node)
                .count();
            if ends > 1 {
                namespace::inside(name, || {
                    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")
                        .context("setting net.ipv4.ip_forward")
                })?;
            }
        }
        Ok(())
    }

    fn ip(&self, node: &str, args: &[&str]) -> Result<()> {
        run(Command::new("ip")
            .args(["-n", self.namespace(node)?])
            .args(args))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for wire in &mut self.wires {
            if let Some(relay) = &mut wire.relay {
                relay.end();
            }
        }
        for (_, name) in &self.nodes {
            if let Err(error) = leftover::remove_namespace(name) {
                tracing::warn!(
                    name,
                    error = format!("{error:#}"),
                    "cannot take a network namespace away"
                );
            }
        }
    }
}

impl Relay {
    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Waits for the line that says the devices are there.
fn wait_ready(child: &mut Child) -> Result<()> {
    let out = child.stdout.take().context("the relay has no output")?;
    let timeout = Timespec {
        tv_sec: START_S,
        tv_nsec: 0,
    };
    let ready = poll(&mut [PollFd::new(&out, PollFlags::IN)], Some(&timeout)).context("poll")?;
    let mut line = String::new();
    if ready > 0 {
        BufReader::new(out)
            .read_line(&mut line)
            .context("reading from the relay")?;
    }
    if !line.contains("\"ready\"") {
        // Let it say why before it is asked.
        std::thread::sleep(Duration::from_millis(50));
        bail!("the relay did not start within {START_S} s");
    }
    Ok(())
}

/// The last words of a relay.
fn said(directory: &Path, link: &str) -> String {
    let text =
        std::fs::read_to_string(directory.join(format!("relay-{link}.log"))).unwrap_or_default();
    text.lines().rev().take(3).collect::<Vec<_>>().join(" | ")
}
