//! Starts an origin for a test and asks it over plain sockets.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::ready::start;

/// A running origin; stopped when it is dropped.
pub(crate) struct Origin {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) https: Option<String>,
    _folder: tempfile::TempDir,
}

impl Origin {
    /// Starts one on a free port, with more lines for `[origin]`.
    pub(crate) fn start(media: &Path, config: &str) -> Self {
        Self::start_with(media, config, "")
    }

    /// The same, with lines before `[origin]`.
    pub(crate) fn start_with(media: &Path, config: &str, before: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weir-stack.toml");
        let text = format!(
            "{before}\n[origin]\nlisten = \"127.0.0.1:0\"\nmedia = {media:?}\nloop_seconds = 8\n{config}"
        );
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-stack"));
        command.args(["origin", "--config", file.to_str().unwrap()]);
        let (child, ready) = start(command);
        let http = ready["addresses"]["http"].as_str().unwrap();
        Self {
            child,
            address: http.strip_prefix("http://").unwrap().parse().unwrap(),
            https: ready["addresses"]["https"].as_str().map(str::to_owned),
            _folder: folder,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        // The answer may come, and the connection end, before all of a refused body is sent.
        _ = stream.write_all(body);
        let mut bytes = Vec::new();
        let end = stream.read_to_end(&mut bytes);
        assert!(end.is_ok() || !bytes.is_empty(), "{method} {path}: {end:?}");
        Answer::parse(&bytes)
    }

    /// Asks again and again until there is something; gives up after 20 s.
    pub(crate) fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = ask() {
                return found;
            }
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "waited in vain for {what}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) code: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("an answer without an end of its head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Self {
            code: head[9..12].parse().unwrap(),
            head,
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            line.split_once(": ")
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value)
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}
