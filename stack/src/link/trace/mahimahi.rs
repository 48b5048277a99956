//! Mahimahi's format (mahimahi(1), `mm-link`): each line is a time in milliseconds at which one
//! packet of 1500 bytes may leave; after the last line's time the trace starts again.

use anyhow::{Context as _, Result, bail, ensure};

use super::super::impairment::PACKET_BYTES;
use super::super::schedule::{MOST_PIECES, Schedule};

const MS: u64 = 1_000_000;

/// Spreads what may leave at a millisecond evenly over that millisecond.
pub(super) fn parse(bytes: &[u8]) -> Result<Schedule> {
    let mut steps: Vec<(u64, u64)> = Vec::new();
    let (mut last, mut filled) = (0_u64, 0_u64);
    for (number, line) in super::lines(bytes) {
        let at: u64 = line?
            .parse()
            .with_context(|| format!("line {number} is no whole number of milliseconds"))?;
        ensure!(at >= last, "line {number} goes back in time");
        ensure!(
            at <= MOST_PIECES as u64,
            "line {number} is later than an hour"
        );
        last = at;
        // The opportunity at a time stands for the millisecond that ends there.
        let end = at.max(1);
        if end > filled {
            steps.push(((end - 1 - filled) * MS, 0));
            steps.push((MS, 0));
            filled = end;
        }
        if let Some((_, bps)) = steps.last_mut() {
            *bps += PACKET_BYTES * 8 * 1000;
        }
    }
    if steps.is_empty() {
        bail!("no line");
    }
    Schedule::new(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opportunities_become_the_rate_of_their_millisecond() {
        let schedule = parse(b"1\n1\n4\n").unwrap();
        assert_eq!(schedule.round_ns(), 4 * MS);
        assert_eq!(schedule.mean_bps(), 3 * 1500 * 8 * 1000 / 4);
        // The third packet leaves with the fourth millisecond, the fourth in the next round.
        assert_eq!(schedule.finish(MS, 1500 * 8), 4 * MS);
        assert_eq!(schedule.finish(4 * MS, 2 * 1500 * 8), 5 * MS);
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        for (text, said) in [
            ("1\nx\n", "line 2"),
            ("5\n4\n", "line 2"),
            ("", "no line"),
            ("-1\n", "line 1"),
        ] {
            let error = format!("{:#}", parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
