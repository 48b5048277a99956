//! A network as a file describes it: nodes, each a network namespace, and the links between them.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use serde::Deserialize;

use super::impairment::Impairment;

/// More would be a mistake on one machine.
const MOST_NODES: usize = 64;
/// Interface names hold 15 bytes (IFNAMSIZ), and each link names its two interfaces.
const LONGEST_NAME: usize = 15;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topology {
    /// Names of the namespaces; a node with two links forwards between them.
    pub(crate) nodes: Vec<String>,
    /// Between the nodes.
    #[serde(default)]
    pub(crate) link: Vec<Link>,
    /// Where a node is to send what is not on its own links.
    #[serde(default)]
    pub(crate) route: Vec<Route>,
    /// TCP congestion control of all nodes, such as `cubic`; empty: the kernel's default.
    #[serde(default)]
    pub(crate) congestion: String,
}

/// Two nodes, joined.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    /// Also the name of its interfaces.
    pub(crate) name: String,
    /// A node.
    pub(crate) from: String,
    /// Another node.
    pub(crate) to: String,
    /// Of `from` and of `to`, with the length of the network's prefix.
    pub(crate) addresses: [IpNet; 2],
    /// What carries it.
    #[serde(default)]
    pub(crate) kind: Kind,
    /// What limits the rate of a veth link.
    #[serde(default)]
    pub(crate) shaper: Shaper,
    /// Largest packet.
    #[serde(default = "mtu")]
    pub(crate) mtu: u16,
    /// Of packet fates; without it one drawn from the run's seed and the link's place.
    pub(crate) seed: Option<u64>,
    /// What happens to packets from `from` to `to`.
    #[serde(default)]
    pub(crate) forward: Impairment,
    /// What happens to packets the other way.
    #[serde(default)]
    pub(crate) backward: Impairment,
}

/// What carries a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Our own relay between two TUN devices: everything an [`Impairment`] can say.
    #[default]
    Relay,
    /// The kernel's veth pair: rate and loss only, nothing of ours in the path.
    Veth,
}

/// The kernel's queueing discipline that limits a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shaper {
    /// tc-tbf(8).
    #[default]
    Tbf,
    /// tc-htb(8) with one class.
    Htb,
}

/// A route of a node.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Whose.
    pub(crate) node: String,
    /// To where: a network, or `0.0.0.0/0`.
    pub(crate) to: IpNet,
    /// Next hop.
    pub(crate) via: std::net::IpAddr,
}

fn mtu() -> u16 {
    1500
}

impl Topology {
    /// Reads and checks a file; traces are looked for beside it.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the topology {}", path.display()))?;
        let mut topology: Self =
            toml::from_str(&text).with_context(|| format!("in the topology {}", path.display()))?;
        topology.settle(path.parent().unwrap_or(Path::new(".")));
        topology
            .check()
            .with_context(|| format!("in the topology {}", path.display()))?;
        Ok(topology)
    }

    /// Reads relative paths of traces as relative to a directory.
    pub(crate) fn settle(&mut self, directory: &Path) {
        for link in &mut self.link {
            for impairment in [&mut link.forward, &mut link.backward] {
                impairment.trace = impairment
                    .trace
                    .as_ref()
                    .map(|trace| trace.beside(directory));
            }
        }
    }

    /// Refuses what cannot be built; the error names the node or the link.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(
            !self.nodes.is_empty() && self.nodes.len() <= MOST_NODES,
            "nodes must be 1 to {MOST_NODES}"
        );
        let mut names = HashSet::new();
        for name in self
            .nodes
            .iter()
            .chain(self.link.iter().map(|link| &link.name))
        {
            ensure!(
                is_name(name),
                "the name {name:?} is not 1 to {LONGEST_NAME} of a-z, 0-9 and -"
            );
            ensure!(names.insert(name), "the name {name:?} is used twice");
        }
        for link in &self.link {
            self.check_link(link)
                .with_context(|| format!("link {}", link.name))?;
        }
        for route in &self.route {
            self.check_node(&route.node).context("route")?;
        }
        ensure!(
            self.congestion.is_empty() || is_name(&self.congestion),
            "congestion {:?}",
            self.congestion
        );
        Ok(())
    }

    fn check_link(&self, link: &Link) -> Result<()> {
        self.check_node(&link.from)?;
        self.check_node(&link.to)?;
        ensure!(link.from != link.to, "from and to are the same node");
        ensure!(
            (576..=9000).contains(&link.mtu),
            "mtu {} is not in 576 to 9000",
            link.mtu
        );
        let [from, to] = link.addresses;
        ensure!(
            from.addr() != to.addr() && from.trunc() == to.trunc(),
            "{from} and {to} are not two of one network"
        );
        for (key, impairment) in [("forward", &link.forward), ("backward", &link.backward)] {
            impairment.check().context(key)?;
            if link.kind == Kind::Veth {
                impairment.check_veth().context(key)?;
            }
        }
        Ok(())
    }

    fn check_node(&self, name: &str) -> Result<()> {
        ensure!(
            self.nodes.iter().any(|node| node == name),
            "there is no node {name:?}"
        );
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name != "lo"
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FINE: &str = r#"
nodes = ["server", "players"]
[[link]]
name = "access"
from = "server"
to = "players"
addresses = ["10.90.1.1/24", "10.90.1.2/24"]
[link.forward]
rate_bps = 20_000_000
delay_ms = 15
trace = { columns = "a.txt" }
"#;

    fn parse(text: &str) -> Result<Topology> {
        let topology: Topology = toml::from_str(text)?;
        topology.check()?;
        Ok(topology)
    }

    #[test]
    fn wrong_topologies_are_refused_with_the_place() {
        for (change, into, said) in [
            ("delay_ms = 15", "delay_ms = 15\nlatency = 3", "line 11"),
            ("to = \"players\"", "to = \"player\"", "no node \"player\""),
            ("to = \"players\"", "to = \"server\"", "same node"),
            ("10.90.1.2/24", "10.91.1.2/24", "one network"),
            ("10.90.1.2/24", "10.90.1.2", "line 7"),
            ("\"access\"", "\"an access with a long name\"", "1 to 15"),
            ("\"access\"", "\"server\"", "twice"),
            ("delay_ms = 15", "loss = 2", "loss"),
            ("rate_bps = 20_000_000", "", ""),
        ] {
            let text = FINE.replace(change, into);
            match parse(&text) {
                Ok(_) => assert!(said.is_empty(), "{text}"),
                Err(error) => {
                    let error = format!("{error:#}");
                    assert!(!said.is_empty() && error.contains(said), "{said}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_rate_and_a_trace_exclude_each_other() {
        assert!(format!("{:#}", parse(FINE).unwrap_err()).contains("exclude"));
    }

    #[test]
    fn traces_are_looked_for_beside_the_file() {
        let mut topology: Topology = toml::from_str(FINE).unwrap();
        topology.settle(Path::new("/etc/x"));
        let Some(super::super::trace::Trace::Columns(path)) = &topology.link[0].forward.trace
        else {
            panic!("{topology:?}");
        };
        assert_eq!(path, Path::new("/etc/x/a.txt"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_topology_or_an_error(text in "\\PC{0,200}", cut in 0_usize..300) {
            let _ = parse(&text);
            let _ = parse(FINE.get(..cut).unwrap_or_default());
        }
    }
}
