//! An unmodified nginx and its clients in two network namespaces, with a link between them that is
//! slow and loses packets.

use std::{process::Command, sync::atomic::AtomicBool, time::Duration};

use anyhow::Result;

use super::{process::Processes, subject::Subject};
use crate::command::{output, run, step};

mod load;

const SERVER: &str = "10.77.0.1";
const CLIENTS: &str = "10.77.0.2";
/// Slow enough for queues, fast enough to be worth watching.
const RATE: &str = "100mbit";
/// Of 1000 packets to the clients.
const LOST: u32 = 5;

/// The two namespaces by name.
struct Network {
    server: String,
    clients: String,
}

/// Builds the network and starts server and clients.
pub(super) fn start(processes: &mut Processes, stop: &AtomicBool) -> Result<Subject> {
    let network = Network::raise(processes)?;
    load::start(processes, &network, stop)?;
    Ok(Subject {
        title: "nginx and its clients",
        namespaces: vec![network.server, network.clients],
        truth: None,
    })
}

impl Network {
    fn raise(processes: &mut Processes) -> Result<Self> {
        step!("two network namespaces, {RATE} between them, {LOST} of 1000 packets lost");
        let id = std::process::id();
        let network = Self {
            server: format!("weir-demo-{id}-s"),
            clients: format!("weir-demo-{id}-c"),
        };
        processes.own_namespace(&network.server)?;
        processes.own_namespace(&network.clients)?;
        network.link()?;
        network.spoil()?;
        Ok(network)
    }

    fn link(&self) -> Result<()> {
        let (server, clients) = (self.server.as_str(), self.clients.as_str());
        ip(&["netns", "add", server])?;
        ip(&["netns", "add", clients])?;
        ip(&[
            "-n", server, "link", "add", "link0", "type", "veth", "peer", "name", "link0", "netns",
            clients,
        ])?;
        for (namespace, address) in [(server, SERVER), (clients, CLIENTS)] {
            let address = format!("{address}/24");
            ip(&["-n", namespace, "addr", "add", &address, "dev", "link0"])?;
            ip(&["-n", namespace, "link", "set", "link0", "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    fn spoil(&self) -> Result<()> {
        run(Command::new("tc")
            .args(["-n", &self.server, "qdisc", "add", "dev", "link0", "root"])
            .args(["tbf", "rate", RATE, "burst", "32kb", "latency", "60ms"]))?;
        // Dropped where they arrive: the sender's own stack must not notice.
        let rules = format!(
            "table ip weir {{\n\
             chain arriving {{\n\
             type filter hook prerouting priority 0\n\
             tcp sport 80 numgen random mod 1000 < {LOST} counter drop\n\
             }}\n\
             }}\n"
        );
        run(Command::new("ip").args(["netns", "exec", &self.clients, "nft", &rules]))
    }

    /// Waits until the server listens.
    fn wait_for_server(&self, processes: &mut Processes, stop: &AtomicBool) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let listening = [
            "-n",
            "-H",
            "-t",
            "-l",
            "-N",
            &self.server,
            "sport",
            "=",
            ":80",
        ];
        processes.wait_until("the server listens", PATIENCE, stop, || {
            Ok(!output(Command::new("ss").args(listening))?.is_empty())
        })
    }
}

fn ip(args: &[&str]) -> Result<()> {
    run(Command::new("ip").args(args))
}
