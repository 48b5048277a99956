//! `[game]` with its defaults and checks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::matcher::Window;
use super::pool::{Pool, Profile, Range};
use super::protocol::MAX_PLAYERS;

/// `[game]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where players and directors call (gRPC over HTTP/2 without TLS).
    pub(crate) grpc: SocketAddr,
    /// Where `/healthz`, `/metrics` and `/arenas` are.
    pub(crate) http: SocketAddr,
    /// Time from one run of the match functions to the next, in milliseconds.
    pub(crate) cycle_ms: u64,
    /// How far one match moves a volatility, Glicko-2's tau: 0.3 to 1.2 are sensible.
    pub(crate) tau: f64,
    /// Players whose rating is kept; further ones play with the initial rating.
    pub(crate) ratings_max: usize,
    pub(crate) tickets: Tickets,
    pub(crate) arenas: Arenas,
    /// Which matches are made, tried in this order.
    pub(crate) profiles: Vec<ProfileConfig>,
}

/// `[game.tickets]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tickets {
    /// Tickets without a match at a time; further ones are refused.
    pub(crate) max: usize,
    /// How long a ticket waits if it does not say.
    pub(crate) ttl_ms: u64,
    /// The longest a ticket may ask for.
    pub(crate) ttl_max_ms: u64,
    /// How long a proposal may go without an arena before its tickets return to their pools.
    pub(crate) release_timeout_ms: u64,
    /// How long the end of a ticket or match can still be asked for.
    pub(crate) ended_keep_ms: u64,
    /// Ended tickets that are kept at most; the oldest go first.
    pub(crate) ended_max: usize,
    /// How long a match on a director's own server may go unreported.
    pub(crate) match_max_ms: u64,
}

/// `[game.arenas]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Arenas {
    /// Arena processes that always run. 0: matches are for a director of one's own alone.
    pub(crate) processes: usize,
    /// Arena processes at most, when the others are full.
    pub(crate) processes_max: usize,
    /// Matches that one process hosts at a time.
    pub(crate) rooms: usize,
    /// How long a process above `processes` stays without a match.
    pub(crate) idle_ms: u64,
    /// Where arenas listen, and what assignments name.
    pub(crate) address: IpAddr,
    /// First port of arenas; process n listens on port + n. 0: any free port.
    pub(crate) port: u16,
    /// How long a process may take until it is ready.
    pub(crate) start_timeout_ms: u64,
    /// How long a process may take to open a match.
    pub(crate) open_timeout_ms: u64,
    pub(crate) health: Health,
    pub(crate) room: Room,
}

/// `[game.arenas.health]`: an arena is unhealthy after `failure_threshold` periods without a beat.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Health {
    /// Time after readiness in which no beat is missed.
    pub(crate) initial_delay_ms: u64,
    /// Time from beat to beat.
    pub(crate) period_ms: u64,
    /// Missed beats until the process is killed.
    pub(crate) failure_threshold: u32,
}

/// `[game.arenas.room]`: rules of each match.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Room {
    /// Ticks in a second, 20 to 60.
    pub(crate) tick_hz: u8,
    /// Nice value of the thread that ticks, -20 to 19: below 0 it goes before others, for which the
    /// process needs CAP_SYS_NICE or the limit RLIMIT_NICE; without them ticks go on as they are.
    pub(crate) tick_nice: i8,
    /// Length of a match, from when all have joined.
    pub(crate) match_ms: u64,
    /// How long a match waits for players that have not joined.
    pub(crate) join_timeout_ms: u64,
    /// How long a match goes on without any player.
    pub(crate) abandon_ms: u64,
    /// Time for the WebSocket handshake's end until Hello.
    pub(crate) hello_timeout_ms: u64,
    /// A player that sends nothing, or takes nothing, for this long is gone.
    pub(crate) idle_timeout_ms: u64,
    /// Connections of one process at a time.
    pub(crate) connections: usize,
    /// Bytes the kernel takes per player before the next snapshot has to wait
    /// (`TCP_NOTSENT_LOWAT`): a few snapshots, so that what is sent is new.
    pub(crate) unsent_bytes: u32,
}

/// `[[game.profiles]]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileConfig {
    /// For metrics and assignments.
    pub(crate) name: String,
    /// Players in a match, 2 to 16.
    pub(crate) players: usize,
    /// Tags that a ticket must have.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// String arguments that a ticket must have, with these values.
    #[serde(default)]
    pub(crate) strings: BTreeMap<String, String>,
    /// Double arguments that a ticket must have, from min (included) to max (excluded).
    #[serde(default)]
    pub(crate) ranges: BTreeMap<String, [f64; 2]>,
    /// A match never spans two values of this string argument; empty: no such split.
    #[serde(default)]
    pub(crate) split_by: String,
    /// Highest spread of ratings for tickets that have just come.
    pub(crate) window: f64,
    /// Growth of the window in a second of waiting.
    pub(crate) window_per_second: f64,
    /// Where the growth ends; 0: nowhere.
    #[serde(default)]
    pub(crate) window_max: f64,
}

