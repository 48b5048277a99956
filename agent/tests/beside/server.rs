//! A real Prometheus that scrapes and evaluates every second, and what it has stored.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = "/usr/bin/prometheus";

/// Ends when dropped.
pub(crate) struct Prometheus {
    child: Child,
    pub(crate) address: SocketAddr,
    dir: TempDir,
    pub(crate) rules: PathBuf,
}

/// A stored series: times in milliseconds and values, without marks of staleness.
pub(crate) struct Stored {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) samples: Vec<(i64, f64)>,
}

impl Stored {
    pub(crate) fn name(&self) -> &str {
        &self.labels["__name__"]
    }

    pub(crate) fn has(&self, label: &str, value: &str) -> bool {
        self.labels.get(label).is_some_and(|have| have == value)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    pub(crate) fn start(target: SocketAddr, rules: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules.yml");
        std::fs::write(&file, rules).unwrap();
        let config = dir.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs: [{{job_name: beside, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        std::fs::write(&config, text).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let child = Command::new(PROGRAM)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            address,
            dir,
            rules: file,
        }
    }

    /// Until a target was scraped so often.
    pub(crate) fn wait(&self, counted: &AtomicU64, scrapes: u64) {
        let began = Instant::now();
        let patience = Duration::from_secs(60 + 3 * scrapes);
        while counted.load(Ordering::SeqCst) < scrapes {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < patience, "it does not scrape: {}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Everything it has stored.
    pub(crate) fn everything(&self) -> Vec<Stored> {
        #[derive(Deserialize)]
        struct Answer {
            data: Data,
        }
        #[derive(Deserialize)]
        struct Data {
            result: Vec<Series>,
        }
        #[derive(Deserialize)]
        struct Series {
            metric: BTreeMap<String, String>,
            values: Vec<(f64, String)>,
        }
        // {__name__=~".+"}[1h]
        let query = "/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D%5B1h%5D";
        let answer: Answer = serde_json::from_str(&self.get(query)).unwrap();
        let sample = |(seconds, value): (f64, String)| {
            ((seconds * 1_000.0).round() as i64, value.parse().unwrap())
        };
        let result = answer.data.result.into_iter();
        let stored = result.map(|series| Stored {
            labels: series.metric,
            samples: series.values.into_iter().map(sample).collect(),
        });
        stored.collect()
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{head}: {body}");
        body.to_owned()
    }
}
