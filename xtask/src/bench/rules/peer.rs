//! The processes that are compared: started with their own ports and folders, ended for certain.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::super::{agent::end, report::Report};
use crate::command::{find, note};

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Weir's engine with rules.
    Weir,
    /// The same without.
    WeirBare,
    /// Prometheus with rules.
    Prometheus,
    /// The same without.
    PrometheusBare,
    /// vmalert.
    Vmalert,
    /// VictoriaMetrics that vmalert asks.
    Victoria,
    /// The same that nobody asks.
    VictoriaBare,
}

impl Role {
    pub(super) const ALL: [Self; 7] = [
        Self::Weir,
        Self::WeirBare,
        Self::Prometheus,
        Self::PrometheusBare,
        Self::Vmalert,
        Self::Victoria,
        Self::VictoriaBare,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Weir => "Weir with rules",
            Self::WeirBare => "Weir without rules",
            Self::Prometheus => "Prometheus with rules",
            Self::PrometheusBare => "Prometheus without rules",
            Self::Vmalert => "vmalert",
            Self::Victoria => "VictoriaMetrics, asked by vmalert",
            Self::VictoriaBare => "VictoriaMetrics, not asked",
        }
    }
}

struct Peer {
    role: Role,
    child: Child,
    port: u16,
}

/// All of them, with the exporter and their files.
pub(super) struct Peers {
    exporter: Child,
    peers: Vec<Peer>,
    folder: PathBuf,
    /// The last line that Weir's engine said.
    said: Arc<Mutex<String>>,
}

