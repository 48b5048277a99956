//! Numbers as Prometheus reads and prints them, and compensated sums.

/// Prints like Go's `%g` with the shortest digits that read back the same.
pub fn general(value: f64) -> String {
    if let Some(word) = word(value) {
        return word.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Prints like Go's `FormatFloat(v, 'f', -1, 64)`: never an exponent.
pub fn plain(value: f64) -> String {
    word(value).map_or_else(|| format!("{value}"), str::to_owned)
}

/// Prints for a label value as OpenMetrics wants it: whole numbers end in `.0`.
pub fn open_metrics(value: f64) -> String {
    let text = general(value);
    let whole = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    if whole { text + ".0" } else { text }
}

fn word(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// Reads a bound such as the `le` label's value, as Go's `ParseFloat` does.
pub fn parse_bound(text: &str) -> Option<f64> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if text.is_empty() || !text.chars().all(valid) {
        return None;
    }
    text.parse().ok()
}

/// Adds with Neumaier's compensation; `sum + c` is the total.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kahan {
    pub(crate) sum: f64,
    pub(crate) c: f64,
}

impl Kahan {
    pub(crate) fn new(first: f64) -> Self {
        Self { sum: first, c: 0.0 }
    }

    pub(crate) fn add(self, value: f64) -> Self {
        let sum = self.sum + value;
        let c = if sum.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.c + ((self.sum - sum) + value)
        } else {
            self.c + ((value - sum) + self.sum)
        };
        Self { sum, c }
    }

    pub(crate) fn scale(self, factor: f64) -> Self {
        Self {
            sum: self.sum * factor,
            c: self.c * factor,
        }
    }

    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() {
            self.sum
        } else {
            self.sum + self.c
        }
    }
}

/// The mean of a stream: plain sums until they overflow, then incremental.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    count: f64,
    sum: Kahan,
    mean: Option<Kahan>,
}

impl Mean {
    pub(crate) fn new(first: f64) -> Self {
        Self {
            count: 1.0,
            sum: Kahan::new(first),
            mean: None,
        }
    }

    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.mean.is_none() {
            let sum = self.sum.add(value);
            if !sum.sum.is_infinite() {
                self.sum = sum;
                return;
            }
        }
        let before = self.count - 1.0;
        let mean = match self.mean {
            Some(mean) => mean,
            None => Kahan {
                sum: self.sum.sum / before,
                c: self.sum.c / before,
            },
        };
        self.mean = Some(mean.scale(before / self.count).add(value / self.count));
    }

    pub(crate) fn value(&self) -> f64 {
        match self.mean {
            Some(mean) => mean.sum + mean.c,
            None => self.sum.sum / self.count + self.sum.c / self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_as_go_prints_them() {
        for (value, text) in [
            (1.5e6, "1.5e+06"),
            (100_000.0, "100000"),
            (1.1, "1.1"),
            (1e21, "1e+21"),
            (1e-5, "1e-05"),
            (-0.0001, "-0.0001"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(general(value), text);
        }
        assert_eq!(plain(1e21), "1000000000000000000000");
        assert_eq!(open_metrics(1.0), "1.0");
    }

    #[test]
    fn a_mean_survives_sums_that_overflow() {
        let mut mean = Mean::new(f64::MAX);
        mean.add(f64::MAX);
        assert_eq!(mean.value(), f64::MAX);
    }
}
