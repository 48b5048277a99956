//! The table of metrics. One row each; METRICS.md is generated from it.

use super::{Kind, Metric, Unit};

/// `weir.tcp.send.duration`
pub static TCP_SEND_DURATION: Metric = Metric {
    name: "weir.tcp.send.duration",
    unit: Unit::Seconds,
    kind: Kind::TimeHistogram,
    help: "Time one application send into a TCP socket spent in the kernel's send routine, waits for buffer space included. What a rung does not see is in weir_probe_attached's documentation.",
    labels: &[],
    per_service: true,
};

/// `weir.tcp.delivery.duration`
pub static TCP_DELIVERY_DURATION: Metric = Metric {
    name: "weir.tcp.delivery.duration",
    unit: Unit::Seconds,
    kind: Kind::TimeHistogram,
    help: "Time from the return of a send to the ACK that covers its last byte, retransmissions included: what the peer waited. One sample in flight per socket; 0 if the ACK was there before the send returned.",
    labels: &[],
    per_service: true,
};

/// `weir.tcp.rtt`
pub static TCP_RTT: Metric = Metric {
    name: "weir.tcp.rtt",
    unit: Unit::Seconds,
    kind: Kind::TimeHistogram,
    help: "Smoothed round-trip time as the kernel keeps it, sampled at most every 100 ms per socket, when an ACK brought a new measurement.",
    labels: &[],
    per_service: true,
};

/// `weir.tcp.retransmits`
pub static TCP_RETRANSMITS: Metric = Metric {
    name: "weir.tcp.retransmits",
    unit: Unit::Count("segment"),
    kind: Kind::Counter,
    help: "Segments sent again, each once, by what made the kernel do so: rto (timeout), fast (recovery), tlp (tail loss probe), syn, synack. The sum is the kernel's RetransSegs, less what it failed to send on kernels before 6.18.",
    labels: &["kind"],
    per_service: true,
};

/// `weir.tcp.retransmits.spurious`
pub static TCP_RETRANSMITS_SPURIOUS: Metric = Metric {
    name: "weir.tcp.retransmits.spurious",
    unit: Unit::Count("segment"),
    kind: Kind::Counter,
    help: "Retransmitted segments that the kernel later found needless: reported by the peer's DSACK, or of an episode undone by timestamps or F-RTO.",
    labels: &[],
    per_service: true,
};

/// `weir.tcp.io`
pub static TCP_IO: Metric = Metric {
    name: "weir.tcp.io",
    unit: Unit::Bytes,
    kind: Kind::Counter,
    help: "Bytes that applications handed to TCP (transmit) or took from it (receive), as the kernel counts sequence space: a SYN or FIN counts one.",
    labels: &["direction"],
    per_service: true,
};

/// `weir.tcp.acked`
pub static TCP_ACKED: Metric = Metric {
    name: "weir.tcp.acked",
    unit: Unit::Bytes,
    kind: Kind::Counter,
    help: "Bytes that peers confirmed: the kernel's bytes_acked.",
    labels: &[],
    per_service: true,
};

/// `weir.tcp.send.queue`
pub static TCP_SEND_QUEUE: Metric = Metric {
    name: "weir.tcp.send.queue",
    unit: Unit::Bytes,
    kind: Kind::SizeHistogram,
    help: "Memory queued in the socket's send buffer (sk_wmem_queued) right after a send.",
    labels: &[],
    per_service: true,
};

/// `weir.tcp.sender.limited.time`
pub static TCP_LIMITED_TIME: Metric = Metric {
    name: "weir.tcp.sender.limited.time",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    help: "The kernel's sender clocks over all connections: time limited by the peer's receive_window, by the local send_buffer, and busy (data to send) without these two. Open intervals are included.",
    labels: &["limit"],
    per_service: true,
};

/// `weir.tcp.zero_window.time`
pub static TCP_ZERO_WINDOW_TIME: Metric = Metric {
    name: "weir.tcp.zero_window.time",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    help: "Time in which a connection had data to send, nothing in flight, and a peer's window too small for the next segment. Open intervals are included.",
    labels: &[],
    per_service: true,
};