impl Default for Config {
    fn default() -> Self {
        let profile = |name: &str, players| ProfileConfig {
            name: name.to_owned(),
            players,
            tags: Vec::new(),
            strings: BTreeMap::from([("mode".to_owned(), name.to_owned())]),
            ranges: BTreeMap::new(),
            split_by: "region".to_owned(),
            window: 100.0,
            window_per_second: 50.0,
            window_max: 0.0,
        };
        Self {
            grpc: SocketAddr::from((Ipv4Addr::LOCALHOST, 9483)),
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 9484)),
            cycle_ms: 250,
            tau: 0.5,
            ratings_max: 1_000_000,
            tickets: Tickets::default(),
            arenas: Arenas::default(),
            profiles: vec![profile("duel", 2), profile("squad", 8)],
        }
    }
}

impl Default for Tickets {
    fn default() -> Self {
        Self {
            max: 100_000,
            ttl_ms: 60_000,
            ttl_max_ms: 600_000,
            release_timeout_ms: 60_000,
            ended_keep_ms: 10_000,
            ended_max: 100_000,
            match_max_ms: 3_600_000,
        }
    }
}

impl Default for Arenas {
    fn default() -> Self {
        Self {
            processes: 2,
            processes_max: 8,
            rooms: 32,
            idle_ms: 60_000,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            start_timeout_ms: 10_000,
            open_timeout_ms: 2_000,
            health: Health::default(),
            room: Room::default(),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            initial_delay_ms: 5_000,
            period_ms: 1_000,
            failure_threshold: 3,
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self {
            tick_hz: 30,
            tick_nice: -10,
            match_ms: 60_000,
            join_timeout_ms: 10_000,
            abandon_ms: 5_000,
            hello_timeout_ms: 5_000,
            idle_timeout_ms: 15_000,
            connections: 2_000,
            unsent_bytes: 2_048,
        }
    }
}

impl Config {
    /// Refuses what cannot work; the error names the key.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(
            (10..=60_000).contains(&self.cycle_ms),
            "[game] cycle_ms = {}: want 10 to 60000",
            self.cycle_ms
        );
        ensure!(
            self.tau > 0.0 && self.tau <= 2.0,
            "[game] tau = {}: want more than 0, up to 2",
            self.tau
        );
        let arenas = &self.arenas;
        ensure!(
            arenas.processes <= arenas.processes_max && arenas.processes_max <= 256,
            "[game.arenas] processes = {}, processes_max = {}: want the first up to the second, that up to 256",
            arenas.processes,
            arenas.processes_max
        );
        ensure!(
            (1..=1024).contains(&arenas.rooms),
            "[game.arenas] rooms = {}: want 1 to 1024",
            arenas.rooms
        );
        ensure!(
            arenas.port == 0 || usize::from(u16::MAX - arenas.port) >= arenas.processes_max,
            "[game.arenas] port = {}: leaves no room for {} processes",
            arenas.port,
            arenas.processes_max
        );
        let health = &arenas.health;
        ensure!(
            health.period_ms >= 100 && health.failure_threshold >= 1,
            "[game.arenas.health] period_ms = {}, failure_threshold = {}: want at least 100 and 1",
            health.period_ms,
            health.failure_threshold
        );
        let hz = arenas.room.tick_hz;
        ensure!(
            (20..=60).contains(&hz),
            "[game.arenas.room] tick_hz = {hz}: want 20 to 60"
        );
        let nice = arenas.room.tick_nice;
        ensure!(
            (-20..=19).contains(&nice),
            "[game.arenas.room] tick_nice = {nice}: want -20 to 19"
        );
        self.profiles().map(drop)
    }

    /// The profiles as the matcher wants them.
    pub(crate) fn profiles(&self) -> Result<Vec<Profile>> {
        ensure!(
            self.profiles.len() <= 64,
            "[[game.profiles]]: {} of them, want up to 64",
            self.profiles.len()
        );
        self.profiles.iter().map(ProfileConfig::profile).collect()
    }
}

impl ProfileConfig {
    fn profile(&self) -> Result<Profile> {
        let named = format!("[[game.profiles]] {:?}", self.name);
        ensure!(
            (1..=64).contains(&self.name.len()),
            "{named}: want a name of 1 to 64 bytes"
        );
        ensure!(
            (2..=MAX_PLAYERS).contains(&self.players),
            "{named}: players = {}: want 2 to {MAX_PLAYERS}",
            self.players
        );
        let window = Window {
            base: self.window,
            per_second: self.window_per_second,
            max: self.window_max,
        };
        ensure!(
            window.is_valid(),
            "{named}: want window, window_per_second, window_max of 0 or more"
        );
        let ranges = self.ranges.iter().map(|(name, [min, max])| Range {
            name: name.clone(),
            min: *min,
            max: *max,
        });
        Ok(Profile {
            name: self.name.clone(),
            players: self.players,
            pool: Pool {
                tags: self.tags.clone(),
                strings: self.strings.clone().into_iter().collect(),
                ranges: ranges.collect(),
            },
            split_by: self.split_by.clone(),
            window,
        })
    }
}

/// For keys that end in `_ms`.
pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_accepted() {
        Config::default().check().unwrap();
    }

    #[test]
    fn a_key_that_cannot_work_is_named() {
        let mut config = Config::default();
        config.arenas.room.tick_hz = 10;
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "[game.arenas.room] tick_hz = 10: want 20 to 60"
        );
        let mut config = Config::default();
        config.profiles[1].players = 17;
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "[[game.profiles]] \"squad\": players = 17: want 2 to 16"
        );
    }
}
