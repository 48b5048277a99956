//! `[chat]`: every bound and policy, with defaults that work.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outbox::{Bound, SlowConsumer};

/// `[chat]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where to listen; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// Least time between two batches of a room; the first message after a pause does not wait.
    pub(crate) tick_ms: u64,
    /// Most items in one frame.
    pub(crate) batch_items: usize,
    /// Most bytes of items in one frame.
    pub(crate) batch_bytes: usize,
    /// Most items of a room that wait for its next batch; more are refused as `overloaded`.
    pub(crate) pending_items: usize,
    /// Most frames that wait for one consumer; several small ones that go out together are one.
    pub(crate) queue_frames: usize,
    /// Most bytes that wait for one consumer, besides the kernel's `send_buffer_bytes`.
    pub(crate) queue_bytes: usize,
    /// What happens to a consumer whose queue is full.
    pub(crate) slow_consumer: SlowConsumer,
    /// The kernel's buffer of one connection (`SO_SNDBUF`), which bounds what a stuck consumer
    /// costs there. 0: the kernel's choice, up to megabytes.
    pub(crate) send_buffer_bytes: u32,
    /// Largest message of a client.
    pub(crate) message_bytes: u32,
    /// Longest `text`.
    pub(crate) text_bytes: usize,
    /// Most items sent after a resume.
    pub(crate) replay: usize,
    /// Items of a room kept in memory for resumes.
    pub(crate) recent_items: usize,
    /// Bytes of a room kept in memory for resumes.
    pub(crate) recent_bytes: usize,
    /// WebSocket connections; more are answered 503.
    pub(crate) max_connections: usize,
    /// Connections not (yet) upgraded; more wait in the listen queue. Those that say nothing give
    /// way to others after a second.
    pub(crate) max_http: usize,
    /// Rooms in memory.
    pub(crate) max_rooms: usize,
    /// An empty room leaves memory after this.
    pub(crate) room_idle_s: u64,
    /// Messages per second of one connection, and how many at once.
    pub(crate) connection_rate: Rate,
    /// Messages per second of one room, and how many at once.
    pub(crate) room_rate: Rate,
    /// A connection silent for so long is pinged.
    pub(crate) ping_s: u32,
    /// A connection silent for so long is closed as half open.
    pub(crate) silent_s: u32,
    /// Least time between two tallies of a room.
    pub(crate) tally_ms: u64,
    /// Gifts, polls, and options of a poll that a room keeps apart.
    pub(crate) kinds: usize,
    /// What happens to mail addresses, telephone and card numbers in texts.
    pub(crate) personal: Personal,
    /// Which messages get an audit line in the log.
    pub(crate) audit: Audit,
    /// Most audit lines a second; more are counted.
    pub(crate) audit_rate: Rate,
    /// Where items are kept.
    pub(crate) storage: Storage,
    pub(crate) fjall: Fjall,
    pub(crate) redis: Redis,
}

/// So many a second, so many at once; both at least 1.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    pub(crate) per_s: u32,
    pub(crate) burst: u32,
}

/// What happens to personal data in texts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Personal {
    Keep,
    /// Replaced by stars.
    #[default]
    Mask,
    /// The message is refused.
    Refuse,
}

/// Which messages get an audit line.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Audit {
    Off,
    /// Those masked or refused for personal data.
    #[default]
    Violations,
    All,
}

/// Where items are kept.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Storage {
    /// Only what `recent_items` allows; gone with the process.
    Memory,
    /// An embedded log on disk, for one process.
    #[default]
    Fjall,
    /// Redis Streams, shared by any number of processes.
    Redis,
}

/// `[chat.fjall]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Fjall {
    /// Folder of the log. Empty: a temporary one that goes with the process.
    pub(crate) dir: PathBuf,
    /// Items kept of each room.
    pub(crate) retain: u64,
    /// Items that wait for the disk; more are not stored, and counted.
    pub(crate) buffer_items: usize,
    /// Rooms kept on disk; the longest unused goes first.
    pub(crate) max_rooms: usize,
}

