//! The servers under load, each in processes of its own: this binary's `chat`, or nginx with nchan.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Args;

/// For a server to come up or to end.
const WITHIN: Duration = Duration::from_secs(10);

/// Which server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// As configured by default.
    Chat,
    /// Every message in a frame of its own, at once, as the baseline does it.
    Single,
    Nchan,
}

/// A running server; ended with all its processes when dropped.
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
    child: Child,
    dir: PathBuf,
}

/// Whether the baseline can run; says why not.
pub(super) fn nchan_is_there(modules: &Path) -> bool {
    let module = modules.join("ngx_nchan_module.so");
    let nginx = Command::new("nginx")
        .arg("-v")
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !nginx || !module.exists() {
        eprintln!(
            "SKIP nchan: nginx or {} is missing (Debian packages nginx-light, libnginx-mod-nchan)",
            module.display()
        );
    }
    nginx && module.exists()
}

impl Target {
    pub(super) fn start(kind: Kind, args: &Args) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("bench-chat-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        match kind {
            Kind::Chat | Kind::Single => Self::chat(kind, dir),
            Kind::Nchan => Self::nchan(dir, args),
        }
    }

    fn chat(kind: Kind, dir: PathBuf) -> Result<Self> {
        let config = dir.join("chat.toml");
        // Limits off, since one publisher stands for many; everything else as it comes.
        let free = "{ per_s = 100000000, burst = 100000000 }";
        let mut text = format!(
            "[chat]\nlisten = \"127.0.0.1:0\"\nconnection_rate = {free}\nroom_rate = {free}\nping_s = 1800\nsilent_s = 3600\n"
        );
        if kind == Kind::Single {
            text.push_str("tick_ms = 0\nbatch_items = 1\n");
        }
        std::fs::write(&config, text)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["chat", "--config"])
            .arg(&config)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting chat")?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let ready: Value = serde_json::from_str(&line).context("chat did not become ready")?;
        let address = ready["addresses"]["ws"]
            .as_str()
            .context("chat did not say its address")?
            .parse()?;
        Ok(Self {
            kind,
            address,
            child,
            dir,
        })
    }

    fn nchan(dir: PathBuf, args: &Args) -> Result<Self> {
        // A free port, given back for nginx to take.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let config = dir.join("nginx.conf");
        std::fs::write(&config, nginx_config(&dir, &args.nginx_modules, address))?;
        let log = dir.join("error.log");
        let child = Command::new("nginx")
            .arg("-p")
            .arg(&dir)
            .arg("-e")
            .arg(&log)
            .arg("-c")
            .arg(&config)
            .spawn()
            .context("starting nginx")?;
        let target = Self {
            kind: Kind::Nchan,
            address,
            child,
            dir,
        };
        let deadline = Instant::now() + WITHIN;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                bail!(
                    "nginx does not come up: {}",
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(target)
    }

    /// Path of the consumers' WebSocket.
    pub(super) fn subscribe_path(&self) -> &'static str {
        match self.kind {
            Kind::Chat | Kind::Single => "/rooms/bench/ws",
            Kind::Nchan => "/sub",
        }
    }

    /// Path of the publishers' WebSocket.
    pub(super) fn publish_path(&self) -> &'static str {
        match self.kind {
            Kind::Chat | Kind::Single => "/rooms/bench/ws?user=publisher",
            Kind::Nchan => "/pub",
        }
    }

    /// The server and its children.
    fn pids(&self) -> Vec<u32> {
        let root = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{root}/task/{root}/children"))
            .unwrap_or_default();
        std::iter::once(root)
            .chain(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse().ok()),
            )
            .collect()
    }

    /// Resident memory. That of nginx' workers counts shared pages once for each.
    pub(super) fn rss_bytes(&self) -> Result<u64> {
        self.pids()
            .iter()
            .map(|pid| status_bytes(*pid, "VmRSS:"))
            .sum()
    }

    /// Processor time of all threads so far, in the scheduler's own nanoseconds: the ticks of
    /// `/proc/PID/stat` are a hundredth of what a short window costs.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let mut sum = 0;
        for pid in self.pids() {
            let tasks = format!("/proc/{pid}/task");
            for task in std::fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
                let file = task?.path().join("schedstat");
                // A thread may end while it is looked at.
                let Ok(stat) = std::fs::read_to_string(&file) else {
                    continue;
                };
                let on_cpu = stat
                    .split_whitespace()
                    .next()
                    .and_then(|ns| ns.parse().ok());
                sum += on_cpu.unwrap_or(0_u64);
            }
        }
        ensure!(
            sum > 0,
            "no processor time in /proc/PID/task/TID/schedstat: the kernel lacks CONFIG_SCHED_INFO"
        );
        Ok(Duration::from_nanos(sum))
    }

    /// Items that consumers did not get, as far as the server says so.
    pub(super) async fn lost(&self) -> Result<u64> {
        if self.kind == Kind::Nchan {
            return Ok(0);
        }
        let mut stream = tokio::net::TcpStream::connect(self.address).await?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")
            .await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text
            .lines()
            .filter_map(|line| {
                line.strip_prefix("chat_dropped_items_total{")?
                    .rsplit_once(' ')?
                    .1
                    .parse::<u64>()
                    .ok()
            })
            .sum())
    }
}

fn status_bytes(pid: u32, key: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .with_context(|| format!("{key} of {pid}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

/// nginx as Debian sets it up (a worker for each processor), without access log; messages are kept
/// as long as a measurement can lag.
fn nginx_config(dir: &Path, modules: &Path, address: SocketAddr) -> String {
    let (dir, modules) = (dir.display(), modules.display());
    format!(
        "load_module {modules}/ngx_nchan_module.so;
daemon off; pid {dir}/nginx.pid; error_log {dir}/error.log error; user root;
worker_processes auto; worker_rlimit_nofile 20000;
events {{ worker_connections 12000; }}
http {{
  access_log off; nchan_shared_memory_size 256M; tcp_nodelay on;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  server {{
    listen {address} backlog=16384;
    location = /sub {{ nchan_subscriber websocket; nchan_channel_id bench; nchan_subscriber_first_message newest; }}
    location = /pub {{ nchan_publisher websocket http; nchan_channel_id bench; nchan_message_buffer_length 8192; nchan_message_timeout 30s; }}
  }}
}}
"
    )
}

impl Drop for Target {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let end = |signal| {
            if let Some(pid) = pid {
                // It may be gone already.
                let _ = kill_process(pid, signal);
            }
        };
        end(Signal::TERM);
        let deadline = Instant::now() + WITHIN;
        while !matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            if Instant::now() > deadline {
                end(Signal::KILL);
                let _ = self.child.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