impl Drop for Peers {
    fn drop(&mut self) {
        for peer in &mut self.peers {
            end(&mut peer.child);
        }
        end(&mut self.exporter);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Peers {
    pub(super) fn start(example: &Path, interval: u64) -> Result<Self> {
        for program in ["prometheus", "vmalert", "victoria-metrics"] {
            if find(program).is_none() {
                bail!(
                    "{program} is missing: run `cargo xtask setup test` (Debian: prometheus, victoria-metrics)"
                );
            }
        }
        let folder = env::temp_dir().join(format!("weir-bench-rules-{}", std::process::id()));
        fs::create_dir_all(&folder).context("making a folder for the peers")?;
        let (exporter, target) = exporter(example, interval)?;
        let mut peers = Self {
            exporter,
            peers: Vec::new(),
            folder,
            said: Arc::default(),
        };
        let every = interval.to_string();
        let rules = peers.folder.join("rules.yml");
        crate::command::run(Command::new(example).arg("write").arg(&rules).arg(&every))?;
        peers.prometheus(Role::PrometheusBare, &target, interval, "")?;
        peers.prometheus(
            Role::Prometheus,
            &target,
            interval,
            "rule_files: [rules.yml]\n",
        )?;
        peers.victoria(Role::VictoriaBare, &target, interval)?;
        let storage = peers.victoria(Role::Victoria, &target, interval)?;
        peers.vmalert(&rules, storage, &target, interval)?;
        for (role, rules) in [(Role::WeirBare, Path::new("none")), (Role::Weir, &rules)] {
            let mut feed = Command::new(example);
            feed.arg("feed").arg(rules).arg(&every);
            feed.stdout(Stdio::piped());
            let child = peers.add(role, 0, &mut feed)?;
            let (stdout, said) = (child.stdout.take(), Arc::clone(&peers.said));
            thread::spawn(move || listen(stdout, role == Role::Weir, &said));
        }
        Ok(peers)
    }

    fn add(&mut self, role: Role, port: u16, command: &mut Command) -> Result<&mut Child> {
        let log = self.folder.join(format!("log-{}", self.peers.len()));
        let child = command
            .stdin(Stdio::null())
            .stderr(fs::File::create(log)?)
            .spawn()
            .with_context(|| format!("starting {}", role.name()))?;
        self.peers.push(Peer { role, child, port });
        let last = self.peers.last_mut().context("just added")?;
        Ok(&mut last.child)
    }

    fn prometheus(&mut self, role: Role, target: &str, interval: u64, rules: &str) -> Result<()> {
        let port = free_port()?;
        let config = self.folder.join(format!("prometheus-{port}.yml"));
        fs::write(&config, format!("{}{rules}", scraping(target, interval)))?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", self.data(port)))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null());
        self.add(role, port, &mut command)?;
        Ok(())
    }

    fn victoria(&mut self, role: Role, target: &str, interval: u64) -> Result<u16> {
        let port = free_port()?;
        let config = self.folder.join(format!("victoria-{port}.yml"));
        fs::write(&config, scraping(target, interval))?;
        let mut command = Command::new("victoria-metrics");
        command
            .arg(format!("-promscrape.config={}", config.display()))
            .arg(format!("-storageDataPath={}", self.data(port)))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .arg("-search.latencyOffset=0s")
            .stdout(Stdio::null());
        self.add(role, port, &mut command)?;
        Ok(port)
    }

    fn vmalert(&mut self, rules: &Path, storage: u16, notified: &str, interval: u64) -> Result<()> {
        let port = free_port()?;
        let mut command = Command::new("vmalert");
        command
            .arg(format!("-rule={}", rules.display()))
            .arg(format!("-datasource.url=http://127.0.0.1:{storage}"))
            .arg(format!("-remoteWrite.url=http://127.0.0.1:{storage}"))
            .arg(format!("-notifier.url=http://{notified}"))
            .arg(format!("-evaluationInterval={interval}s"))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .stdout(Stdio::null());
        self.add(Role::Vmalert, port, &mut command)?;
        Ok(())
    }

    fn data(&self, port: u16) -> String {
        let folder = self.folder.join(format!("data-{port}"));
        folder.display().to_string()
    }

    /// Reads something of every process.
    pub(super) fn read<T>(&self, read: impl Fn(u32) -> Result<T>) -> Result<Vec<(Role, T)>> {
        let peers = self.peers.iter();
        peers
            .map(|peer| Ok((peer.role, read(peer.child.id())?)))
            .collect()
    }

    /// Who has ended, with the end of what it said.
    pub(super) fn ended(&mut self) -> Result<Option<String>> {
        for (number, peer) in self.peers.iter_mut().enumerate() {
            if let Some(status) = peer.child.try_wait()? {
                let log = self.folder.join(format!("log-{number}"));
                let log = fs::read_to_string(log).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default();
                return Ok(Some(format!("{} ({status}): {last}", peer.role.name())));
            }
        }
        Ok(None)
    }

    /// Tells what each engine did, and refuses figures of engines that did not do the same.
    pub(super) fn check(&self, report: &mut Report, evaluations: f64) -> Result<()> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said: Value = serde_json::from_str(&said).context("Weir's engine said nothing")?;
        let count = |query: &str, role: Role| self.count(role, query).unwrap_or(-1.0);
        let alerts = "count(ALERTS)";
        let by_prometheus = count(alerts, Role::Prometheus);
        let by_vmalert = count(alerts, Role::Victoria);
        let by_weir = said["alerts"].as_f64().unwrap_or(-1.0);
        report.notes.push(format!(
            "{evaluations:.1} evaluations; active alerts: Weir {by_weir}, Prometheus {by_prometheus}, vmalert {by_vmalert}; Weir holds {} series, {} samples in windows, {} bytes by its own count",
            said["series"], said["samples"], said["bytes"]
        ));
        if said["failures"] != 0 || said["refused"] != 0 {
            bail!("Weir's rules failed: {said}");
        }
        if by_weir != by_prometheus || by_weir <= 0.0 {
            bail!("the engines do not agree on what is active: {by_weir} and {by_prometheus}");
        }
        if by_vmalert != by_weir {
            note!("vmalert has {by_vmalert} active alerts, the others {by_weir}");
        }
        Ok(())
    }

    fn count(&self, role: Role, query: &str) -> Option<f64> {
        let peer = self.peers.iter().find(|peer| peer.role == role)?;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, peer.port)).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .ok()?;
        let request =
            format!("GET /api/v1/query?query={query} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let json: Value = serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()?;
        json["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

/// Keeps the last line of one that evaluates, if it is to be kept.
fn listen(stdout: Option<ChildStdout>, keep: bool, said: &Mutex<String>) {
    let Some(stdout) = stdout else {
        return;
    };
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if keep {
            *said.lock().unwrap_or_else(PoisonError::into_inner) = line;
        }
    }
}

fn exporter(example: &Path, interval: u64) -> Result<(Child, String)> {
    let mut child = Command::new(example)
        .args(["serve", &interval.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the exporter")?;
    let mut address = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut address)?;
    }
    if address.is_empty() {
        end(&mut child);
        bail!("the exporter does not say where it listens");
    }
    Ok((child, address.trim().to_owned()))
}

fn scraping(target: &str, interval: u64) -> String {
    format!(
        "global: {{scrape_interval: {interval}s}}\n\
         scrape_configs: [{{job_name: bench, scrape_timeout: {interval}s, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
    Ok(listener.local_addr()?.port())
}
