//! The one configuration: its fields, what they mean, their defaults and checks.
//!
//! Doc comments and `Default` here are the only home of both: the default file, the reference and
//! the checks of keys and ranges are made from them. A range stands in `#[schemars(range(…))]`; what
//! cannot change while the agent runs is marked [`RESTART`].

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod check;
mod document;
mod error;
mod peer;
mod schema;
mod text;

pub use crate::alert::config::Alert;
pub use crate::export::otlp::Otlp;
pub use crate::export::prometheus::Prometheus;
pub use error::{ConfigError, Problem};
pub use peer::{PeerGroups, Prefix};

/// Mark of fields and sections that are read at the start only:
/// `#[schemars(extend("x-restart" = true))]`.
pub const RESTART: &str = "x-restart";

/// Where the configuration is if nobody says otherwise. It need not exist.
pub const DEFAULT_PATH: &str = "/etc/weir/weir.toml";

/// More than any sensible file has, with every peer group filled.
const MAX_FILE: u64 = 4 << 20;

/// All that can be set.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the agent says about itself, on stderr.
    pub log: Log,
    /// Where Prometheus scrapes the metrics: `/metrics`, and `/healthz` and `/readyz` for probes.
    #[schemars(extend("x-restart" = true))]
    pub prometheus: Prometheus,
    /// Where metrics are sent by OTLP. Off without an endpoint.
    #[schemars(extend("x-restart" = true))]
    pub otlp: Otlp,
    /// Prometheus's rules on the node, and who is paged. Off without `rule_files`, and so is the
    /// query API at `/api/v1` of the Prometheus endpoint.
    pub alert: Alert,
    /// What is attached to the kernel, and how much memory that may take.
    #[schemars(extend("x-restart" = true))]
    pub kernel: Kernel,
    /// How many different things are told apart. What is over a limit is counted as `other`.
    pub limits: Limits,
    /// What the agent may cost. Above it, optional probes are shed in a fixed order; which are
    /// shed is a metric. 0 means no limit.
    pub overhead: Overhead,
    /// Named lists of address ranges, such as an ISP, a region or a CDN, for the label
    /// `peer_group`. The longest matching range wins; peers without one are `other`. At most 64
    /// groups and 16,384 ranges. Connections keep the group they had when they were opened.
    pub peer_groups: PeerGroups,
    /// Labels that metrics carry besides `service`.
    pub labels: Labels,
}

/// What the agent says about itself.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least important messages that are written.
    pub level: LogLevel,
    /// How they are written.
    #[schemars(extend("x-restart" = true))]
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Text,
        }
    }
}

/// Importance of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something works less well than it could.
    Warn,
    /// Starts, stops and changes.
    Info,
    /// Details of decisions.
    Debug,
    /// Everything.
    Trace,
}

/// Form of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// What is attached to the kernel.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kernel {
    /// How records reach the agent.
    pub transport: Transport,
    /// Bytes of the ring buffer, or of each CPU's perf buffer; a power of two.
    #[schemars(range(min = 65_536, max = 268_435_456))]
    pub ring_bytes: u32,
    /// Connections whose state is kept at the same time.
    #[schemars(range(min = 1_024, max = 4_194_304))]
    pub max_connections: u32,
    /// Services that are counted at the same time. 0: as many as `memory_bytes` allows.
    #[schemars(range(max = 65_536))]
    pub max_services: u32,
    /// Bytes that all kernel maps together may take.
    #[schemars(range(min = 4_194_304, max = 1_099_511_627_776_u64))]
    pub memory_bytes: u64,
    /// Which hooks measure sends. A rung that the kernel lacks is an error unless it is `auto`.
    pub send_rung: SendRung,
    /// Names of probes without which the agent does not start, such as `tcp_send`; `weir doctor`
    /// lists them. A probe that is not required and cannot attach is off and reported.
    pub required: Vec<String>,
    /// Names of probes that are not attached.
    pub disabled: Vec<String>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            transport: Transport::Auto,
            ring_bytes: 1 << 20,
            max_connections: 65_536,
            max_services: 0,
            memory_bytes: 32 << 20,
            send_rung: SendRung::Auto,
            required: Vec::new(),
            disabled: Vec::new(),
        }
    }
}

/// How records reach the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// The ring buffer, or the perf buffer where there is none.
    Auto,
    /// One ring buffer for all CPUs (Linux 5.8).
    Ring,
    /// A perf buffer for each CPU.
    Perf,
}

/// Hooks that measure sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SendRung {
    /// The best that works.
    Auto,
    /// Trampolines around the kernel's send routine.
    Fentry,
    /// Breakpoints at its start and return.
    Kprobe,
    /// The tracepoints in the send routine (Linux 6.16).
    Tracepoint,
    /// Entry of every system call; sees the wait for the socket's lock, costs most.
    Syscall,
}

/// How many different things are told apart.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Series that are exported; a histogram is one.
    #[schemars(range(min = 1_000, max = 10_000_000))]
    pub max_series: u32,
    /// Services that are told apart by name.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_services: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_series: 50_000,
            max_services: 1_000,
        }
    }
}

/// What the agent may cost.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Overhead {
    /// Run time of all kernel programs together, in percent of one core.
    #[schemars(range(min = 0.0, max = 100_000.0))]
    pub cpu_percent: f64,
    /// Resident memory of the agent's process in bytes.
    #[schemars(range(max = 1_099_511_627_776_u64))]
    pub rss_bytes: u64,
}

impl Default for Overhead {
    fn default() -> Self {
        Self {
            cpu_percent: 5.0,
            rss_bytes: 64 << 20,
        }
    }
}

/// Labels that metrics carry besides `service`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Labels {
    /// Kubernetes namespace.
    pub namespace: bool,
    /// Kubernetes pod. Each rollout makes new series.
    pub pod: bool,
    /// Container in the pod.
    pub container: bool,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            namespace: true,
            pod: false,
            container: false,
        }
    }
}

impl Config {
    /// Reads the file at `path`, or the one at [`DEFAULT_PATH`], which may be missing.
    ///
    /// # Errors
    /// If the file cannot be read, or says something that cannot be used: then with every place.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        match read(file) {
            Ok(text) => Self::parse(&text, &file.display().to_string()),
            Err(error) if path.is_none() && error.kind() == ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(cause) => Err(ConfigError::Read {
                file: file.display().to_string(),
                cause,
            }),
        }
    }

    /// Reads `text`; problems are reported as of `file`.
    ///
    /// # Errors
    /// If `text` is not TOML, or says something that cannot be used.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let document = document::Document::parse(text, file)?;
        let fields = schema::fields::<Self>();
        document.refuse_unknown_keys(&fields)?;
        let config: Self = document.read()?;
        let mut faults = schema::out_of_range(&fields, &config);
        faults.extend(config.faults());
        document.refuse(faults)?;
        Ok(config)
    }

    /// The default file: every field with its meaning and default.
    pub fn default_text() -> String {
        text::default_text(&schema::fields::<Self>())
    }

    /// All fields as Markdown.
    pub fn reference() -> String {
        text::reference(&schema::fields::<Self>())
    }
}

/// Keys such as `kernel.ring_bytes` that differ but are read at the start only.
pub fn changes_needing_restart(old: &Config, new: &Config) -> Vec<String> {
    schema::restarts(&schema::fields::<Config>(), old, new)
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(file)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(std::io::Error::new(
            ErrorKind::FileTooLarge,
            "it is larger than 4 MiB",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
