//! The process under test.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time;
use tokio_stream::StreamExt as _;
use tokio_util::codec::{FramedRead, LinesCodec};
use tonic::transport::{Channel, Endpoint};

use crate::game::proto::matchmaker_client::MatchmakerClient;

/// Time for it and its arenas to be ready.
const START: Duration = Duration::from_secs(30);
/// Time to stop.
const STOP: Duration = Duration::from_secs(10);

/// `weir-stack game`; killed if it is dropped before [`Server::stop`].
pub(super) struct Server {
    child: Child,
    grpc: String,
    http: String,
    browser: Client<HttpConnector, Empty<bytes::Bytes>>,
}

impl Server {
    /// Starts it and waits until it is ready.
    pub(super) async fn start(config: &str) -> Result<Self> {
        let path =
            std::env::temp_dir().join(format!("weir-stack-bench-{}.toml", std::process::id()));
        std::fs::File::create(&path)
            .and_then(|mut file| file.write_all(config.as_bytes()))
            .with_context(|| format!("writing {}", path.display()))?;
        let mut child = Command::new(std::env::current_exe().context("finding the own binary")?)
            .arg("--config")
            .arg(&path)
            .arg("game")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting weir-stack game")?;
        let stdout = child
            .stdout
            .take()
            .context("standard output of the server")?;
        let mut lines = FramedRead::new(stdout, LinesCodec::new_with_max_length(65_536));
        let line = time::timeout(START, lines.next())
            .await
            .context("the server is not ready in time")?;
        std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        let Some(line) = line else {
            bail!("the server ended before it was ready")
        };
        let ready: Value = serde_json::from_str(&line?).context("the server's first line")?;
        let address = |name| -> Result<String> {
            let address = ready.pointer(name).and_then(Value::as_str);
            Ok(format!(
                "http://{}",
                address.context("the server's first line names no address")?
            ))
        };
        let browser = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self {
            child,
            grpc: address("/addresses/grpc")?,
            http: address("/addresses/http")?,
            browser,
        })
    }

    /// A connection of its own.
    pub(super) async fn connect(&self) -> Result<MatchmakerClient<Channel>> {
        let endpoint = Endpoint::from_shared(self.grpc.clone())?.tcp_nodelay(true);
        Ok(MatchmakerClient::new(
            endpoint
                .connect()
                .await
                .context("connecting to the server")?,
        ))
    }

    /// What it and its arenas say about themselves: `http` addresses, by slot.
    pub(super) async fn arenas(&self) -> Result<Vec<String>> {
        let views: Vec<Value> =
            serde_json::from_str(&self.get(&format!("{}/arenas", self.http)).await?)?;
        let http = |view: &Value| view.get("http").and_then(Value::as_str).map(str::to_owned);
        Ok(views.iter().filter_map(http).collect())
    }

    /// Sum of a metric without labels over `bases` (see [`Server::arenas`]).
    pub(super) async fn sum(&self, bases: &[String], metrics: &[&str]) -> Result<Vec<f64>> {
        let mut sums = vec![0.0; metrics.len()];
        for base in bases {
            let text = self.get(&format!("{base}/metrics")).await?;
            for (sum, metric) in sums.iter_mut().zip(metrics) {
                *sum += value(&text, metric)
                    .with_context(|| format!("{base} has no metric {metric}"))?;
            }
        }
        Ok(sums)
    }

    /// Stops it; its own figures.
    pub(super) async fn stop(mut self) -> Result<Value> {
        let text = self.get(&format!("{}/metrics", self.http)).await?;
        let get = |metric| value(&text, metric);
        let cycles = get("game_cycle_seconds_count").unwrap_or(0.0);
        let figures = json!({
            "cycles": cycles,
            "cycle_mean_ms": get("game_cycle_seconds_sum").unwrap_or(0.0) / cycles.max(1.0) * 1_000.0,
            "cycles_missed": get("game_cycles_missed_total"),
            "cycles_short_of_rooms": get("game_cycles_short_of_rooms_total"),
            "allocations": get("game_allocation_seconds_count"),
            "allocation_mean_ms": get("game_allocation_seconds_sum").unwrap_or(0.0)
                / get("game_allocation_seconds_count").unwrap_or(0.0).max(1.0) * 1_000.0,
            "allocations_failed": get("game_allocations_failed_total"),
            "proposals_released": get("game_proposals_released_total"),
            "resident_bytes": get("process_resident_memory_bytes"),
            "cpu_seconds": get("process_cpu_seconds_total"),
        });
        let pid = self
            .child
            .id()
            .and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
        let pid = pid.context("the server ended by itself")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .context("stopping the server")?;
        let status = time::timeout(STOP, self.child.wait())
            .await
            .context("the server does not stop")??;
        ensure!(status.success(), "the server ended with {status}");
        Ok(figures)
    }

    async fn get(&self, uri: &str) -> Result<String> {
        let response = self
            .browser
            .get(uri.parse()?)
            .await
            .with_context(|| format!("asking {uri}"))?;
        let body = response.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8(body.to_vec())?)
    }
}

fn value(text: &str, metric: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        line.strip_prefix(metric)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}
