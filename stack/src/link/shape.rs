//! Rate and loss of veth links by the kernel: tc(8) where packets leave, nft(8) where they arrive,
//! so that the sender's own stack does not notice a loss.

use std::process::Command;

use anyhow::Result;

use super::command::{run, run_with_input};
use super::impairment::{Impairment, PACKET_BYTES};
use super::namespace::command;
use super::topology::Shaper;

/// nft's `numgen` draws out of this many.
const DRAWS: f64 = 1_000_000.0;

/// Puts the figures of one direction in force, whether or not others were before.
pub(crate) fn apply(
    leaves: &str,
    arrives: &str,
    interface: &str,
    shaper: Shaper,
    impairment: &Impairment,
) -> Result<()> {
    if impairment.rate_bps == 0 {
        // There may be none to take away.
        let _ = run(tc(leaves).args(["qdisc", "del", "dev", interface, "root"]));
    } else {
        if shaper == Shaper::Htb {
            // One that is there cannot be replaced by itself; without one the class is refused.
            let root = [
                "dev", interface, "root", "handle", "1:", "htb", "default", "1",
            ];
            let _ = run(tc(leaves).args(["qdisc", "add"]).args(root));
        }
        for words in rate(interface, shaper, impairment) {
            run(tc(leaves).args(words))?;
        }
    }
    run_with_input(
        command(arrives, "nft").args(["-f", "-"]),
        &loss(interface, impairment.loss),
    )
}

fn tc(namespace: &str) -> Command {
    let mut tc = Command::new("tc");
    tc.args(["-n", namespace]);
    tc
}

/// The words of tc. `replace` also changes what is there.
fn rate(interface: &str, shaper: Shaper, impairment: &Impairment) -> Vec<Vec<String>> {
    let words = |text: String| text.split(' ').map(str::to_owned).collect();
    let rate = impairment.rate_bps;
    // A bucket smaller than a packet would let nothing out.
    let burst = u64::from(impairment.burst_bytes).max(2 * PACKET_BYTES);
    let by_packets = u64::from(impairment.queue_packets) * PACKET_BYTES;
    let limit = if impairment.queue_bytes == 0 {
        by_packets
    } else {
        impairment.queue_bytes.min(by_packets)
    };
    match shaper {
        Shaper::Tbf => {
            let limit = limit.max(burst).min(u64::from(u32::MAX));
            vec![words(format!(
                "qdisc replace dev {interface} root handle 1: tbf rate {rate}bit burst {burst} limit {limit}"
            ))]
        }
        Shaper::Htb => {
            let limit = limit.max(PACKET_BYTES).min(u64::from(u32::MAX));
            vec![
                words(format!(
                    "class replace dev {interface} parent 1: classid 1:1 htb rate {rate}bit burst {burst} cburst {burst}"
                )),
                words(format!(
                    "qdisc replace dev {interface} parent 1:1 handle 10: bfifo limit {limit}"
                )),
            ]
        }
    }
}

/// A table of the link's own; empty without loss.
fn loss(interface: &str, share: f64) -> String {
    let table = format!("inet weir-stack-{interface}");
    // Added first, or the deletion of one that is not there would fail.
    let fresh = format!("add table {table}\ndelete table {table}\nadd table {table}\n");
    let draws = (share * DRAWS).round();
    if draws < 1.0 {
        return fresh;
    }
    let dropped = if share >= 1.0 {
        "counter drop".to_owned()
    } else {
        format!("numgen random mod {DRAWS} < {draws} counter drop")
    };
    format!(
        "{fresh}add chain {table} arriving {{ type filter hook prerouting priority -300; }}\n\
         add rule {table} arriving iifname \"{interface}\" {dropped}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_and_a_queue_hold_at_least_a_packet() {
        let narrow = Impairment {
            rate_bps: 1_000_000,
            burst_bytes: 1,
            queue_packets: 1,
            ..Impairment::default()
        };
        let tbf = rate("a", Shaper::Tbf, &narrow)[0].join(" ");
        assert_eq!(
            tbf,
            "qdisc replace dev a root handle 1: tbf rate 1000000bit burst 3000 limit 3000"
        );
        assert!(
            rate("a", Shaper::Htb, &narrow)[1]
                .join(" ")
                .ends_with("limit 1500")
        );
    }

    #[test]
    fn the_share_of_loss_is_in_millionths() {
        assert!(loss("a", 0.0005).contains("mod 1000000 < 500 counter drop"));
        assert!(!loss("a", 0.0).contains("chain"));
        assert!(loss("a", 1.0).contains("iifname \"a\" counter drop"));
    }
}
