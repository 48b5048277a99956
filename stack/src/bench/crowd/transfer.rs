//! What passed over a link: who asked for what, when, and when it came.

use serde::Serialize;

/// Transfers that are kept; later ones are not.
const MOST: usize = 20_000;
/// Longest address that is kept whole, bytes.
const ADDRESS: usize = 512;

/// One request and its response. Times are seconds since the link's trace began.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Transfer {
    /// Path and query, without what CMCD adds.
    pub(super) what: String,
    pub(super) asked_s: f64,
    pub(super) first_s: Option<f64>,
    pub(super) last_s: Option<f64>,
    /// Of head and body.
    pub(super) bytes: usize,
}

/// All transfers of one link.
#[derive(Debug, Default)]
pub(super) struct Log(Vec<Transfer>);

impl Log {
    /// A client has sent this: the place of the transfer it begins, none if it begins none.
    pub(super) fn open(&mut self, at_s: f64, sent: &[u8]) -> Option<usize> {
        let line = sent.split(|byte| *byte == b'\r').next()?;
        let line = line.get(..line.len().min(8 * ADDRESS))?;
        let line = std::str::from_utf8(line).ok()?;
        let target = line.strip_prefix("GET ")?.split(' ').next()?;
        if self.0.len() == MOST {
            return None;
        }
        self.0.push(Transfer {
            what: shorten(target),
            asked_s: at_s,
            first_s: None,
            last_s: None,
            bytes: 0,
        });
        Some(self.0.len() - 1)
    }

    /// So much of a transfer has passed.
    pub(super) fn pass(&mut self, place: usize, at_s: f64, bytes: usize) {
        if let Some(transfer) = self.0.get_mut(place) {
            transfer.first_s.get_or_insert(at_s);
            transfer.last_s = Some(at_s);
            transfer.bytes += bytes;
        }
    }

    /// All of them, in order of asking.
    pub(super) fn transfers(&self) -> &[Transfer] {
        &self.0
    }
}

fn shorten(target: &str) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("CMCD="))
        .collect();
    let mut short = path.to_owned();
    if !kept.is_empty() {
        short.push('?');
        short.push_str(&kept.join("&"));
    }
    short.chars().take(ADDRESS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_kept_from_its_request_to_its_last_byte() {
        let mut log = Log::default();
        let sent = b"GET /a/b.m3u8?CMCD=sid%3D1&_HLS_msn=7 HTTP/1.1\r\nHost: x\r\n\r\n";
        let place = log.open(1.0, sent).unwrap();
        assert_eq!(log.open(1.1, b"more of a head"), None);
        log.pass(place, 1.5, 100);
        log.pass(place, 2.0, 50);
        log.pass(usize::MAX, 9.0, 1);
        let expected = Transfer {
            what: "/a/b.m3u8?_HLS_msn=7".to_owned(),
            asked_s: 1.0,
            first_s: Some(1.5),
            last_s: Some(2.0),
            bytes: 150,
        };
        assert_eq!(log.transfers(), [expected]);
    }

    #[test]
    fn what_is_no_request_opens_nothing() {
        let mut log = Log::default();
        for sent in [&b""[..], b"GET", b"POST / HTTP/1.1\r\n", b"\xff\xfe\r\n"] {
            assert_eq!(log.open(0.0, sent), None);
        }
        assert!(log.transfers().is_empty());
    }
}
