//! Durations as Prometheus writes them: `1h30m`, units from years to milliseconds, largest first
//! (`model.ParseDuration` in prometheus/common).

/// The units with their milliseconds, largest first.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longest duration: Go counts nanoseconds in 64 bits.
const MAX_MS: i64 = i64::MAX / 1_000_000;

/// Milliseconds of a duration.
///
/// # Errors
/// With Prometheus's message if it is none, or too long.
pub fn parse(text: &str) -> Result<i64, String> {
    match text {
        "" => return Err("empty duration string".to_owned()),
        "0" => return Ok(0),
        _ => {}
    }
    let wrong = || format!("not a valid duration string: {text:?}");
    let mut total: i64 = 0;
    let mut rest = text;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let letters = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |length| digits + length);
        let unit = &rest[digits..letters];
        // Each unit at most once, and in this order.
        let (_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        if digits == 0 {
            return Err(wrong());
        }
        let out_of_range = || "duration out of range".to_owned();
        let figure: i64 = rest[..digits].parse().map_err(|_| out_of_range())?;
        total = figure
            .checked_mul(*unit_ms)
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= MAX_MS)
            .ok_or_else(out_of_range)?;
        rest = &rest[letters..];
    }
    Ok(total)
}

/// A duration as Prometheus prints it: years and weeks only if nothing is left over.
pub fn shown(span_ms: i64) -> String {
    if span_ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = span_ms;
    for (unit, unit_ms) in UNITS {
        if matches!(unit, "y" | "w") && rest % unit_ms != 0 {
            continue;
        }
        let figure = rest / unit_ms;
        if figure > 0 {
            text.push_str(&format!("{figure}{unit}"));
            rest -= figure * unit_ms;
        }
    }
    text
}

/// Milliseconds as seconds.
pub fn seconds(span_ms: i64) -> f64 {
    span_ms as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::{parse, shown};

    #[test]
    fn durations_are_read_and_written_as_prometheus_does() {
        for (text, span_ms, again) in [
            ("0", 0, "0s"),
            ("5m", 300_000, "5m"),
            ("90s", 90_000, "1m30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1y2w3d4h5m6s7ms", 33_019_506_007, "382d4h5m6s7ms"),
            ("7d", 604_800_000, "1w"),
            ("8d", 691_200_000, "8d"),
            ("365d", 31_536_000_000, "1y"),
            ("100ms", 100, "100ms"),
        ] {
            assert_eq!(parse(text), Ok(span_ms), "{text}");
            assert_eq!(shown(span_ms), again, "{text}");
        }
        for text in [
            "", "5", "m", "-5m", "1.5h", "30m1h", "1d1d", "1ms5s", " 5m", "5 m", "é",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("300y"), Err("duration out of range".to_owned()));
        assert!(parse(&"9".repeat(40)).is_err());
    }
}
