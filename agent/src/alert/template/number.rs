//! Floats as Go prints them: `strconv.FormatFloat` with the verbs e, f and g.

use std::fmt::Write as _;

/// Most digits after the point that a format may ask for; what is over it is cut.
pub(super) const MAX_PRECISION: usize = 1_000;

/// The shortest text that reads back as the same number, as Go's `%v` prints it.
pub fn shortest(value: f64) -> String {
    /// `eprec` of strconv for shortest formatting: 1e+06 is the first with an exponent.
    const PLAIN: std::ops::Range<i32> = -4..6;
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let (sign, digits, exponent) = split(&format!("{value:e}"));
    if PLAIN.contains(&exponent) {
        plain(sign, &digits, exponent)
    } else {
        scientific(sign, &digits, exponent)
    }
}

/// The shortest text with an exponent: `FormatFloat` with `'E'` and -1.
pub fn shortest_exponent(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let (sign, digits, exponent) = split(&format!("{value:e}"));
    scientific(sign, &digits, exponent).replace('e', "E")
}

/// `%.*e`.
pub(super) fn exponent(value: f64, precision: usize) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let precision = precision.min(MAX_PRECISION);
    let (sign, digits, exponent) = split(&format!("{value:.precision$e}"));
    scientific(sign, &digits, exponent)
}

/// `%.*f`.
pub(super) fn fixed(value: f64, precision: usize) -> String {
    special(value).map_or_else(
        || format!("{value:.*}", precision.min(MAX_PRECISION)),
        str::to_owned,
    )
}

/// `%.*g`: as many significant digits, without trailing zeros.
pub(super) fn general(value: f64, precision: usize) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let precision = precision.clamp(1, MAX_PRECISION);
    let (sign, digits, exponent) = split(&format!("{value:.*e}", precision - 1));
    let kept = digits.trim_end_matches('0');
    let digits = if kept.is_empty() { "0" } else { kept };
    // strconv: a precision above what an integer needs does not keep it from being plain.
    let most = precision as i32;
    if exponent < -4 || exponent >= most {
        scientific(sign, digits, exponent)
    } else {
        plain(sign, digits, exponent)
    }
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

/// Sign, digits without point, and the exponent of what Rust's `{:e}` printed.
fn split(text: &str) -> (&'static str, String, i32) {
    let (sign, text) = text
        .strip_prefix('-')
        .map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let digits = mantissa.chars().filter(char::is_ascii_digit).collect();
    (sign, digits, exponent.parse().unwrap_or(0))
}

fn scientific(sign: &str, digits: &str, exponent: i32) -> String {
    let mut text = String::from(sign);
    text.push_str(&digits[..1]);
    if digits.len() > 1 {
        text.push('.');
        text.push_str(&digits[1..]);
    }
    let direction = if exponent < 0 { '-' } else { '+' };
    let _ = write!(text, "e{direction}{:02}", exponent.abs());
    text
}

fn plain(sign: &str, digits: &str, exponent: i32) -> String {
    let mut text = String::from(sign);
    if exponent < 0 {
        text.push_str("0.");
        text.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        text.push_str(digits);
        return text;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        text.push_str(digits);
        text.extend(std::iter::repeat_n('0', whole - digits.len()));
    } else {
        text.push_str(&digits[..whole]);
        text.push('.');
        text.push_str(&digits[whole..]);
    }
    text
}
