//! The `[alert]` section: fields and defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::log::Limits;
pub use super::notify::config::{Alertmanager, Command, Http, Webhook};

/// Prometheus's rules on the node, and who is paged. Off unless `rule_files` is set.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Alert {
    /// Rule files in Prometheus's format; the last part of a path may be a pattern such as
    /// `*.yaml`. Read again on SIGHUP and when they change: all of them, or none if one is wrong.
    pub rule_files: Vec<String>,
    /// Seconds between evaluations of groups without an `interval` of their own.
    #[schemars(range(min = 0.1, max = 86_400.0))]
    pub evaluation_seconds: f64,
    /// Names of rule groups that are evaluated at once when a kernel event changes what they
    /// select, at most every 50 ms, besides their interval. Kernel events tell of retransmits,
    /// needless ones, failed connections and peers' windows that begin to shut. A rule in such a
    /// group that selects none of these, nor what an earlier rule of the group writes, is an error.
    pub immediate: Vec<String>,
    /// Longest look into the past that a rule may need, in seconds; one that needs more is refused.
    #[schemars(range(min = 60.0, max = 604_800.0))]
    pub window_seconds: f64,
    /// Bytes of the series that rules look at, windows included. What finds no room is refused and
    /// counted.
    #[schemars(range(min = 1_048_576, max = 17_179_869_184_u64))]
    pub store_bytes: u64,
    /// A rule that has all of these labels does not begin to fire while something of what it looks
    /// at was not seen: records or measurements were lost, a kernel map or the rules' store was
    /// full, or a probe does not run. Empty: no rule waits. Pages say it in any case, by the
    /// annotation `weir_incomplete`.
    pub complete_labels: BTreeMap<String, String>,
    /// Labels that every page carries unless it has one of that name: they tell this node's pages
    /// from others'. `job` and `instance`, if they are here, are also labels of every series that
    /// rules and queries see, as if a Prometheus had scraped it; without them series have neither. `up` is 1.
    pub external_labels: BTreeMap<String, String>,
    /// Where people reach this agent's HTTP endpoint; links in pages begin with it.
    pub external_url: String,
    /// Directory of the file with pages that wait and with the state of rules, so that neither is
    /// lost by a restart. Made if it is missing. Empty: kept in memory only.
    #[schemars(extend("x-restart" = true))]
    pub state_dir: PathBuf,
    /// Bytes of pages and states that are kept. What is over it is given up and counted: first
    /// resolved pages that everyone has, then whole alerts nobody heard of yet, the oldest first.
    /// The file may take four times as much.
    #[schemars(range(min = 65_536, max = 1_073_741_824), extend("x-restart" = true))]
    pub log_bytes: u64,
    /// Hours for which a page is kept for a receiver that does not take it; those in which the
    /// agent runs.
    #[schemars(range(min = 1, max = 8_760), extend("x-restart" = true))]
    pub log_hours: u32,
    /// Seconds after which an Alertmanager is told again what fires.
    #[schemars(range(min = 1.0, max = 3_600.0))]
    pub repeat_seconds: f64,
    /// Most queries by `/api/v1` at a time; more are answered 503.
    #[schemars(range(min = 1, max = 1_024), extend("x-restart" = true))]
    pub max_queries: u32,
    /// Seconds that a query by `/api/v1` may take.
    #[schemars(range(min = 0.1, max = 600.0), extend("x-restart" = true))]
    pub query_seconds: f64,
    /// Alertmanagers (0.16 or newer). Peers of a cluster belong into one entry: each gets
    /// everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alertmanager: Vec<Alertmanager>,
    /// Webhooks that take Alertmanager's payload, version 4.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhook: Vec<Webhook>,
    /// Programs on this node that get a webhook's payload on their standard input. They run as
    /// the agent does, without a shell, with no environment but `PATH`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<Command>,
}

impl Default for Alert {
    fn default() -> Self {
        Self {
            rule_files: Vec::new(),
            evaluation_seconds: 15.0,
            immediate: Vec::new(),
            window_seconds: 3_600.0,
            store_bytes: 32 << 20,
            complete_labels: BTreeMap::new(),
            external_labels: BTreeMap::new(),
            external_url: String::new(),
            state_dir: PathBuf::from("/var/lib/weir"),
            log_bytes: 8 << 20,
            log_hours: 72,
            repeat_seconds: 60.0,
            max_queries: 8,
            query_seconds: 10.0,
            alertmanager: Vec::new(),
            webhook: Vec::new(),
            command: Vec::new(),
        }
    }
}

impl Alert {
    /// Whether there are rules.
    pub fn is_enabled(&self) -> bool {
        !self.rule_files.is_empty()
    }

    /// The bounds of the query API.
    pub fn api_limits(&self) -> super::api::Limits {
        super::api::Limits {
            queries: self.max_queries as usize,
            timeout: Duration::from_secs_f64(self.query_seconds),
        }
    }

    /// The bounds of the log.
    pub fn log_limits(&self) -> Limits {
        Limits {
            bytes: usize::try_from(self.log_bytes).unwrap_or(usize::MAX),
            age_ms: i64::from(self.log_hours) * 3_600_000,
        }
    }
}
