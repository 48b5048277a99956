//! How a running link is told to change: one JSON object a line over a Unix socket, one answer a
//! line.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fate::Direction;

/// A longer line is refused.
const LONGEST_LINE: u64 = 64 * 1024;
/// Nobody may hold the socket longer than this without a word.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Put other figures in force.
    Change(Change),
    /// What happened to packets so far.
    Counts,
}

/// Some keys of an impairment.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// Which link, where there is more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<String>,
    /// Absent: both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) direction: Option<Direction>,
    /// Keys and values as in a topology; what is not named stays.
    pub(crate) set: Map<String, Value>,
}

impl Change {
    /// The directions meant.
    pub(crate) fn directions(&self) -> Vec<Direction> {
        self.direction
            .map_or(vec![Direction::Forward, Direction::Backward], |one| {
                vec![one]
            })
    }
}

/// Answers everyone who connects, one after the other, for ever.
pub(crate) fn serve(listener: &UnixListener, mut answer: impl FnMut(Request) -> Result<Value>) {
    for stream in listener.incoming() {
        match stream {
            // A client that hangs up or goes silent harms itself only.
            Ok(stream) => _ = converse(&stream, &mut answer),
            // No file is free: one may be soon.
            Err(_) => std::thread::sleep(PATIENCE / 50),
        }
    }
}

fn converse(stream: &UnixStream, answer: &mut impl FnMut(Request) -> Result<Value>) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if lines.by_ref().take(LONGEST_LINE).read_line(&mut line)? == 0 {
            return Ok(());
        }
        let result = serde_json::from_str(&line)
            .context("no request")
            .and_then(&mut *answer);
        let reply = match result {
            Ok(reply) => json!({ "ok": reply }),
            Err(error) => json!({ "error": format!("{error:#}") }),
        };
        let mut out = stream;
        writeln!(out, "{reply}")?;
    }
}

/// Asks a running link.
pub(crate) fn ask(socket: &Path, request: &Request) -> Result<Value> {
    let talk = || -> Result<Value> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        writeln!(stream, "{}", serde_json::to_string(request)?)?;
        let mut line = String::new();
        BufReader::new(stream.take(16 * LONGEST_LINE)).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    let mut reply = talk().with_context(|| format!("asking the link at {}", socket.display()))?;
    if let Some(error) = reply.get("error").and_then(Value::as_str) {
        bail!("the link refuses: {error}");
    }
    Ok(reply.get_mut("ok").map(Value::take).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_answered_and_nonsense_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            serve(&listener, |request| match request {
                Request::Change(change) => change.set.get("loss").cloned().context("no loss"),
                Request::Counts => Ok(json!(7)),
            })
        });
        assert_eq!(ask(&socket, &Request::Counts).unwrap(), 7);
        let set = json!({ "loss": 0.5 }).as_object().unwrap().clone();
        let change = Change {
            link: None,
            direction: Some(Direction::Forward),
            set,
        };
        assert_eq!(ask(&socket, &Request::Change(change.clone())).unwrap(), 0.5);
        let error = ask(
            &socket,
            &Request::Change(Change {
                set: Map::new(),
                ..change
            }),
        )
        .unwrap_err();
        assert!(format!("{error:#}").contains("no loss"));
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"{\"change\":{\"sets\":1}}\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        assert!(line.contains("no request"), "{line}");
    }
}
