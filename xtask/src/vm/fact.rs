//! What the tests found of each fact: fact × rung × kernel. A test prints
//! `FACT name rung result figures…`, the result being ok, fail or skip.

use std::fmt::Write as _;

/// One line of a test.
#[derive(Debug, PartialEq)]
pub(super) struct Fact {
    name: String,
    rung: String,
    result: String,
}

impl Fact {
    /// Reads a line of a test program's output, if it is one of these.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line
            .strip_prefix("FACT ")?
            .split_whitespace()
            .map(str::to_owned);
        Some(Self {
            name: words.next()?,
            rung: words.next()?,
            result: words.next()?,
        })
    }
}

/// One row for each fact and rung, one column for each kernel; "-" where the
/// test said nothing. The figures are in the console logs.
pub(super) fn matrix<'a>(kernels: impl Iterator<Item = (&'a str, &'a [Fact])>) -> String {
    let kernels: Vec<(&str, &[Fact])> = kernels.collect();
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for fact in kernels.iter().flat_map(|(_, facts)| *facts) {
        if !rows.contains(&(&fact.name, &fact.rung)) {
            rows.push((&fact.name, &fact.rung));
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    rows.sort_unstable();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = format!("{:<width$}  {:<10}", "fact", "rung");
    for (release, _) in &kernels {
        // Writing to a String cannot fail.
        let _ = write!(text, "  {:<8}", short(release));
    }
    text.push('\n');
    for (name, rung) in rows {
        let _ = write!(text, "{name:<width$}  {rung:<10}");
        for (_, facts) in &kernels {
            let fact = facts
                .iter()
                .find(|fact| fact.name == name && fact.rung == rung);
            let _ = write!(text, "  {:<8}", fact.map_or("-", |fact| &fact.result));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// The 6.12.107 of `6.12.107+deb13-cloud-amd64`.
fn short(release: &str) -> &str {
    release.split(['+', '-']).next().unwrap_or(release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_and_rung_is_a_row_and_each_kernel_a_column() {
        let old = [Fact::parse("FACT rtt btf ok weir=1 ss=1").unwrap()];
        let new = [
            Fact::parse("FACT rtt btf fail").unwrap(),
            Fact::parse("FACT send kprobe skip no kprobes").unwrap(),
        ];
        let matrix =
            matrix([("5.10.0-32-cloud-amd64", &old[..]), ("7.2.1+deb14", &new)].into_iter());
        assert_eq!(
            matrix,
            "fact  rung        5.10.0    7.2.1   \n\
             rtt   btf         ok        fail\n\
             send  kprobe      -         skip\n"
        );
    }

    #[test]
    fn other_lines_are_no_facts() {
        assert_eq!(Fact::parse("test rtt ... ok"), None);
        assert_eq!(Fact::parse("FACT rtt"), None);
    }
}
