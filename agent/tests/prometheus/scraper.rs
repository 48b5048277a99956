//! A real Prometheus that scrapes a server of ours.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::client::get;

/// Debian's own, which knows text only unless a feature is switched on.
pub(crate) fn installed() -> Option<PathBuf> {
    let file = PathBuf::from("/usr/bin/prometheus");
    if !file.exists() {
        eprintln!("SKIP {} is missing (Debian: prometheus)", file.display());
        return None;
    }
    Some(file)
}

/// One from 2.53 on, which stores native histograms.
pub(crate) fn newer() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let file = cache.join("weir/prometheus/usr/bin/prometheus");
    if !file.exists() {
        eprintln!(
            "SKIP {} is missing (Prometheus 2.53 or newer)",
            file.display()
        );
        return None;
    }
    Some(file)
}

/// A running Prometheus; ends with this value.
pub(crate) struct Scraper {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Drop for Scraper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Scraper {
    /// Scrapes `target` every second, once per job; a job is a name with more lines of YAML.
    pub(crate) async fn start(
        binary: PathBuf,
        target: SocketAddr,
        jobs: &[(&str, &str)],
        flags: &[&str],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = "global: {scrape_interval: 1s}\nscrape_configs:\n".to_owned();
        for (name, lines) in jobs {
            config.push_str(&format!(
                "- job_name: {name}\n  static_configs: [{{targets: ['{target}']}}]\n{lines}"
            ));
        }
        std::fs::write(dir.path().join("prometheus.yml"), &config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let child = Command::new(binary)
            .arg(format!(
                "--config.file={}",
                dir.path().join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .args(flags)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let scraper = Self {
            child,
            address,
            _dir: dir,
        };
        let began = Instant::now();
        for (name, _) in jobs {
            let up = format!("up{{job=\"{name}\"}} == 1");
            while !scraper.listens() || scraper.query(&up).await.is_empty() {
                assert!(
                    began.elapsed() < Duration::from_secs(30),
                    "{}",
                    scraper.why().await
                );
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        scraper
    }

    fn listens(&self) -> bool {
        std::net::TcpStream::connect(self.address).is_ok()
    }

    /// The series that an instant query returns.
    pub(crate) async fn query(&self, query: &str) -> Vec<Json> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = get(self.address, &format!("/api/v1/query?query={escaped}"), &[]).await;
        let json: Json = serde_json::from_slice(&answer.body).unwrap_or_default();
        json["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    async fn why(&self) -> String {
        let targets = get(self.address, "/api/v1/targets", &[]).await;
        let log = std::fs::read_to_string(self._dir.path().join("log")).unwrap_or_default();
        format!("no scrape succeeded: {}\n{log}", targets.text())
    }
}