/// `[chat.redis]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Redis {
    /// `redis://HOST:PORT`, or `unix:///PATH`.
    pub(crate) url: String,
    /// Begins every key.
    pub(crate) prefix: String,
    /// Consumer group of this process: one for each process, the same after its restart.
    pub(crate) gateway: String,
    /// Items kept of each room (`MAXLEN ~`).
    pub(crate) retain: u64,
    /// Items that wait for Redis; beyond, the oldest are lost, and counted.
    pub(crate) buffer_items: usize,
    /// Items in one call.
    pub(crate) batch_items: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9482)),
            tick_ms: 40,
            batch_items: 512,
            batch_bytes: 64 * 1024,
            pending_items: 8192,
            queue_frames: 256,
            queue_bytes: 256 * 1024,
            slow_consumer: SlowConsumer::default(),
            send_buffer_bytes: 64 * 1024,
            message_bytes: 4096,
            text_bytes: 1000,
            replay: 500,
            recent_items: 1000,
            recent_bytes: 512 * 1024,
            max_connections: 16_000,
            max_http: 1024,
            max_rooms: 10_000,
            room_idle_s: 300,
            connection_rate: Rate {
                per_s: 10,
                burst: 20,
            },
            room_rate: Rate {
                per_s: 20_000,
                burst: 20_000,
            },
            ping_s: 25,
            silent_s: 60,
            tally_ms: 1000,
            kinds: 100,
            personal: Personal::default(),
            audit: Audit::default(),
            audit_rate: Rate {
                per_s: 200,
                burst: 1000,
            },
            storage: Storage::default(),
            fjall: Fjall::default(),
            redis: Redis::default(),
        }
    }
}

impl Default for Fjall {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            retain: 10_000,
            buffer_items: 65_536,
            max_rooms: 10_000,
        }
    }
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            prefix: "chat".into(),
            gateway: "gateway-1".into(),
            retain: 10_000,
            buffer_items: 65_536,
            batch_items: 512,
        }
    }
}

impl Config {
    /// Refuses what cannot work; the error names the key.
    pub(crate) fn check(&self) -> Result<()> {
        for (key, value) in [
            ("batch_items", self.batch_items),
            ("batch_bytes", self.batch_bytes),
            ("pending_items", self.pending_items),
            ("queue_frames", self.queue_frames),
            ("queue_bytes", self.queue_bytes),
            ("recent_items", self.recent_items),
            ("max_connections", self.max_connections),
            ("max_http", self.max_http),
            ("max_rooms", self.max_rooms),
            ("fjall.buffer_items", self.fjall.buffer_items),
            ("fjall.max_rooms", self.fjall.max_rooms),
            ("redis.buffer_items", self.redis.buffer_items),
            ("redis.batch_items", self.redis.batch_items),
        ] {
            ensure!(value > 0, "[chat] {key} is 0: it must be at least 1");
        }
        for (key, rate) in [
            ("connection_rate", self.connection_rate),
            ("room_rate", self.room_rate),
            ("audit_rate", self.audit_rate),
        ] {
            ensure!(
                rate.per_s > 0 && rate.burst > 0,
                "[chat] {key}: per_s and burst must be at least 1"
            );
        }
        ensure!(
            self.silent_s > self.ping_s,
            "[chat] silent_s ({}) must be above ping_s ({})",
            self.silent_s,
            self.ping_s
        );
        ensure!(
            self.message_bytes >= 128,
            "[chat] message_bytes is {}: no message fits, it must be at least 128",
            self.message_bytes
        );
        ensure!(
            self.tally_ms >= 10,
            "[chat] tally_ms is {}: it must be at least 10",
            self.tally_ms
        );
        let (retain, batch) = (self.redis.retain, self.redis.batch_items as u64);
        ensure!(
            retain >= 4 * batch,
            "[chat] redis.retain is {retain}: below 4 times redis.batch_items ({batch}) readers would miss what is trimmed"
        );
        ensure!(
            super::protocol::is_name(&self.redis.gateway),
            "[chat] redis.gateway {:?} must be 1 to 64 of A-Z a-z 0-9 _ -",
            self.redis.gateway
        );
        Ok(())
    }

    /// Bounds of one consumer's queue.
    pub(crate) fn bound(&self) -> Bound {
        Bound {
            frames: self.queue_frames,
            bytes: self.queue_bytes,
            policy: self.slow_consumer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_and_a_zero_is_refused_by_name() {
        Config::default().check().unwrap();
        let error = Config {
            queue_frames: 0,
            ..Config::default()
        }
        .check()
        .unwrap_err();
        assert!(error.to_string().contains("queue_frames"), "{error}");
        let error = Config {
            ping_s: 60,
            ..Config::default()
        }
        .check()
        .unwrap_err();
        assert!(error.to_string().contains("silent_s"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = toml::from_str::<Config>("slow_consumers = \"disconnect\"").unwrap_err();
        assert!(error.to_string().contains("slow_consumers"), "{error}");
    }
}
