//! A folder of rules, a place for the agent's state, and a webhook that may be down.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::receiver::Receiver;
use crate::running::{Agent, PATIENCE};

pub(crate) struct Site {
    dir: TempDir,
    /// A service that no other test has.
    pub(crate) service: String,
    /// Where the webhook is, or would be.
    pub(crate) hook: SocketAddr,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("rules")).unwrap();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // Closed again until somebody opens it.
        let hook = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            dir,
            service: format!("held-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            hook: hook.local_addr().unwrap(),
        }
    }

    /// An alert that fires while the service has more than two connections open.
    pub(crate) fn held(&self) -> String {
        format!(
            r#"
groups:
- name: held
  rules:
  - alert: Held
    expr: weir_tcp_connections_open{{service="{}"}} > 2
    labels: {{severity: page}}
    annotations:
      summary: "{{{{ $labels.service }}}} holds {{{{ $value }}}} on {{{{ $externalLabels.node }}}}"
"#,
            self.service
        )
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file into the folder, whole.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let draft = self.at("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.at("rules").join(name)).unwrap();
    }

    /// Evaluates five times a second; nobody is paged.
    pub(crate) fn deaf(&self, more: &str) -> String {
        format!(
            "[alert]\nrule_files = ['{}/*.yaml']\nevaluation_seconds = 0.2\nstate_dir = '{}'\n\
             external_url = 'http://node'\nexternal_labels = {{ node = 'n1' }}\n{more}\n",
            self.at("rules").display(),
            self.at("state").display()
        )
    }

    /// The same with the webhook.
    pub(crate) fn config(&self, more: &str) -> String {
        let hook = self.hook;
        let deaf = self.deaf(more);
        format!("{deaf}[[alert.webhook]]\nname = 'desk'\nurl = 'http://{hook}/'\n")
    }

    /// Opens the webhook.
    pub(crate) fn open(&self) -> Receiver {
        Receiver::on(TcpListener::bind(self.hook).unwrap(), None)
    }
}

/// Alerts that fire, as the agent counts them.
pub(crate) fn firing(agent: &Agent) -> f64 {
    metric(agent, "weir_rule_alerts", &[("state", "firing")])
}

/// The sum of series.
pub(crate) fn metric(agent: &Agent, name: &str, labels: &[(&str, &str)]) -> f64 {
    agent.scrape().sum(name, labels)
}

/// Evaluations of rules since the agent's start.
pub(crate) fn evaluations(agent: &Agent) -> f64 {
    metric(agent, "weir_rule_evaluations_total", &[("outcome", "done")])
}

/// What the agent's HTTP API answers.
pub(crate) fn ask(agent: &Agent, path: &str) -> Json {
    let mut stream = TcpStream::connect(agent.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nhost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<Json>(body).unwrap()["data"].take()
}
