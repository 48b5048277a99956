//! Every metric of the service, resolved once: counting is an atomic addition.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::frame::Violation;
use super::protocol::Refusal;
use crate::daemon::Health;

/// Counters told apart by one label, `reason`.
pub(crate) type Reasons = Family<[(&'static str, &'static str); 1], Counter>;

/// 1 ms to 4 s: the bound of 87 ms lies inside a narrow bucket.
const SECONDS: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.087, 0.12, 0.25, 0.5, 1.0, 4.0,
];

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Ended {
    /// By the client, with a close frame or without.
    Client = 1,
    /// The network said so.
    Reset,
    SlowConsumer,
    /// Nothing heard for `silent_s`.
    Silent,
    Violation,
    /// Too many malformed messages.
    Abuse,
    ServerStops,
}

impl Ended {
    const ALL: [Self; 7] = [
        Self::Client,
        Self::Reset,
        Self::SlowConsumer,
        Self::Silent,
        Self::Violation,
        Self::Abuse,
        Self::ServerStops,
    ];

    /// The reason with this number.
    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|ended| *ended as u8 == number)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Reset => "reset",
            Self::SlowConsumer => "slow_consumer",
            Self::Silent => "silent",
            Self::Violation => "violation",
            Self::Abuse => "abuse",
            Self::ServerStops => "server_stops",
        }
    }
}

/// All of them. Counts that exist once are fields; rare ones are looked up by label.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// What `/healthz` says.
    pub(crate) health: Health,
    pub(crate) connections: Gauge,
    pub(crate) rooms: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) taken: Counter,
    pub(crate) delivered: Counter,
    pub(crate) frames: Counter,
    pub(crate) bytes_out: Counter,
    pub(crate) queued_bytes: Gauge,
    pub(crate) masked: Counter,
    pub(crate) audit_suppressed: Counter,
    pub(crate) stored: Counter,
    pub(crate) storage_queue: Gauge,
    pub(crate) storage_lost: Counter,
    pub(crate) dropped_frames: Counter,
    dropped_items: Reasons,
    refused: Reasons,
    closed: Reasons,
    violations: Reasons,
    not_accepted: Reasons,
    storage_failures: Family<[(&'static str, &'static str); 1], Counter>,
    delay: Option<Histogram>,
    /// Time of the newest storage failure that was logged, in milliseconds since the start.
    pub(crate) storage_logged_ms: AtomicU64,
}

impl Metrics {
    /// All, and the registry that they are in, under `chat_`.
    pub(crate) fn new() -> (Self, Registry) {
        let mut registry = Registry::with_prefix("chat");
        let delay = Histogram::new(SECONDS);
        let new = Self {
            delay: Some(delay.clone()),
            ..Self::default()
        };
        registry.register(
            "connections",
            "Open WebSocket connections",
            new.connections.clone(),
        );
        registry.register("rooms", "Rooms in memory", new.rooms.clone());
        registry.register(
            "accepted",
            "WebSocket connections ever taken",
            new.accepted.clone(),
        );
        registry.register(
            "not_accepted",
            "Connections not taken, by reason",
            new.not_accepted.clone(),
        );
        registry.register(
            "closed",
            "WebSocket connections ended, by reason",
            new.closed.clone(),
        );
        registry.register(
            "violations",
            "Broken frames, by kind",
            new.violations.clone(),
        );
        registry.register(
            "messages_in",
            "Messages taken from clients",
            new.taken.clone(),
        );
        registry.register(
            "refused",
            "Messages refused, by reason",
            new.refused.clone(),
        );
        registry.register(
            "messages_out",
            "Items handed to the kernel, counted for each consumer",
            new.delivered.clone(),
        );
        registry.register(
            "frames_out",
            "Frames, or several small ones joined, handed to the kernel whole at once",
            new.frames.clone(),
        );
        registry.register_with_unit(
            "out",
            "Bytes handed to the kernel",
            Unit::Bytes,
            new.bytes_out.clone(),
        );
        registry.register(
            "dropped_items",
            "Items that a consumer did not get, by reason",
            new.dropped_items.clone(),
        );
        registry.register(
            "dropped_frames",
            "Frames, or several small ones joined, dropped from full queues",
            new.dropped_frames.clone(),
        );
        registry.register_with_unit(
            "queued",
            "Bytes that wait for slow consumers",
            Unit::Bytes,
            new.queued_bytes.clone(),
        );
        registry.register_with_unit(
            "publish_to_deliver",
            "From taking a batch's oldest message to having handed it to the last consumer of a lane that did not block",
            Unit::Seconds,
            delay,
        );
        registry.register(
            "masked",
            "Texts with personal data masked",
            new.masked.clone(),
        );
        registry.register(
            "audit_suppressed",
            "Audit lines above audit_rate",
            new.audit_suppressed.clone(),
        );
        registry.register("stored", "Items written to the log", new.stored.clone());
        registry.register(
            "storage_queue",
            "Items that wait for the log",
            new.storage_queue.clone(),
        );
        registry.register(
            "storage_lost",
            "Items that the log did not get",
            new.storage_lost.clone(),
        );
        registry.register(
            "storage_failures",
            "Failed operations of the log, by operation",
            new.storage_failures.clone(),
        );
        (new, registry)
    }

    pub(crate) fn ended(&self, ended: Ended) {
        self.closed
            .get_or_create(&[("reason", ended.label())])
            .inc();
    }

    pub(crate) fn refuse(&self, refusal: Refusal) {
        let reason = match refusal {
            Refusal::Malformed => "malformed",
            Refusal::BadField => "bad_field",
            Refusal::RateLimited => "rate_limited",
            Refusal::RoomRateLimited => "room_rate_limited",
            Refusal::Overloaded => "overloaded",
            Refusal::TooManyKinds => "too_many_kinds",
            Refusal::Personal => "personal",
        };
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn violate(&self, violation: Violation) {
        let kind = match violation {
            Violation::Header => "header",
            Violation::Unmasked => "unmasked",
            Violation::Order => "order",
            Violation::Binary => "binary",
            Violation::NotUtf8 => "not_utf8",
            Violation::TooLarge => "too_large",
        };
        self.violations.get_or_create(&[("kind", kind)]).inc();
    }

    /// Items a consumer did not get: `slow_consumer` (dropped), `closed` (with its connection).
    pub(crate) fn drop_items(&self, reason: &'static str, items: u32) {
        if items > 0 {
            self.dropped_items
                .get_or_create(&[("reason", reason)])
                .inc_by(u64::from(items));
        }
    }

    /// A connection not taken: `full`, `accept` (an error of the system call), `handshake`.
    pub(crate) fn not_accept(&self, reason: &'static str) {
        self.not_accepted.get_or_create(&[("reason", reason)]).inc();
    }

    /// Items that the log has taken, which therefore works.
    pub(crate) fn store(&self, items: u64) {
        self.stored.inc_by(items);
        self.health.mend("append");
    }

    pub(crate) fn storage_fail(&self, operation: &'static str) {
        self.storage_failures
            .get_or_create(&[("operation", operation)])
            .inc();
    }

    /// Seconds from publish to deliver of one batch.
    pub(crate) fn delay(&self, seconds: f64) {
        if let Some(delay) = &self.delay {
            delay.observe(seconds);
        }
    }
}
