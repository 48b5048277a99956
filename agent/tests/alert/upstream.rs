//! A real Alertmanager that passes on to a webhook.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;

use crate::receiver::{Receiver, until};

/// Where Debian has it.
pub(crate) const PROGRAM: &str = "/usr/bin/prometheus-alertmanager";

/// Ends when dropped.
pub(crate) struct Alertmanager {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Alertmanager {
    /// None if there is none on this machine.
    pub(crate) fn start(dir: &Path, port: u16, hook: &Receiver) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            eprintln!("SKIP {PROGRAM} is missing (Debian: prometheus-alertmanager)");
            return None;
        }
        let config = dir.join("alertmanager.yml");
        let text = format!(
            "route: {{receiver: hook, group_by: [alertname, service], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}\n\
             receivers: [{{name: hook, webhook_configs: [{{url: 'http://{}/', send_resolved: true}}]}}]\n",
            hook.address
        );
        fs::write(&config, text).unwrap();
        let log = dir.join("alertmanager.log");
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", dir.join("am").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .arg("--log.level=debug")
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let alertmanager = Self { child, port, log };
        until(
            "Alertmanager is up",
            || alertmanager.alerts().is_some(),
            String::new,
        );
        Some(alertmanager)
    }

    /// What it holds, resolved or not.
    pub(crate) fn alerts(&self) -> Option<Vec<Json>> {
        let body = get(self.port, "/api/v2/alerts")?;
        serde_json::from_str(&body).ok()
    }

    /// Every alert that it was handed, in order, as `name:active` or `name:resolved`.
    pub(crate) fn received(&self) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap();
        let lines = log.lines().filter(|line| line.contains("Received alert"));
        let alert = |line: &str| {
            let (name, rest) = line.split_once("alert=")?.1.split_once('[')?;
            let (_, state) = rest.split_once("][")?;
            Some(format!("{name}:{}", state.split_once(']')?.0))
        };
        lines.filter_map(alert).collect()
    }

    /// The alert's fingerprint if it is active.
    pub(crate) fn active(&self, name: &str) -> Option<String> {
        let alerts = self.alerts().unwrap_or_default();
        let found = alerts
            .iter()
            .find(|alert| alert["labels"]["alertname"] == name)?;
        Some(found["fingerprint"].as_str()?.to_owned())
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.contains(" 200 ").then(|| body.to_owned())
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
