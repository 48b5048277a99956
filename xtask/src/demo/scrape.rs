//! One reading of the agent's metrics in Prometheus's text format.

use std::{collections::BTreeMap, time::Instant};

/// One value with its labels.
struct Sample {
    labels: BTreeMap<String, String>,
    value: f64,
}

/// All values of one reading, by name.
pub(super) struct Scrape {
    pub(super) at: Instant,
    samples: BTreeMap<String, Vec<Sample>>,
}

impl Scrape {
    /// Reads what it understands; comments and exemplars are passed over.
    pub(super) fn parse(text: &str) -> Self {
        let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, sample)) = parse_line(line) {
                samples.entry(name.to_owned()).or_default().push(sample);
            }
        }
        Self {
            at: Instant::now(),
            samples,
        }
    }

    /// The names of all services.
    pub(super) fn services(&self) -> Vec<String> {
        let mut services: Vec<String> = self
            .samples
            .values()
            .flatten()
            .filter_map(|sample| sample.labels.get("service").cloned())
            .collect();
        services.sort();
        services.dedup();
        services
    }

    /// The sum over all series that carry these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).map(|sample| sample.value).sum()
    }

    /// A sum for each value of one more label.
    pub(super) fn sum_by(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        by: &str,
    ) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.select(name, labels) {
            if let Some(value) = sample.labels.get(by) {
                *sums.entry(value.clone()).or_insert(0.0) += sample.value;
            }
        }
        sums
    }

    /// The cumulative buckets of a histogram: upper bound and count, by bound.
    pub(super) fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let by_bound = self.sum_by(&format!("{name}_bucket"), labels, "le");
        let mut buckets: Vec<(f64, f64)> = by_bound
            .into_iter()
            .filter_map(|(bound, count)| Some((bound.parse().ok()?, count)))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }

    fn select<'a>(
        &'a self,
        name: &str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples
            .get(name)
            .into_iter()
            .flatten()
            .filter(move |sample| {
                labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|has| has == value))
            })
    }
}

fn parse_line(line: &str) -> Option<(&str, Sample)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (key, value) = rest.trim_start_matches(',').split_once("=\"")?;
            let (value, after) = parse_value(value)?;
            labels.insert(key.to_owned(), value);
            rest = after;
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, Sample { labels, value }))
}

/// A label's value up to its closing quote, and what follows that.
fn parse_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total Things.\n\
        a_total{service=\"nginx\",kind=\"rto\"} 3\n\
        a_total{service=\"nginx\",kind=\"tlp\"} 4\n\
        a_total{service=\"a \\\"b\\\", {c}\"} 1e2\n\
        plain 7\n";

    #[test]
    fn sums_are_taken_over_labels() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!(scrape.sum("a_total", &[("service", "nginx")]), 7.0);
        assert_eq!(scrape.sum("plain", &[]), 7.0);
        assert_eq!(
            scrape.sum_by("a_total", &[("service", "nginx")], "kind")["tlp"],
            4.0
        );
    }

    #[test]
    fn quotes_and_braces_in_a_label_are_understood() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!(scrape.services(), ["a \"b\", {c}", "nginx"]);
        assert_eq!(scrape.sum("a_total", &[("service", "a \"b\", {c}")]), 100.0);
    }

    #[test]
    fn a_broken_line_is_passed_over() {
        assert_eq!(Scrape::parse("x{service=\"y} 1\nx{").sum("x", &[]), 0.0);
    }
}
