//! Common Media Client Data, versions 1 and 2 (CTA-5004, CTA-5004-B): what players say of
//! themselves in requests, or post as events. The bytes come from outside; sets are structured
//! fields (RFC 9651) of bounded length, and what is wrong in one is refused with a name.

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

/// Newest version understood; a set of a newer one is ignored as a whole.
const VERSION: u64 = 2;

/// Longest set that is read, in bytes.
pub(crate) const LONGEST: usize = 4096;

/// Longest session and content id, in characters (CTA-5004-B; version 1 allows less).
const LONGEST_ID: usize = 128;

const HEADERS: [&str; 4] = ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"];

/// Why a set was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// Above [`LONGEST`].
    #[error("longer than {LONGEST} bytes")]
    TooLong,
    /// Not UTF-8, or not a structured field.
    #[error("not a dictionary of structured fields")]
    Malformed,
    /// Of a version above the known ones.
    #[error("of a version above {VERSION}")]
    Newer,
    /// Without `sid`, or with one that cannot be.
    #[error("without a usable sid")]
    NoSession,
}

impl Fault {
    /// Short name for counts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Newer => "newer_version",
            Self::NoSession => "no_session",
        }
    }
}

/// What a player does (`sta`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Starting,
    Playing,
    Seeking,
    Rebuffering,
    Paused,
    Waiting,
    Ended,
    Failed,
    Quit,
    Preloading,
}

impl State {
    fn read(token: &str) -> Option<Self> {
        Some(match token {
            "s" => Self::Starting,
            "p" => Self::Playing,
            "k" => Self::Seeking,
            "r" => Self::Rebuffering,
            "a" => Self::Paused,
            "w" => Self::Waiting,
            "e" => Self::Ended,
            "f" => Self::Failed,
            "q" => Self::Quit,
            "d" => Self::Preloading,
            _ => return None,
        })
    }

    /// Whether a session is over.
    pub(crate) fn is_last(self) -> bool {
        matches!(self, Self::Ended | Self::Failed | Self::Quit)
    }
}

/// One set. Durations are in milliseconds, rates in kbit/s.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Set {
    pub(crate) session: String,
    pub(crate) content: Option<String>,
    pub(crate) version: u64,
    /// `bl`
    pub(crate) buffer: Option<f64>,
    /// `bs`
    pub(crate) starved: bool,
    /// `br`
    pub(crate) bitrate: Option<f64>,
    /// `mtp`
    pub(crate) throughput: Option<f64>,
    /// `msd`
    pub(crate) startup: Option<f64>,
    /// `ltc`
    pub(crate) latency: Option<f64>,
    /// `dfa`
    pub(crate) dropped_frames: Option<f64>,
    /// `bsa`
    pub(crate) stalls: Option<f64>,
    /// `bsda`
    pub(crate) stalled: Option<f64>,
    /// `sta`
    pub(crate) state: Option<State>,
    /// `ec`: whether an error was named.
    pub(crate) error: bool,
    /// `ts`, in milliseconds since 1970.
    pub(crate) at: Option<f64>,
}

/// The set of a request: that of its headers, or else of its query; nothing if it has neither.
///
/// # Errors
/// If there is one that is not taken.
pub(crate) fn of_request(headers: &HeaderMap, query: &str) -> Result<Option<Set>, Fault> {
    let mut text = String::new();
    let mut found = false;
    for value in HEADERS.iter().flat_map(|name| headers.get_all(*name)) {
        found = true;
        let value = value.to_str().map_err(|_| Fault::Malformed)?;
        if text.len() + value.len() > LONGEST {
            return Err(Fault::TooLong);
        }
        if !value.trim().is_empty() {
            text.push_str(if text.is_empty() { "" } else { ", " });
            text.push_str(value);
        }
    }
    // "If headers are present, the query argument is to be ignored."
    if found {
        return parse(&text).map(Some);
    }
    let Some(value) = query.split('&').find_map(|pair| pair.strip_prefix("CMCD=")) else {
        return Ok(None);
    };
    if value.len() > LONGEST * 3 {
        return Err(Fault::TooLong);
    }
    let value = percent_decode_str(value)
        .decode_utf8()
        .map_err(|_| Fault::Malformed)?;
    parse(&value).map(Some)
}

/// One set as text.
///
/// # Errors
/// If it is not taken.
pub(crate) fn parse(text: &str) -> Result<Set, Fault> {
    if text.len() > LONGEST {
        return Err(Fault::TooLong);
    }
    let fields: Dictionary = Parser::new(text).parse().map_err(|_| Fault::Malformed)?;
    let version = fields.get("v").map_or(Ok(1), |entry| {
        let number = number(entry).filter(|number| *number >= 1.0 && number.fract() == 0.0);
        number.map(|number| number as u64).ok_or(Fault::Malformed)
    })?;
    if version > VERSION {
        return Err(Fault::Newer);
    }
    let get = |key: &str| {
        fields
            .get(key)
            .and_then(number)
            .filter(|number| *number >= 0.0)
    };
    let id = |key: &str| {
        fields
            .get(key)
            .and_then(string)
            .filter(|id| id.chars().count() <= LONGEST_ID)
    };
    let session = id("sid")
        .filter(|session| !session.is_empty())
        .ok_or(Fault::NoSession)?;
    Ok(Set {
        session,
        content: id("cid"),
        version,
        buffer: get("bl"),
        starved: fields.get("bs").is_some_and(is_true),
        bitrate: get("br"),
        throughput: get("mtp"),
        startup: get("msd"),
        latency: get("ltc"),
        dropped_frames: get("dfa"),
        stalls: get("bsa"),
        stalled: get("bsda"),
        state: fields
            .get("sta")
            .and_then(token)
            .and_then(|token| State::read(&token)),
        error: fields.contains_key("ec"),
        at: get("ts"),
    })
}

