//! Numbers as Go's `strconv.FormatFloat` writes them with the shortest digits.

/// As Prometheus's API writes sample values: without an exponent between 1e-6 and 1e21.
pub(super) fn plain(value: f64) -> String {
    if let Some(word) = word(value) {
        return word.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        return exponential(value);
    }
    format!("{value}")
}

/// With an exponent of at least two digits: `1e+00`, as the values of alerts are written.
pub(super) fn exponential(value: f64) -> String {
    if let Some(word) = word(value) {
        return word.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

fn word(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1_500_000.0, "1500000"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (1e-7, "1e-07"),
            (1e20, "100000000000000000000"),
            (1.5e21, "1.5e+21"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(plain(value), expected);
        }
        assert_eq!(exponential(1.0), "1e+00");
        assert_eq!(exponential(0.0), "0e+00");
        assert_eq!(exponential(-1_234.5), "-1.2345e+03");
        assert_eq!(exponential(1e-100), "1e-100");
    }
}
