//! Follows the files of truth that a scenario writes while it runs: one JSON object a line, of
//! which only what the demo shows is read.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use serde::Deserialize;

use super::crowd::{Crowd, Experience};

/// Read at one go; the rest comes with the next reading.
const MOST_BYTES: u64 = 8 << 20;
/// A longer line is no line of truth.
const LONGEST_LINE: usize = 64 << 10;

/// One line, as far as it is of interest here. The schema is in `stack/TRUTH.md`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) mono_ns: u64,
    pub(super) kind: String,
    pub(super) session: String,
    pub(super) role: String,
    pub(super) what: String,
    pub(super) reason: String,
    pub(super) ms: f64,
    pub(super) duration_ms: f64,
    pub(super) latency_s: Option<f64>,
    pub(super) bytes: u64,
    pub(super) messages: u64,
    pub(super) mean_ms: Option<f64>,
    pub(super) max_ms: Option<f64>,
    pub(super) fault: String,
    pub(super) phase: String,
}

/// Files that grow, and what they add up to.
pub(super) struct Truth {
    tails: Vec<Tail>,
    crowd: Crowd,
}

struct Tail {
    path: PathBuf,
    offset: u64,
    /// A line that is not whole yet.
    rest: Vec<u8>,
}

impl Truth {
    pub(super) fn of(paths: [PathBuf; 2]) -> Self {
        let tail = |path| Tail {
            path,
            offset: 0,
            rest: Vec::new(),
        };
        Self {
            tails: paths.into_iter().map(tail).collect(),
            crowd: Crowd::default(),
        }
    }

    /// Reads on and says what there is until now.
    pub(super) fn read(&mut self) -> Experience {
        for tail in &mut self.tails {
            tail.read(|line| match serde_json::from_slice(line) {
                Ok(line) => self.crowd.take(&line),
                Err(_) => self.crowd.experience.lines_not_understood += 1,
            });
        }
        self.crowd.experience.clone()
    }
}

impl Tail {
    /// Hands out every line that has become whole.
    fn read(&mut self, mut take: impl FnMut(&[u8])) {
        // One that is not there yet will be.
        let Ok(mut file) = File::open(&self.path) else {
            return;
        };
        if file.seek(SeekFrom::Start(self.offset)).is_err() {
            return;
        }
        let held = self.rest.len();
        let read = file.take(MOST_BYTES).read_to_end(&mut self.rest);
        self.offset += (self.rest.len() - held) as u64;
        if read.is_err() {
            return;
        }
        let end = self.rest.iter().rposition(|byte| *byte == b'\n');
        let whole = end.map_or(0, |end| end + 1);
        for line in self.rest[..whole].split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                take(line);
            }
        }
        self.rest.drain(..whole);
        if self.rest.len() > LONGEST_LINE {
            self.rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_line_is_read_once_it_is_whole_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut truth = Truth::of([path.clone(), folder.path().join("not-there")]);
        assert_eq!(truth.read().watching, 0);
        let mut file = File::create(&path).unwrap();
        let start = r#"{"mono_ns":1,"kind":"start","session":"p-1","role":"player"}"#;
        write!(file, "{start}").unwrap();
        assert_eq!(truth.read().watching, 0);
        write!(file, "\nnonsense\n").unwrap();
        for _ in 0..2 {
            let read = truth.read();
            assert_eq!((read.watching, read.lines_not_understood), (1, 1));
        }
    }
}