/// `weir.tcp.connections`
pub static TCP_CONNECTIONS: Metric = Metric {
    name: "weir.tcp.connections",
    unit: Unit::Count("connection"),
    kind: Kind::Counter,
    help: "TCP connections by role (accepted, connected) and outcome: opened, closed after being open, or failed before (refused, timed_out, reset, unreachable, aborted by the application).",
    labels: &["role", "outcome"],
    per_service: true,
};

/// `weir.tcp.connections.open`
pub static TCP_OPEN: Metric = Metric {
    name: "weir.tcp.connections.open",
    unit: Unit::Count("connection"),
    kind: Kind::Gauge,
    help: "TCP connections that are open now, those from before the agent's start included.",
    labels: &[],
    per_service: true,
};

/// `weir.tcp.connection.duration`
pub static TCP_CONNECTION_DURATION: Metric = Metric {
    name: "weir.tcp.connection.duration",
    unit: Unit::Seconds,
    kind: Kind::TimeHistogram,
    help: "Life of a connection from established to closed, for those opened after the agent's start.",
    labels: &[],
    per_service: true,
};

/// `weir.sched.delay`
pub static SCHED_DELAY: Metric = Metric {
    name: "weir.sched.delay",
    unit: Unit::Seconds,
    kind: Kind::TimeHistogram,
    help: "Time a thread of the service was runnable but not running, each time it was scheduled.",
    labels: &[],
    per_service: true,
};

/// `weir.probe.attached`
pub static PROBE_ATTACHED: Metric = Metric {
    name: "weir.probe.attached",
    unit: Unit::Count("probe"),
    kind: Kind::Gauge,
    help: "1 if the probe runs on this rung, 0 if every rung of it failed.",
    labels: &["probe", "rung"],
    per_service: false,
};

/// `weir.probe.runs`
pub static PROBE_RUNS: Metric = Metric {
    name: "weir.probe.runs",
    unit: Unit::Count("run"),
    kind: Kind::Counter,
    help: "Runs of a kernel program, while the kernel's BPF statistics are on.",
    labels: &["probe"],
    per_service: false,
};

/// `weir.probe.run.time`
pub static PROBE_RUN_TIME: Metric = Metric {
    name: "weir.probe.run.time",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    help: "Time spent in a kernel program, while the kernel's BPF statistics are on.",
    labels: &["probe"],
    per_service: false,
};

/// `weir.probe.missed`
pub static PROBE_MISSED: Metric = Metric {
    name: "weir.probe.missed",
    unit: Unit::Count("run"),
    kind: Kind::Counter,
    help: "Runs of a kernel program that the kernel skipped to avoid recursion: facts that were not seen.",
    labels: &["probe"],
    per_service: false,
};

/// `weir.records.sent`
pub static RECORDS_SENT: Metric = Metric {
    name: "weir.records.sent",
    unit: Unit::Count("record"),
    kind: Kind::Counter,
    help: "Records that kernel programs handed to the ring or perf buffer, by kind: owner (a process that nobody knew yet), change (a rare fact that an immediate rule group waits for).",
    labels: &["kind"],
    per_service: false,
};

/// `weir.records.lost`
pub static RECORDS_LOST: Metric = Metric {
    name: "weir.records.lost",
    unit: Unit::Count("record"),
    kind: Kind::Counter,
    help: "Records that the ring or perf buffer refused because it was full. What they tell of is counted all the same; a refused change is found by the next periodic evaluation.",
    labels: &["kind"],
    per_service: false,
};

/// `weir.records.malformed`
pub static RECORDS_MALFORMED: Metric = Metric {
    name: "weir.records.malformed",
    unit: Unit::Count("record"),
    kind: Kind::Counter,
    help: "Records that the agent could not decode.",
    labels: &[],
    per_service: false,
};

/// `weir.samples.lost`
pub static SAMPLES_LOST: Metric = Metric {
    name: "weir.samples.lost",
    unit: Unit::Count("sample"),
    kind: Kind::Counter,
    help: "Measurements that were begun and could not be ended, by fact.",
    labels: &["fact"],
    per_service: false,
};

