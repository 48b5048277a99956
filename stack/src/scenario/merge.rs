//! One file of truth in order of time, `truth.jsonl`, from those of faults and crowds. Only places
//! and times of lines are kept in memory.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Beyond this a run's files are left as they are: 24 bytes each, a quarter of a gibibyte.
const MOST_LINES: usize = 10_000_000;

#[derive(Deserialize)]
struct Time {
    mono_ns: u64,
}

struct Place {
    mono_ns: u64,
    offset: u64,
    file: u32,
    bytes: u32,
}

/// Merges all `*.jsonl` of a directory. Lines without a time, such as one that was cut off, are
/// left out; returns how many.
pub(crate) fn merge(out: &Path) -> Result<u64> {
    let mut files = Vec::new();
    let mut places = Vec::new();
    let mut without = 0;
    let mut paths: Vec<_> = fs::read_dir(out)
        .with_context(|| format!("reading {}", out.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "jsonl")
                && !path.ends_with("truth.jsonl")
        })
        .collect();
    paths.sort();
    for path in paths {
        let file = File::open(&path).with_context(|| format!("reading {}", path.display()))?;
        without += index(&file, files.len() as u32, &mut places)
            .with_context(|| format!("reading {}", path.display()))?;
        files.push(file);
    }
    if places.len() > MOST_LINES {
        tracing::warn!(
            lines = places.len(),
            "too much truth for one file: it stays in its parts"
        );
        return Ok(without);
    }
    places.sort_by_key(|place| (place.mono_ns, place.file, place.offset));
    let path = out.join("truth.jsonl");
    let mut merged =
        BufWriter::new(File::create(&path).with_context(|| format!("writing {}", path.display()))?);
    let mut line = Vec::new();
    for place in places {
        let mut file = &files[place.file as usize];
        file.seek(SeekFrom::Start(place.offset))
            .context("reading truth again")?;
        line.resize(place.bytes as usize, 0);
        file.read_exact(&mut line).context("reading truth again")?;
        merged
            .write_all(&line)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    merged
        .flush()
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(without)
}

fn index(file: &File, number: u32, places: &mut Vec<Place>) -> Result<u64> {
    let mut lines = BufReader::new(file);
    let (mut offset, mut without) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let bytes = lines.read_until(b'\n', &mut line)?;
        if bytes == 0 {
            return Ok(without);
        }
        match serde_json::from_slice::<Time>(&line) {
            Ok(Time { mono_ns }) if line.ends_with(b"\n") && places.len() <= MOST_LINES => {
                places.push(Place {
                    mono_ns,
                    offset,
                    file: number,
                    bytes: u32::try_from(bytes)?,
                });
            }
            _ => without += 1,
        }
        offset += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_files_come_in_order_of_time() {
        let out = tempfile::tempdir().unwrap();
        let line = |ns: u64, what: &str| format!("{{\"mono_ns\":{ns},\"what\":\"{what}\"}}\n");
        fs::write(out.path().join("a.jsonl"), line(1, "a") + &line(5, "b")).unwrap();
        fs::write(
            out.path().join("b.jsonl"),
            line(3, "c") + &line(2, "d") + "{\"mono_ns\":9",
        )
        .unwrap();
        assert_eq!(merge(out.path()).unwrap(), 1);
        let merged = fs::read_to_string(out.path().join("truth.jsonl")).unwrap();
        let order: String = merged
            .lines()
            .map(|line| line.split('"').nth(5).unwrap())
            .collect();
        assert_eq!(order, "adcb");
    }
}
