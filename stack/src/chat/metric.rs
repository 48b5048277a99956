//! Every metric of the service, resolved once: counting is an atomic addition.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::frame::Violation;
use super::protocol::Refusal;
use crate::daemon::{Health, Table};

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
#[derive(Debug)]
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
    delay: Histogram,
    /// Time of the newest storage failure that was logged, in milliseconds since the start.
    pub(crate) storage_logged_ms: AtomicU64,
}

impl Metrics {
    /// Those of the chat.
    pub(crate) fn new(table: &mut Table) -> Self {
        Self {
            health: Health::default(),
            connections: table.add("chat_connections", "Open WebSocket connections"),
            rooms: table.add("chat_rooms", "Rooms in memory"),
            accepted: table.add("chat_accepted", "WebSocket connections ever taken"),
            taken: table.add("chat_messages_in", "Messages taken from clients"),
            delivered: table.add("chat_messages_out", "Items handed to the kernel, counted for each consumer"),
            frames: table.add("chat_frames_out", "Frames, or several small ones joined, handed to the kernel whole at once"),
            bytes_out: table.bytes("chat_out", "Bytes handed to the kernel"),
            queued_bytes: table.bytes("chat_queued", "Bytes that wait for slow consumers"),
            masked: table.add("chat_masked", "Texts with personal data masked"),
            audit_suppressed: table.add("chat_audit_suppressed", "Audit lines above audit_rate"),
            stored: table.add("chat_stored", "Items written to the log"),
            storage_queue: table.add("chat_storage_queue", "Items that wait for the log"),
            storage_lost: table.add("chat_storage_lost", "Items that the log did not get, or may have lost with a failed write or sync"),
            dropped_frames: table.add("chat_dropped_frames", "Frames, or several small ones joined, dropped from full queues"),
            dropped_items: table.by(&["reason"], "chat_dropped_items", "Items that a consumer did not get, by reason"),
            refused: table.by(&["reason"], "chat_refused", "Messages refused, by reason"),
            closed: table.by(&["reason"], "chat_closed", "WebSocket connections ended, by reason"),
            violations: table.by(&["kind"], "chat_violations", "Broken frames, by kind"),
            not_accepted: table.by(&["reason"], "chat_not_accepted", "Connections not taken, by reason"),
            storage_failures: table.by(&["operation"], "chat_storage_failures", "Failed operations of the log, by operation"),
            delay: table.seconds("chat_publish_to_deliver", "From taking a batch's oldest message to having handed it to the last consumer of a lane that did not block", Histogram::new(SECONDS)),
            storage_logged_ms: AtomicU64::new(0),
        }
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

    /// A connection not taken: `full`, `accept` (an error of the system call), `handshake`,
    /// `crowded` (it said nothing while others waited for its place).
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
        self.delay.observe(seconds);
    }
}