/// `weir.map.entries`
pub static MAP_ENTRIES: Metric = Metric {
    name: "weir.map.entries",
    unit: Unit::Count("entry"),
    kind: Kind::Gauge,
    help: "Entries in use in a kernel map.",
    labels: &["map"],
    per_service: false,
};

/// `weir.map.capacity`
pub static MAP_CAPACITY: Metric = Metric {
    name: "weir.map.capacity",
    unit: Unit::Count("entry"),
    kind: Kind::Gauge,
    help: "Entries that a kernel map can hold.",
    labels: &["map"],
    per_service: false,
};

/// `weir.map.insert.failures`
pub static MAP_INSERT_FAILURES: Metric = Metric {
    name: "weir.map.insert.failures",
    unit: Unit::Count("entry"),
    kind: Kind::Counter,
    help: "Entries that a kernel map refused because it was full: what they stand for is counted as other or not measured.",
    labels: &["map"],
    per_service: false,
};

/// `weir.map.memory`
pub static MAP_MEMORY: Metric = Metric {
    name: "weir.map.memory",
    unit: Unit::Bytes,
    kind: Kind::Gauge,
    help: "Memory of a kernel map as the kernel accounts it.",
    labels: &["map"],
    per_service: false,
};

/// `weir.reader.lag`
pub static READER_LAG: Metric = Metric {
    name: "weir.reader.lag",
    unit: Unit::Seconds,
    kind: Kind::Gauge,
    help: "Age of the oldest record when the agent last read records.",
    labels: &[],
    per_service: false,
};

/// `weir.series`
pub static SERIES: Metric = Metric {
    name: "weir.series",
    unit: Unit::Count("series"),
    kind: Kind::Gauge,
    help: "Points in this export.",
    labels: &[],
    per_service: false,
};

/// `weir.services`
pub static SERVICES: Metric = Metric {
    name: "weir.services",
    unit: Unit::Count("service"),
    kind: Kind::Gauge,
    help: "Services known now.",
    labels: &[],
    per_service: false,
};

/// `weir.services.folded`
pub static SERVICES_FOLDED: Metric = Metric {
    name: "weir.services.folded",
    unit: Unit::Count("service"),
    kind: Kind::Counter,
    help: "Services that found no place within the bound and were counted as other.",
    labels: &[],
    per_service: false,
};

/// `weir.overhead`
pub static OVERHEAD: Metric = Metric {
    name: "weir.overhead",
    unit: Unit::Ratio,
    kind: Kind::Gauge,
    help: "Share of one core spent in Weir's kernel programs since the last look, while the kernel's BPF statistics are on.",
    labels: &[],
    per_service: false,
};

/// `weir.shed.level`
pub static SHED_LEVEL: Metric = Metric {
    name: "weir.shed.level",
    unit: Unit::Count("level"),
    kind: Kind::Gauge,
    help: "How many optional probes are switched off to keep within the overhead budget.",
    labels: &[],
    per_service: false,
};

/// `weir.agent.cpu.time`
pub static AGENT_CPU_TIME: Metric = Metric {
    name: "weir.agent.cpu.time",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    help: "Processor time of the agent process, user and system.",
    labels: &[],
    per_service: false,
};

/// `weir.agent.memory`
pub static AGENT_MEMORY: Metric = Metric {
    name: "weir.agent.memory",
    unit: Unit::Bytes,
    kind: Kind::Gauge,
    help: "Resident memory of the agent process.",
    labels: &[],
    per_service: false,
};

/// `weir.agent.start.time`
pub static AGENT_START_TIME: Metric = Metric {
    name: "weir.agent.start.time",
    unit: Unit::Seconds,
    kind: Kind::Gauge,
    help: "When the agent started, seconds since the Unix epoch.",
    labels: &[],
    per_service: false,
};

/// `weir.build.info`
pub static BUILD_INFO: Metric = Metric {
    name: "weir.build.info",
    unit: Unit::Count("build"),
    kind: Kind::Gauge,
    help: "Always 1; the labels tell the agent's version and the running kernel.",
    labels: &[],
    per_service: false,
};

