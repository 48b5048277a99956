//! Two columns, by blanks or a comma: seconds from the start, bits per second from then on. The
//! last rate holds as long as the one before it (one second if it is alone).

use anyhow::{Context as _, Result, ensure};

use super::super::schedule::{MOST_PIECES, Schedule};

/// Ten terabits per second: more is a mistake in the unit.
const MOST_BPS: f64 = 1e13;
/// A year: later is a mistake, such as a date for a time.
const LATEST_S: f64 = 31_536_000.0;

pub(super) fn parse(bytes: &[u8]) -> Result<Schedule> {
    let mut points: Vec<(u64, u64)> = Vec::new();
    let mut first = None;
    for (number, line) in super::lines(bytes) {
        let line = line?;
        let mut words = line
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|word| !word.is_empty());
        let (Some(seconds), Some(rate), None) = (words.next(), words.next(), words.next()) else {
            anyhow::bail!("line {number} is not two columns: seconds, bits per second");
        };
        let seconds: f64 = seconds
            .parse()
            .with_context(|| format!("line {number}: seconds"))?;
        let rate: f64 = rate
            .parse()
            .with_context(|| format!("line {number}: bits per second"))?;
        ensure!(
            (0.0..=MOST_BPS).contains(&rate),
            "line {number}: no rate from 0 to {MOST_BPS}"
        );
        let since = seconds - *first.get_or_insert(seconds);
        ensure!(
            (0.0..=LATEST_S).contains(&since),
            "line {number}: no time from 0 to {LATEST_S} s after the first"
        );
        let at = (since * 1e9) as u64;
        ensure!(
            points.last().is_none_or(|&(last, _)| at > last),
            "line {number} goes not forward in time"
        );
        ensure!(
            points.len() < MOST_PIECES,
            "line {number} is one of more than {MOST_PIECES}"
        );
        points.push((at, rate as u64));
    }
    let (Some(&(end, rate)), before) = (points.last(), points.iter().rev().nth(1)) else {
        anyhow::bail!("no line");
    };
    let last = before.map_or(1_000_000_000, |&(at, _)| end - at);
    let steps = points
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0, pair[0].1));
    Schedule::new(steps.chain([(last, rate)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rate_holds_until_the_next() {
        let schedule = parse(b"# s bit/s\n100.0 8000\n100.5, 0\n101.5\t4000\n").unwrap();
        let ends: Vec<(u64, u64)> = schedule
            .pieces()
            .iter()
            .map(|piece| (piece.until_ns / 1_000_000, piece.bps))
            .collect();
        assert_eq!(ends, [(500, 8000), (1500, 0), (2500, 4000)]);
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        for (text, said) in [
            ("0 1\n1 2 3\n", "line 2"),
            ("0 1\n0 2\n", "line 2"),
            ("0 -1\n", "line 1"),
            ("0 1\nNaN 1\n", "line 2"),
            ("0 inf\n", "line 1"),
        ] {
            let error = format!("{:#}", parse(text.as_bytes()).unwrap_err());
            assert!(error.contains(said), "{error}");
        }
    }
}
