//! What one direction of a link does to packets, as data: written in topologies, changed while
//! packets flow. Zero means off.

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::trace::Trace;

/// Longest delay, jitter or lateness that is accepted.
const LONGEST_MS: f64 = 60_000.0;
/// Packets that wait for the rate when no other limit is given.
pub(crate) const QUEUE_PACKETS: u32 = 1000;
/// An Ethernet packet; what Mahimahi's traces count in and what a limit in packets is reckoned by.
pub(crate) const PACKET_BYTES: u64 = 1500;

/// One direction.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Impairment {
    /// Bits per second of IP packets; 0: not limited.
    pub(crate) rate_bps: u64,
    /// A rate that changes with time, in place of `rate_bps`. Relays only.
    pub(crate) trace: Option<Trace>,
    /// How much may leave at once after a pause; veth only.
    pub(crate) burst_bytes: u32,
    /// Packets that may wait for the rate; what comes then is dropped.
    pub(crate) queue_packets: u32,
    /// Bytes that may wait for the rate; 0: only packets count.
    pub(crate) queue_bytes: u64,
    /// One way, after the queue. Relays only, as all that follows but `loss`.
    pub(crate) delay_ms: f64,
    /// Spread evenly from minus this to plus this around `delay_ms`; order is kept.
    pub(crate) jitter_ms: f64,
    /// Share of packets that are held back by `reorder_ms` while others pass them.
    pub(crate) reorder: f64,
    /// By how much.
    pub(crate) reorder_ms: f64,
    /// Share of packets lost, each by itself.
    pub(crate) loss: f64,
    /// Loss in bursts, besides `loss`.
    pub(crate) gilbert_elliott: Option<GilbertElliott>,
    /// Whether nothing passes at all.
    pub(crate) outage: Outage,
}

/// Loss with two states (Elliott, "Estimates of error rates for codes on burst-noise channels",
/// Bell System Technical Journal 42, 1963). The state moves once for each packet.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GilbertElliott {
    /// Share of packets at which the good state turns bad.
    pub(crate) worsen: f64,
    /// Share of packets at which the bad state turns good.
    pub(crate) recover: f64,
    /// Share lost in the good state.
    #[serde(default)]
    pub(crate) good_loss: f64,
    /// Share lost in the bad state.
    #[serde(default = "all")]
    pub(crate) bad_loss: f64,
}

/// A link that carries nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outage {
    /// It carries.
    #[default]
    None,
    /// Packets wait in the queue, as in a radio hole.
    Hold,
    /// Packets vanish, as on a cut cable.
    Drop,
}

fn all() -> f64 {
    1.0
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            rate_bps: 0,
            trace: None,
            burst_bytes: 32 * 1024,
            queue_packets: QUEUE_PACKETS,
            queue_bytes: 0,
            delay_ms: 0.0,
            jitter_ms: 0.0,
            reorder: 0.0,
            reorder_ms: 0.0,
            loss: 0.0,
            gilbert_elliott: None,
            outage: Outage::None,
        }
    }
}

impl Impairment {
    /// Refuses what no link can do; the error names the key.
    pub(crate) fn check(&self) -> Result<()> {
        let shares = [("reorder", self.reorder), ("loss", self.loss)];
        let burst = self.gilbert_elliott.map(|burst| {
            [
                ("gilbert_elliott.worsen", burst.worsen),
                ("gilbert_elliott.recover", burst.recover),
                ("gilbert_elliott.good_loss", burst.good_loss),
                ("gilbert_elliott.bad_loss", burst.bad_loss),
            ]
        });
        for (key, share) in shares.into_iter().chain(burst.into_iter().flatten()) {
            ensure!(
                (0.0..=1.0).contains(&share),
                "{key} = {share} is no share from 0 to 1"
            );
        }
        for (key, ms) in [
            ("delay_ms", self.delay_ms),
            ("jitter_ms", self.jitter_ms),
            ("reorder_ms", self.reorder_ms),
        ] {
            ensure!(
                (0.0..=LONGEST_MS).contains(&ms),
                "{key} = {ms} is not in 0 to {LONGEST_MS}"
            );
        }
        if self.queue_packets == 0 {
            bail!("queue_packets = 0 would pass nothing; leave it out for {QUEUE_PACKETS}");
        }
        if self.rate_bps != 0 && self.trace.is_some() {
            bail!("rate_bps and trace exclude each other; set one of them");
        }
        Ok(())
    }