/// `weir.scrapes`
pub static SCRAPES: Metric = Metric {
    name: "weir.scrapes",
    unit: Unit::Count("scrape"),
    kind: Kind::Counter,
    help: "Scrapes by outcome: answered or refused.",
    labels: &["outcome"],
    per_service: false,
};

/// `weir.scrape.time`
pub static SCRAPE_TIME: Metric = Metric {
    name: "weir.scrape.time",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    help: "Time spent on answering scrapes.",
    labels: &[],
    per_service: false,
};

/// `weir.otlp.requests`
pub static OTLP_REQUESTS: Metric = Metric {
    name: "weir.otlp.requests",
    unit: Unit::Count("request"),
    kind: Kind::Counter,
    help: "OTLP export requests by outcome of each try: sent or failed.",
    labels: &["outcome"],
    per_service: false,
};

/// `weir.otlp.points`
pub static OTLP_POINTS: Metric = Metric {
    name: "weir.otlp.points",
    unit: Unit::Count("point"),
    kind: Kind::Counter,
    help: "Points by OTLP: sent (accepted by the receiver) or dropped (given up).",
    labels: &["outcome"],
    per_service: false,
};

/// `weir.otlp.time`
pub static OTLP_TIME: Metric = Metric {
    name: "weir.otlp.time",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    help: "Processor time spent on encoding and compressing for OTLP.",
    labels: &[],
    per_service: false,
};

/// `weir.otlp.queue`
pub static OTLP_QUEUE: Metric = Metric {
    name: "weir.otlp.queue",
    unit: Unit::Count("request"),
    kind: Kind::Gauge,
    help: "OTLP requests that wait to be sent.",
    labels: &[],
    per_service: false,
};

/// `weir.config.reloads`
pub static CONFIG_RELOADS: Metric = Metric {
    name: "weir.config.reloads",
    unit: Unit::Count("reload"),
    kind: Kind::Counter,
    help: "Reloads of the configuration by outcome: applied or refused.",
    labels: &["outcome"],
    per_service: false,
};

/// `weir.alert.transitions`
pub static ALERT_TRANSITIONS: Metric = Metric {
    name: "weir.alert.transitions",
    unit: Unit::Count("alert"),
    kind: Kind::Counter,
    help: "Alerts that fired or were resolved, as they entered the log.",
    labels: &[],
    per_service: false,
};

/// `weir.alert.pages`
pub static ALERT_PAGES: Metric = Metric {
    name: "weir.alert.pages",
    unit: Unit::Count("page"),
    kind: Kind::Counter,
    help: "Pages by receiver and outcome: delivered, repeated (Alertmanager is reminded of what fires), or refused for good and given up.",
    labels: &["outcome", "receiver"],
    per_service: false,
};

/// `weir.alert.requests`
pub static ALERT_REQUESTS: Metric = Metric {
    name: "weir.alert.requests",
    unit: Unit::Count("request"),
    kind: Kind::Counter,
    help: "Tries to deliver pages by receiver and outcome: sent or failed. What failed and may pass is tried again.",
    labels: &["outcome", "receiver"],
    per_service: false,
};

/// `weir.alert.delay`
pub static ALERT_DELAY: Metric = Metric {
    name: "weir.alert.delay",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    help: "Time between the evaluation and the delivery, summed over delivered pages.",
    labels: &["receiver"],
    per_service: false,
};

/// `weir.alert.failing`
pub static ALERT_FAILING: Metric = Metric {
    name: "weir.alert.failing",
    unit: Unit::Count("receiver"),
    kind: Kind::Gauge,
    help: "1 if the last try to deliver to this receiver failed.",
    labels: &["receiver"],
    per_service: false,
};

/// `weir.alert.waiting`
pub static ALERT_WAITING: Metric = Metric {
    name: "weir.alert.waiting",
    unit: Unit::Count("page"),
    kind: Kind::Gauge,
    help: "Pages in the log that at least one receiver does not have yet.",
    labels: &[],
    per_service: false,
};

/// `weir.alert.dropped`
pub static ALERT_DROPPED: Metric = Metric {
    name: "weir.alert.dropped",
    unit: Unit::Count("page"),
    kind: Kind::Counter,
    help: "Pages given up before a receiver had them, once for each such receiver, by reason: full (the log) or old.",
    labels: &["reason"],
    per_service: false,
};

