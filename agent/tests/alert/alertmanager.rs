//! A real Alertmanager.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;

use crate::node::{Node, fired, resolved};
use crate::receiver::{Receiver, until};

const PROGRAM: &str = "/usr/bin/prometheus-alertmanager";

/// Ends when dropped.
struct Alertmanager {
    child: Child,
    port: u16,
}

impl Alertmanager {
    /// None if there is none on this machine.
    fn start(dir: &Path, port: u16, hook: &Receiver) -> Option<Self> {
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
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", dir.join("am").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let alertmanager = Self { child, port };
        until(
            "Alertmanager is up",
            || alertmanager.alerts().is_some(),
            String::new,
        );
        Some(alertmanager)
    }

    /// What it holds, resolved or not.
    fn alerts(&self) -> Option<Vec<Json>> {
        let body = get(self.port, "/api/v2/alerts")?;
        serde_json::from_str(&body).ok()
    }

    /// The alert's fingerprint if it is active.
    fn active(&self, name: &str) -> Option<String> {
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

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn config(port: u16) -> String {
    format!("repeat_seconds = 1.0\n[[alertmanager]]\nurls = ['http://127.0.0.1:{port}']\n")
}

#[test]
fn alertmanager_takes_pages_and_passes_them_on() {
    let (dir, hook, port) = (tempfile::tempdir().unwrap(), Receiver::start(), free_port());
    let Some(alertmanager) = Alertmanager::start(dir.path(), port, &hook) else {
        return;
    };
    let node = Node::start(&config(port), &dir.path().join("state"));
    let page = fired("Stall", 0);
    // Alertmanager 0.25 takes no such name, but keeps the others of the request.
    let mut bad = fired("Bad", 0);
    bad.labels.insert("not-a-name".to_owned(), "x".to_owned());
    node.commit(vec![fired("Other", 0), bad, page.clone()]);
    until(
        "it is active",
        || alertmanager.active("Stall").is_some(),
        String::new,
    );
    assert_eq!(
        alertmanager.active("Stall"),
        Some(page.fingerprint().to_string())
    );
    assert!(alertmanager.active("Other").is_some());
    until(
        "the bad one is given up",
        || node.refused(0) == 1,
        String::new,
    );
    hook.until("Alertmanager pages", |hook| {
        hook.taken().contains(&"Stall:firing".to_owned())
    });
    node.commit(vec![resolved(&page, 0)]);
    hook.until("Alertmanager tells the end", |hook| {
        hook.taken().contains(&"Stall:resolved".to_owned())
    });
    until(
        "it is gone",
        || alertmanager.active("Stall").is_none(),
        String::new,
    );
}

#[test]
fn an_alertmanager_that_was_down_hears_what_happened_and_one_that_forgot_is_reminded() {
    let (dir, hook, port) = (tempfile::tempdir().unwrap(), Receiver::start(), free_port());
    if !Path::new(PROGRAM).exists() {
        eprintln!("SKIP {PROGRAM} is missing (Debian: prometheus-alertmanager)");
        return;
    }
    let node = Node::start(&config(port), &dir.path().join("state"));
    let (over, lasting) = (fired("Over", 600_000), fired("Lasting", 500_000));
    node.commit(vec![over.clone(), lasting.clone()]);
    node.commit(vec![resolved(&over, 300_000)]);
    // The rules go on saying that it fires, as they would.
    let mut still = lasting;
    still.ends_at_ms = crate::node::now_ms() + 240_000;
    node.log.refresh([still]);
    until("it cannot be reached", || node.failed(0) > 0, String::new);
    {
        let alertmanager = Alertmanager::start(dir.path(), port, &hook).unwrap();
        until("all is sent", || node.waiting() == 0, String::new);
        until(
            "it lasts",
            || alertmanager.active("Lasting").is_some(),
            String::new,
        );
        until(
            "it is over",
            || alertmanager.active("Over").is_none(),
            String::new,
        );
        hook.until("Alertmanager pages", |hook| {
            hook.taken().contains(&"Lasting:firing".to_owned())
        });
        eprintln!("told by Alertmanager: {:?}", hook.taken());
    }
    fs::remove_dir_all(dir.path().join("am")).unwrap();
    let forgetful = Alertmanager::start(dir.path(), port, &hook).unwrap();
    until(
        "it is reminded",
        || forgetful.active("Lasting").is_some(),
        String::new,
    );
}
