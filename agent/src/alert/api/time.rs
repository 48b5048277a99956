//! Times and lengths of time as Prometheus's API takes them.

use chrono::DateTime;

/// Units of a duration, the largest first, in milliseconds; each may stand once, in this order.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];
/// Times beyond this many milliseconds have no place in an `i64` of nanoseconds times a million.
const FURTHEST_MS: f64 = 9.2e15;

/// Unix seconds with a fraction, or RFC 3339, as milliseconds since the Unix epoch.
pub(super) fn instant(text: &str) -> Option<i64> {
    match text.parse::<f64>() {
        Ok(seconds) => milliseconds(seconds),
        Err(_) => Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis()),
    }
}

/// Seconds with a fraction, or Prometheus's own form such as `1h30m`, as milliseconds.
pub(super) fn duration(text: &str) -> Option<i64> {
    match text.parse::<f64>() {
        Ok(seconds) => milliseconds(seconds),
        Err(_) => units(text),
    }
}

fn milliseconds(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1_000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded in the line before"
    )]
    (ms.abs() <= FURTHEST_MS).then_some(ms as i64)
}

fn units(text: &str) -> Option<i64> {
    let (mut rest, mut total, mut next) = (text, 0_i64, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit());
        let end = unit_end.map_or(rest.len(), |length| digits + length);
        let unit = &rest[digits..end];
        let found = UNITS[next..].iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(UNITS[next + found].1)?)?;
        next += found + 1;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(instant("1.5"), Some(1_500));
        assert_eq!(instant("-1"), Some(-1_000));
        assert_eq!(instant("1970-01-01T01:00:00.5+01:00"), Some(500));
        for bad in ["", "NaN", "inf", "1e300", "yesterday", "1970-01-01"] {
            assert_eq!(instant(bad), None, "{bad}");
        }
    }

    #[test]
    fn durations_are_seconds_or_units_in_order() {
        assert_eq!(duration("15"), Some(15_000));
        assert_eq!(duration("0.25"), Some(250));
        assert_eq!(duration("1h30m"), Some(5_400_000));
        assert_eq!(duration("1y2w3d4h5m6s7ms"), Some(33_019_506_007));
        for bad in ["", "m", "5m1h", "1m1m", "1x", "1h ", "99999999999999y"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,24}") {
            let _ = (instant(&text), duration(&text));
        }
    }
}