/// `weir.alert.log.size`
pub static ALERT_LOG_SIZE: Metric = Metric {
    name: "weir.alert.log.size",
    unit: Unit::Bytes,
    kind: Kind::Gauge,
    help: "Pages and states of rules that the log holds.",
    labels: &[],
    per_service: false,
};

/// `weir.alert.log.durable`
pub static ALERT_LOG_DURABLE: Metric = Metric {
    name: "weir.alert.log.durable",
    unit: Unit::Count("log"),
    kind: Kind::Gauge,
    help: "1 if what enters the log survives a crash; 0 while there is no place to write, or none is configured.",
    labels: &[],
    per_service: false,
};

/// `weir.alert.log.failures`
pub static ALERT_LOG_FAILURES: Metric = Metric {
    name: "weir.alert.log.failures",
    unit: Unit::Count("failure"),
    kind: Kind::Counter,
    help: "Troubles of the log by kind: write (failed, tried again), corrupt (a file or record that could not be read), state (a rule that does not fit), released (a delivered page that is repeated no more, to make room).",
    labels: &["kind"],
    per_service: false,
};

/// `weir.rules`
pub static RULES: Metric = Metric {
    name: "weir.rules",
    unit: Unit::Count("rule"),
    kind: Kind::Gauge,
    help: "Rules at work by kind: alerting or recording.",
    labels: &["kind"],
    per_service: false,
};

/// `weir.rule.failing`
pub static RULE_FAILING: Metric = Metric {
    name: "weir.rule.failing",
    unit: Unit::Count("rule"),
    kind: Kind::Gauge,
    help: "Rules whose last evaluation failed or left something out; /api/v1/rules says why.",
    labels: &[],
    per_service: false,
};

/// `weir.rule.evaluations`
pub static RULE_EVALUATIONS: Metric = Metric {
    name: "weir.rule.evaluations",
    unit: Unit::Count("evaluation"),
    kind: Kind::Counter,
    help: "Evaluations of rules: done (all), failed (of these), and template: labels or annotations that could not be expanded.",
    labels: &["outcome"],
    per_service: false,
};

/// `weir.rule.evaluation.time`
pub static RULE_EVALUATION_TIME: Metric = Metric {
    name: "weir.rule.evaluation.time",
    unit: Unit::Seconds,
    kind: Kind::Counter,
    help: "Time spent on evaluating rule groups.",
    labels: &[],
    per_service: false,
};

/// `weir.rule.missed`
pub static RULE_MISSED: Metric = Metric {
    name: "weir.rule.missed",
    unit: Unit::Count("evaluation"),
    kind: Kind::Counter,
    help: "Evaluations of groups that were left out because an earlier one took too long or the machine stood still.",
    labels: &[],
    per_service: false,
};

/// `weir.rule.reactions`
pub static RULE_REACTIONS: Metric = Metric {
    name: "weir.rule.reactions",
    unit: Unit::Count("evaluation"),
    kind: Kind::Counter,
    help: "Evaluations of immediate rule groups because of kernel events, by outcome: at_once, late (it had to wait until 50 ms after the last one of the group, or for another evaluation; events meanwhile are one).",
    labels: &["outcome"],
    per_service: false,
};

/// `weir.rule.alerts`
pub static RULE_ALERTS: Metric = Metric {
    name: "weir.rule.alerts",
    unit: Unit::Count("alert"),
    kind: Kind::Gauge,
    help: "Alerts by state: pending or firing.",
    labels: &["state"],
    per_service: false,
};

/// `weir.rule.series`
pub static RULE_SERIES: Metric = Metric {
    name: "weir.rule.series",
    unit: Unit::Count("series"),
    kind: Kind::Gauge,
    help: "Series that are kept because rules select them.",
    labels: &[],
    per_service: false,
};

/// `weir.rule.samples`
pub static RULE_SAMPLES: Metric = Metric {
    name: "weir.rule.samples",
    unit: Unit::Count("sample"),
    kind: Kind::Gauge,
    help: "Samples kept in the windows that rules look at.",
    labels: &[],
    per_service: false,
};