    /// This with some keys replaced; unknown keys and wrong values are refused. A new `rate_bps`
    /// ends a trace, and a new trace ends `rate_bps`.
    pub(crate) fn changed(&self, keys: &Map<String, Value>) -> Result<Self> {
        let mut whole = serde_json::to_value(self).context("writing an impairment")?;
        let Value::Object(fields) = &mut whole else {
            bail!("an impairment is no object");
        };
        if keys.contains_key("rate_bps") {
            fields.insert("trace".into(), Value::Null);
        }
        if keys.get("trace").is_some_and(|trace| !trace.is_null()) {
            fields.insert("rate_bps".into(), 0.into());
        }
        for (key, value) in keys {
            fields.insert(key.clone(), value.clone());
        }
        let changed: Self = serde_json::from_value(whole)?;
        changed.check()?;
        Ok(changed)
    }

    /// Refuses what needs a relay.
    pub(crate) fn check_veth(&self) -> Result<()> {
        let plain = Self {
            rate_bps: self.rate_bps,
            burst_bytes: self.burst_bytes,
            ..Self::default()
        };
        let plain = Self {
            queue_packets: self.queue_packets,
            queue_bytes: self.queue_bytes,
            loss: self.loss,
            ..plain
        };
        ensure!(
            *self == plain,
            "a veth link has rate_bps, burst_bytes, queue_* and loss only; write kind = \"relay\" for the rest"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_change_keeps_what_it_does_not_name() {
        let before = Impairment {
            delay_ms: 20.0,
            rate_bps: 5_000_000,
            ..Impairment::default()
        };
        let after = before.changed(&keys(json!({ "loss": 0.5 }))).unwrap();
        assert_eq!(
            after,
            Impairment {
                loss: 0.5,
                ..before
            }
        );
    }

    #[test]
    fn a_new_rate_ends_a_trace_and_the_other_way_round() {
        let traced = Impairment {
            trace: Some(Trace::Columns("a".into())),
            ..Impairment::default()
        };
        let rated = traced.changed(&keys(json!({ "rate_bps": 9 }))).unwrap();
        assert_eq!((rated.rate_bps, rated.trace.clone()), (9, None));
        let again = rated
            .changed(&keys(json!({ "trace": { "columns": "a" } })))
            .unwrap();
        assert_eq!(again, traced);
    }

    #[test]
    fn wrong_keys_and_values_are_refused_by_name() {
        let fine = Impairment::default();
        for (bad, name) in [
            (json!({ "rate": 1 }), "rate"),
            (json!({ "loss": 1.5 }), "loss"),
            (json!({ "delay_ms": -1 }), "delay_ms"),
            (json!({ "queue_packets": 0 }), "queue_packets"),
            (
                json!({ "gilbert_elliott": { "worsen": 2, "recover": 0.1 } }),
                "worsen",
            ),
        ] {
            let error = format!("{:#}", fine.changed(&keys(bad)).unwrap_err());
            assert!(error.contains(name), "{error}");
        }
        assert!(
            Impairment {
                delay_ms: f64::NAN,
                ..fine
            }
            .check()
            .is_err()
        );
    }

    #[test]
    fn a_veth_link_takes_no_delay() {
        let rated = Impairment {
            rate_bps: 1,
            loss: 0.1,
            queue_bytes: 9,
            ..Impairment::default()
        };
        assert!(rated.check_veth().is_ok());
        assert!(
            Impairment {
                delay_ms: 1.0,
                ..rated
            }
            .check_veth()
            .is_err()
        );
    }
}