/// The value of an item, or of the first in a list: version 2 gives one for each kind of object
/// (`bl=(2100;v 1800;a)`), pictures first where there are any.
fn bare(entry: &ListEntry) -> Option<&BareItem> {
    match entry {
        ListEntry::Item(item) => Some(&item.bare_item),
        ListEntry::InnerList(list) => {
            let pictures = list.items.iter().find(|item| item.params.contains_key("v"));
            pictures.or(list.items.first()).map(|item| &item.bare_item)
        }
    }
}

fn number(entry: &ListEntry) -> Option<f64> {
    match bare(entry)? {
        BareItem::Integer(number) => Some(i64::from(*number) as f64),
        BareItem::Decimal(number) => Some(f64::from(*number)),
        _ => None,
    }
}

fn string(entry: &ListEntry) -> Option<String> {
    match bare(entry)? {
        BareItem::String(text) => Some(text.as_str().to_owned()),
        BareItem::DisplayString(text) => Some(text.clone()),
        _ => None,
    }
}

fn token(entry: &ListEntry) -> Option<String> {
    match bare(entry)? {
        BareItem::Token(token) => Some(token.as_str().to_owned()),
        _ => None,
    }
}

fn is_true(entry: &ListEntry) -> bool {
    matches!(bare(entry), Some(BareItem::Boolean(true)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_versions_are_read() {
        let first = parse(r#"bl=21300,br=3200,bs,cid="faec5fc2",mtp=25400,ot=v,sid="6e2fb550",su,com.example-a="x""#).unwrap();
        assert_eq!(
            (first.version, first.buffer, first.bitrate, first.starved),
            (1, Some(21300.0), Some(3200.0), true)
        );
        assert_eq!(
            (first.session.as_str(), first.content.as_deref()),
            ("6e2fb550", Some("faec5fc2"))
        );
        let second = parse(
            r#"bl=(1800;a 2100;v),bs=?0,e=ps,ltc=940,msd=460,sid="a",sta=r,ts=1764000000123,v=2"#,
        )
        .unwrap();
        assert_eq!(
            (second.version, second.buffer, second.starved),
            (2, Some(2100.0), false)
        );
        assert_eq!(
            (second.state, second.at),
            (Some(State::Rebuffering), Some(1_764_000_000_123.0))
        );
        assert_eq!((second.latency, second.startup), (Some(940.0), Some(460.0)));
    }

    #[test]
    fn headers_win_over_the_query_and_are_one_set() {
        let query = "_HLS_msn=3&CMCD=bl%3D100%2Csid%3D%22q%22";
        let of_query = of_request(&HeaderMap::new(), query).unwrap().unwrap();
        assert_eq!(
            (of_query.session.as_str(), of_query.buffer),
            ("q", Some(100.0))
        );
        let mut headers = HeaderMap::new();
        headers.insert("cmcd-session", r#"sid="h",v=2"#.parse().unwrap());
        headers.insert("cmcd-request", "bl=900".parse().unwrap());
        let of_headers = of_request(&headers, query).unwrap().unwrap();
        assert_eq!(
            (of_headers.session.as_str(), of_headers.buffer),
            ("h", Some(900.0))
        );
        assert_eq!(of_request(&HeaderMap::new(), "a=b"), Ok(None));
    }

    #[test]
    fn what_is_not_taken_has_a_name() {
        assert_eq!(parse(r#"sid="a",v=3"#), Err(Fault::Newer));
        assert_eq!(parse(r#"sid="a",v=two"#), Err(Fault::Malformed));
        assert_eq!(parse("bl=100"), Err(Fault::NoSession));
        assert_eq!(
            parse(&format!("sid=\"{}\"", "x".repeat(129))),
            Err(Fault::NoSession)
        );
        assert_eq!(parse("sid=\"a"), Err(Fault::Malformed));
        assert_eq!(parse(&" ".repeat(LONGEST + 1)), Err(Fault::TooLong));
        assert_eq!(
            of_request(&HeaderMap::new(), "CMCD=%ff"),
            Err(Fault::Malformed)
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_set_or_a_fault(text in any::<String>()) {
            _ = parse(&text);
            _ = of_request(&HeaderMap::new(), &text);
            _ = of_request(&HeaderMap::new(), &format!("CMCD={text}"));
        }

        /// In the four headers, one of them twice: what is not a dictionary is refused, what is too
        /// long is not joined.
        #[test]
        fn any_headers_are_a_set_or_a_fault(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 5), long in prop::option::of(0..5_usize)) {
            let mut headers = HeaderMap::new();
            for (index, mut value) in values.into_iter().enumerate() {
                if long == Some(index) {
                    value = b"bl=1, ".repeat(LONGEST / 6 + 1);
                }
                if let Ok(value) = axum::http::HeaderValue::from_bytes(&value) {
                    headers.append(HEADERS[index % HEADERS.len()], value);
                }
            }
            let refused = of_request(&headers, "CMCD=sid%3D%22q%22").is_err_and(|fault| fault == Fault::TooLong || fault == Fault::Malformed);
            prop_assert!(long.is_none() || refused);
        }

        #[test]
        fn any_mix_of_known_keys_is_a_set_or_a_fault(
            keys in prop::collection::vec("(sid|bl|bs|br|sta|ts|v|ec|msd)=?(\\?[01]|-?[0-9.]{1,6}|\"[a-z]*\"|[a-z]|\\([0-9 ;av]*\\))", 0..8)
        ) {
            if let Ok(set) = parse(&keys.join(",")) {
                prop_assert!(!set.session.is_empty());
                prop_assert!((1..=VERSION).contains(&set.version));
            }
        }
    }
}
