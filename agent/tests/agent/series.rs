//! The text format, read.

use std::collections::BTreeMap;

/// Labels of one series.
pub(crate) type Labels = BTreeMap<String, String>;

/// All series of a scrape.
pub(crate) struct Series(Vec<(String, Labels, f64)>);

impl Series {
    /// The labels of the tests hold no escapes and no braces.
    pub(crate) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split("\",");
            let labels = labels.filter_map(|label| label.split_once("=\""));
            let labels = labels.map(|(name, value)| (name.into(), value.trim_matches('"').into()));
            (name.to_owned(), labels.collect(), value.parse().unwrap())
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.map(line).collect())
    }

    /// Series of this name that carry all these labels.
    pub(crate) fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a Labels, f64)> {
        self.0.iter().filter_map(move |(found, with, value)| {
            let has = |(name, value): &(&str, &str)| with.get(*name).is_some_and(|v| v == value);
            (found == name && labels.iter().all(has)).then_some((with, *value))
        })
    }

    /// Their sum; 0 for none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|(_, value)| value).sum()
    }

    /// The only one.
    pub(crate) fn one(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let found: Vec<_> = self.of(name, labels).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0].1
    }
}
