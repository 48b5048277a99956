//! Prometheus's functions that write numbers for people (`template/template.go` and
//! `helpers/templates` of prometheus/common).

use super::number;

/// Four significant digits: `%.4g`.
fn short(value: f64) -> String {
    number::general(value, 4)
}

/// Divides or multiplies by 1,000 until the number is between 1 and 1,000.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return short(value);
    }
    if value.abs() >= 1.0 {
        let (value, prefix) = divide(value, 1_000.0, &["k", "M", "G", "T", "P", "E", "Z", "Y"]);
        return short(value) + prefix;
    }
    let (value, prefix) = multiply(value);
    short(value) + prefix
}

/// Divides by 1,024 until the number is below it.
pub(super) fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return short(value);
    }
    let (value, prefix) = divide(
        value,
        1_024.0,
        &["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"],
    );
    short(value) + prefix
}

fn divide(mut value: f64, by: f64, prefixes: &[&'static str]) -> (f64, &'static str) {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < by {
            break;
        }
        prefix = next;
        value /= by;
    }
    (value, prefix)
}

fn multiply(mut value: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1_000.0;
    }
    (value, prefix)
}

/// A number of seconds in days, hours, minutes and seconds.
pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return short(value);
    }
    if value == 0.0 {
        return short(value) + "s";
    }
    if value.abs() < 1.0 {
        let (value, prefix) = multiply(value);
        return short(value) + prefix + "s";
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    let whole = value as i64;
    let (days, hours) = (whole / 86_400, whole / 3_600 % 24);
    let (minutes, seconds) = (whole / 60 % 60, whole % 60);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", short(value))
    }
}

/// A ratio in percent.
pub(super) fn humanize_percentage(value: f64) -> String {
    short(value * 100.0) + "%"
}

/// Milliseconds since 1970 of a number of seconds.
///
/// # Errors
/// If it is no number, or has no place in 64 bits of nanoseconds.
pub(super) fn to_time(value: f64) -> Result<i64, String> {
    if !value.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let at_ns = value * 1e9;
    if at_ns > i64::MAX as f64 || at_ns < i64::MIN as f64 {
        let shown = number::shortest(value);
        return Err(format!(
            "{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    Ok((at_ns as i64).div_euclid(1_000_000))
}
