//! Rates recorded or made: Mahimahi's delivery opportunities, two columns, or a seeded chain.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::schedule::Schedule;

mod column;
mod mahimahi;
mod synthetic;

pub(crate) use synthetic::Synthetic;

/// A larger file is refused.
const MOST_BYTES: u64 = 64 << 20;

/// Where a rate over time comes from.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trace {
    /// A file of Mahimahi: one line for each 1500 bytes that may leave, in milliseconds.
    Mahimahi(PathBuf),
    /// A file of two columns: seconds, bits per second from then on.
    Columns(PathBuf),
    /// Made from a seed.
    Synthetic(Synthetic),
}

impl Trace {
    /// Reads or makes it; the error names file and line.
    pub(crate) fn load(&self) -> Result<Schedule> {
        match self {
            Self::Mahimahi(path) => parse(path, mahimahi::parse),
            Self::Columns(path) => parse(path, column::parse),
            Self::Synthetic(synthetic) => synthetic.make(),
        }
    }

    /// The same with a relative path read as relative to a directory.
    pub(crate) fn beside(&self, directory: &Path) -> Self {
        match self {
            Self::Mahimahi(path) => Self::Mahimahi(directory.join(path)),
            Self::Columns(path) => Self::Columns(directory.join(path)),
            Self::Synthetic(synthetic) => Self::Synthetic(synthetic.clone()),
        }
    }
}

fn parse(path: &Path, parse: impl Fn(&[u8]) -> Result<Schedule>) -> Result<Schedule> {
    let size = std::fs::metadata(path)
        .with_context(|| format!("cannot read the trace {}", path.display()))?
        .len();
    ensure!(
        size <= MOST_BYTES,
        "the trace {} is larger than {MOST_BYTES} bytes",
        path.display()
    );
    let bytes =
        std::fs::read(path).with_context(|| format!("cannot read the trace {}", path.display()))?;
    parse(&bytes).with_context(|| format!("in the trace {}", path.display()))
}

/// Lines with their numbers from 1, without those that are empty or begin with `#`.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, Result<&str>)> {
    bytes
        .split(|&byte| byte == b'\n')
        .enumerate()
        .filter_map(|(index, line)| {
            let number = index + 1;
            match std::str::from_utf8(line) {
                Ok(text) => {
                    let text = text.trim();
                    (!text.is_empty() && !text.starts_with('#')).then_some((number, Ok(text)))
                }
                Err(_) => Some((number, Err(anyhow::anyhow!("line {number} is no text")))),
            }
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_missing_file_is_named() {
        let error = format!(
            "{:#}",
            Trace::Columns("nowhere/at.all".into()).load().unwrap_err()
        );
        assert!(error.contains("nowhere/at.all"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_trace_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = mahimahi::parse(&bytes);
            let _ = column::parse(&bytes);
        }

        #[test]
        fn any_numbers_are_a_trace_or_an_error(text in "([0-9.e+-]{0,25}[ ,\t]?[0-9.e+-]{0,25}\n){0,12}") {
            for schedule in [mahimahi::parse(text.as_bytes()), column::parse(text.as_bytes())].into_iter().flatten() {
                prop_assert!(schedule.finish(0, 12_000) > 0);
            }
        }
    }
}
