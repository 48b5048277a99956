//! The kinds of line in the truth. A field's doc comment is its documentation for readers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happened; `kind` in the line is the variant's name in snake case.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Event {
    /// First line of a file: who wrote it and with what seed.
    Run {
        /// See [`super::SCHEMA`].
        schema: u32,
        /// `crowd`, `link`, `scenario`.
        writer: &'static str,
        /// Seed of all that is random.
        seed: u64,
        /// Scene or scenario.
        name: String,
    },
    /// A session begins: the user arrives and the first connection is about to be made.
    Start {
        /// Which sort of user.
        role: Role,
        /// `crowd` (our model) or `chromium` (a real browser with hls.js).
        client: &'static str,
        /// What it opens.
        url: String,
        /// By how much later than planned it began.
        late_ms: f64,
    },
    /// A connection stands; local and remote address as the client sees them.
    Connect {
        /// Local `address:port`.
        local: String,
        /// Remote `address:port`.
        remote: String,
    },
    /// First frame plays. Players only.
    Startup {
        /// From asking for the multivariant playlist. For models that is at `start`; in Chromium
        /// (`client` is `chromium`) a page loads and compiles the player in between.
        ms: f64,
        /// Behind the newest media that the playlist offered then; absent for recorded media.
        latency_s: Option<f64>,
        /// Playback height chosen: bits per second of the rung.
        rung_bps: u64,
    },
    /// The playhead reached the end of contiguous buffered media.
    StallBegin {
        /// Media time of the playhead.
        playhead_s: f64,
        /// What the player was waiting for.
        waiting_for: WaitingFor,
    },
    /// Playback goes on, or the session ended while it stalled.
    StallEnd {
        /// Since `stall_begin`.
        duration_ms: f64,
        /// Media time of the playhead.
        playhead_s: f64,
        /// False where the user left, sought or paused before it went on.
        recovered: bool,
    },
    /// The first object of another rung was requested.
    Switch {
        /// Rung before.
        from_bps: u64,
        /// Rung now.
        to_bps: u64,
    },
    /// Once a second for each playing session: where playback stands.
    Level {
        /// Contiguous media ahead of the playhead.
        buffer_s: f64,
        /// Media time of the playhead.
        playhead_s: f64,
        /// Behind the live edge; absent for recorded media and before the first playlist.
        latency_s: Option<f64>,
        /// Body bytes received since the last such line.
        bytes: u64,
        /// What the player believes the network carries.
        estimate_bps: u64,
    },
    /// A low-latency part at the live edge came later, by more than its own duration, than the
    /// session's quickest part would make it expected.
    LatePart {
        /// Media sequence number of its segment.
        segment: u64,
        /// Place in the segment, from 0.
        part: u32,
        /// By how much.
        late_ms: f64,
    },
    /// Messages were handed to the socket. Chat users and gamers.
    Sent {
        /// The sender's own number of the last of them, from 0.
        id: u64,
        /// How many; more than one only for inputs, where a line tells of a second's worth.
        messages: u64,
        /// Payloads.
        bytes: u64,
        /// `message`, `vote`, `gift`, `input`, `ticket`.
        what: &'static str,
    },
    /// Messages that came since the last such line of this session and sort, at most a second's
    /// worth. Latencies: of a chat message from its being sent to its being read, on one host; of a
    /// snapshot from the oldest input that it is the first to contain; of an assignment from the
    /// ticket.
    Received {
        /// `message`, `vote`, `gift`, `snapshot`, `assignment`.
        what: &'static str,
        /// How many.
        messages: u64,
        /// Payloads.
        bytes: u64,
        /// Smallest latency; absent where the message does not tell when it was sent.
        min_ms: Option<f64>,
        /// Mean latency.
        mean_ms: Option<f64>,
        /// Largest latency.
        max_ms: Option<f64>,
    },
    /// Nothing came on a steady stream for longer than three of its intervals. Gamers.
    Gap {
        /// Between the two messages around it.
        ms: f64,
        /// Usual interval.
        usual_ms: f64,
    },
    /// A request failed and will be tried again, or was given up.
    Failure {
        /// What was asked for: path without query, method name.
        what: String,
        /// Why it failed.
        reason: Reason,
        /// In words.
        detail: String,
    },
    /// A connection ended.
    Disconnect {
        /// Why.
        reason: Reason,
        /// In words, such as a close code.
        detail: String,
    },
    /// The user paused (a decoy: no stall).
    Pause {
        /// Media time of the playhead.
        playhead_s: f64,
    },
    /// The user goes on after a pause.
    Resume {
        /// Media time of the playhead.
        playhead_s: f64,
    },
    /// The user jumped (a decoy: what follows until `seeked` is no stall).
    Seek {
        /// Playhead before.
        from_s: f64,
        /// Playhead wanted.
        to_s: f64,
    },
    /// Playback goes on after a seek.
    Seeked {
        /// From `seek`.
        ms: f64,
    },
    /// The client stops reading its sockets, on command or by scene (a decoy or a fault).
    StopReading,
    /// It reads again.
    ReadAgain,
    /// Messages of a room that this session can never get: it was too slow, or away for too long.
    Missed {
        /// How many.
        messages: u64,
    },
    /// A session ends with its sums.
    End {
        /// Whether the user left before the run ended.
        quit: bool,
        /// From `start`.
        lasted_ms: f64,
        /// Media played, by media time.
        played_s: f64,
        /// Sum of stalls.
        stalled_ms: f64,
        /// Number of stalls.
        stalls: u32,
        /// Rung switches.
        switches: u32,
        /// Low-latency parts loaded at the live edge.
        parts: u64,
        /// How many of them were late, see `late_part`.
        late_parts: u64,
        /// Body bytes received.
        bytes: u64,
        /// Messages handed to sockets.
        sent: u64,
        /// Messages received.
        received: u64,
    },
    /// A fault begins, ends or strikes at once. Written by `link` and `scenario`.
    Fault {
        /// `rate`, `delay`, `loss`, `outage`, `stop`, `cpu`, `disk`, `kill`, `pause_producer` …
        fault: String,
        /// Which side of it this is.
        phase: Phase,
        /// Link, process or service it strikes.
        target: String,
        /// Its figures, in words or as `key=value` pairs.
        detail: String,
    },
    /// Last line of a file.
    Last {
        /// Lines before this one.
        lines: u64,
        /// Lines that found the queue full or could not be written.
        lost: u64,
    },
}

/// The sort of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Watches.
    Player,
    /// Writes and reads messages.
    Chatter,
    /// Plays matches.
    Gamer,
}

/// What a stalled player waited for when it stalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WaitingFor {
    /// A media object is on its way.
    Media,
    /// A playlist is on its way (or held by the server): what follows is not published yet.
    Playlist,
    /// Nothing is on its way, as between two tries; also where a browser does not tell.
    Nothing,
}

/// Which side of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// From here on.
    Begin,
    /// Until here.
    End,
    /// At once, without duration.
    Strike,
}

/// Why a request failed or a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// We ended it: the session is over.
    Done,
    /// The peer ended it in good order.
    Closed,
    /// Nobody listens there.
    Refused,
    /// The peer or the network broke it.
    Reset,
    /// No answer in time.
    Timeout,
    /// An HTTP or gRPC status that is no success.
    Status,
    /// The peer said what cannot be understood.
    Protocol,
    /// The server cut us off as too slow.
    SlowConsumer,
    /// Anything else; see `detail`.
    Other,
}