/// `weir.rule.store.size`
pub static RULE_STORE_SIZE: Metric = Metric {
    name: "weir.rule.store.size",
    unit: Unit::Bytes,
    kind: Kind::Gauge,
    help: "Memory of the series that rules select, as the store counts it.",
    labels: &[],
    per_service: false,
};

/// `weir.rule.refused`
pub static RULE_REFUSED: Metric = Metric {
    name: "weir.rule.refused",
    unit: Unit::Count("sample"),
    kind: Kind::Counter,
    help: "Samples that rules did not get, by reason: full (a limit), bad (not newer than the last one), event (a change that waits for the next periodic evaluation because too many came at once).",
    labels: &["reason"],
    per_service: false,
};

/// `weir.rule.reloads`
pub static RULE_RELOADS: Metric = Metric {
    name: "weir.rule.reloads",
    unit: Unit::Count("reload"),
    kind: Kind::Counter,
    help: "Reads of the rule files by outcome: applied, or refused as a whole.",
    labels: &["outcome"],
    per_service: false,
};

/// `weir.rule.current`
pub static RULE_CURRENT: Metric = Metric {
    name: "weir.rule.current",
    unit: Unit::Count("set"),
    kind: Kind::Gauge,
    help: "1 if the rules at work are those of the files as last read; 0 if that reading was refused.",
    labels: &[],
    per_service: false,
};

/// `weir.rule.loaded.time`
pub static RULE_LOADED: Metric = Metric {
    name: "weir.rule.loaded.time",
    unit: Unit::Seconds,
    kind: Kind::Gauge,
    help: "When the rules at work were read, seconds since the Unix epoch.",
    labels: &[],
    per_service: false,
};

/// Every metric, in the order of export.
pub static ALL: &[&Metric] = &[
    &TCP_SEND_DURATION,
    &TCP_DELIVERY_DURATION,
    &TCP_RTT,
    &TCP_RETRANSMITS,
    &TCP_RETRANSMITS_SPURIOUS,
    &TCP_IO,
    &TCP_ACKED,
    &TCP_SEND_QUEUE,
    &TCP_LIMITED_TIME,
    &TCP_ZERO_WINDOW_TIME,
    &TCP_CONNECTIONS,
    &TCP_OPEN,
    &TCP_CONNECTION_DURATION,
    &SCHED_DELAY,
    &PROBE_ATTACHED,
    &PROBE_RUNS,
    &PROBE_RUN_TIME,
    &PROBE_MISSED,
    &RECORDS_SENT,
    &RECORDS_LOST,
    &RECORDS_MALFORMED,
    &SAMPLES_LOST,
    &MAP_ENTRIES,
    &MAP_CAPACITY,
    &MAP_INSERT_FAILURES,
    &MAP_MEMORY,
    &READER_LAG,
    &SERIES,
    &SERVICES,
    &SERVICES_FOLDED,
    &OVERHEAD,
    &SHED_LEVEL,
    &AGENT_CPU_TIME,
    &AGENT_MEMORY,
    &AGENT_START_TIME,
    &BUILD_INFO,
    &SCRAPES,
    &SCRAPE_TIME,
    &OTLP_REQUESTS,
    &OTLP_POINTS,
    &OTLP_TIME,
    &OTLP_QUEUE,
    &CONFIG_RELOADS,
    &ALERT_TRANSITIONS,
    &ALERT_PAGES,
    &ALERT_REQUESTS,
    &ALERT_DELAY,
    &ALERT_FAILING,
    &ALERT_WAITING,
    &ALERT_DROPPED,
    &ALERT_LOG_SIZE,
    &ALERT_LOG_DURABLE,
    &ALERT_LOG_FAILURES,
    &RULES,
    &RULE_FAILING,
    &RULE_EVALUATIONS,
    &RULE_EVALUATION_TIME,
    &RULE_MISSED,
    &RULE_REACTIONS,
    &RULE_ALERTS,
    &RULE_SERIES,
    &RULE_SAMPLES,
    &RULE_STORE_SIZE,
    &RULE_REFUSED,
    &RULE_RELOADS,
    &RULE_CURRENT,
    &RULE_LOADED,
];
