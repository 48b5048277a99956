//! What client and server say to each other: JSON in WebSocket text frames (RFC 6455).
//!
//! Address: `ws://HOST:PORT/rooms/ROOM/ws?from=REVISION&user=ID`. ROOM: 1 to 64 of
//! `A-Z a-z 0-9 _ -`. `user` (as ROOM; default `guest`) is who the items are said to come from.
//! `from` asks for everything kept after that revision first (`from=0`: all that is kept, at most
//! `[chat] replay` items, the newest); without it only what comes from now on is sent.
//!
//! Client to server, one object in a message; `id` (at most 64 bytes, optional) comes back in the
//! item or in the refusal:
//! ```json
//! {"t":"msg","text":"hi","id":"m1"}
//! {"t":"gift","gift":"rose","n":3,"id":"g1"}
//! {"t":"vote","poll":"final","option":"red","id":"v1"}
//! ```
//! Server to client, one object in a message, told apart by its keys:
//! ```json
//! {"hello":{"room":"main","rev":17}}
//! {"rev":20,"items":[{"t":"msg","text":"hi","id":"m1","at_ms":1790000000000,"user":"ann"}, ...]}
//! {"tally":{"gifts":{"rose":12},"votes":{"final":{"red":4}}}}
//! {"err":{"code":"rate_limited","id":"m1"}}
//! ```
//! Every item of a room has a revision, counted up by one; `rev` of a batch is that of its last
//! item. A client that has seen revision S and gets a batch with `rev - items.len() > S` has missed
//! that many items (its queue was full, or they are no longer kept); to resume after a
//! reconnect it sends the last `rev` it saw as `from`. After a resume nothing is sent twice.
//! `at_ms` is when the server took the item, in milliseconds since 1970. `hello` is always first.
//! A `tally` follows `hello` and then changes, at most one per `[chat] tally_ms`.
//!
//! Close codes: 1001 server stops, 1002 malformed frame, 1003 binary message, 1007 text that is
//! not UTF-8, 1008 a hundred malformed or rate-limited messages in a row, 1009 message above `[chat] message_bytes`,
//! 1013 consumer too slow (policy `disconnect`). A closed TCP connection without a code means
//! that the code could not be delivered.
//!
//! HTTP: `POST /rooms/ROOM?user=ID` with one client message or an array of them answers
//! `{"taken":N}` or, with the first refusal, `{"taken":N,"err":{...}}` and 400, 413, 429 or 503;
//! `GET /rooms/ROOM?from=REVISION&limit=N` answers `{"rev":N,"items":[...]}` from the log;
//! `GET /rooms/ROOM/tally` answers `{"tally":{...}}`. What is posted counts towards the room's rate
//! only: who may post speaks for many.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Longest room, user, gift, poll or option name, in bytes.
pub(crate) const NAME_BYTES: usize = 64;
/// Longest `id`, in bytes.
pub(crate) const ID_BYTES: usize = 64;
/// Most gifts in one message.
pub(crate) const GIFTS: u32 = 10_000;

/// A message from a client as it stands on the wire; [`Said::parse`] gives it meaning.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ClientMessage<'a> {
    /// `msg`, `gift` or `vote`.
    #[serde(borrow)]
    pub(crate) t: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) gift: Option<Cow<'a, str>>,
    /// Number of gifts; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) n: Option<u32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) poll: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) option: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Cow<'a, str>>,
}

/// One entry of a room: a client's message, whose and when.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Item<'a> {
    #[serde(borrow)]
    pub(crate) t: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) gift: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) n: Option<u32>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) poll: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) option: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Cow<'a, str>>,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    #[serde(borrow)]
    pub(crate) user: Cow<'a, str>,
}

/// Any message from the server: exactly one of `hello`, `rev` with `items`, `tally`, `err`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ServerFrame<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) hello: Option<Hello<'a>>,
    /// Revision of the last item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rev: Option<u64>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) items: Vec<Item<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tally: Option<Tally>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) err: Option<Refused<'a>>,
}

/// The first message on a connection.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Hello<'a> {
    #[serde(borrow)]
    pub(crate) room: Cow<'a, str>,
    /// The room's revision when the connection was taken.
    pub(crate) rev: u64,
}

/// A message that was not taken.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Refused<'a> {
    pub(crate) code: Refusal,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<Cow<'a, str>>,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    /// Not JSON, or not one of the three messages.
    Malformed,
    /// Text, name or id above its bound, or an empty one.
    BadField,
    /// This connection says more than it may.
    RateLimited,
    /// The room hears more than it may.
    RoomRateLimited,
    /// The room's queue, or the log's, is full.
    Overloaded,
    /// More gifts, polls or options than a room keeps apart.
    TooManyKinds,
    /// Contains an address or number that the policy refuses.
    Personal,
}

/// Sums of gifts and votes of a room since its log began.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Tally {
    /// Gift to number.
    #[serde(default)]
    pub(crate) gifts: BTreeMap<String, u64>,
    /// Poll to option to number.
    #[serde(default)]
    pub(crate) votes: BTreeMap<String, BTreeMap<String, u64>>,
}

/// A client's message with its fields checked.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Said<'a> {
    Text(Cow<'a, str>),
    Gift(Cow<'a, str>, u32),
    Vote(Cow<'a, str>, Cow<'a, str>),
}

impl<'a> Said<'a> {
    /// Checks what a client sent; `text_bytes` bounds a text. Returns the message and its id.
    pub(crate) fn parse(
        message: ClientMessage<'a>,
        text_bytes: usize,
    ) -> Result<(Self, Option<Cow<'a, str>>), Refused<'a>> {
        let ClientMessage {
            t,
            text,
            gift,
            n,
            poll,
            option,
            id,
        } = message;
        if id.as_ref().is_some_and(|id| id.len() > ID_BYTES) {
            return Err(Refused {
                code: Refusal::BadField,
                id: None,
            });
        }
        let said = match (t.as_ref(), text, gift, poll, option) {
            ("msg", Some(text), ..) => {
                (!text.trim().is_empty() && text.len() <= text_bytes).then_some(Said::Text(text))
            }
            ("gift", _, Some(gift), ..) => {
                let n = n.unwrap_or(1);
                (is_name(&gift) && (1..=GIFTS).contains(&n)).then_some(Said::Gift(gift, n))
            }
            ("vote", .., Some(poll), Some(option)) => {
                (is_name(&poll) && is_name(&option)).then_some(Said::Vote(poll, option))
            }
            _ => {
                return Err(Refused {
                    code: Refusal::Malformed,
                    id,
                });
            }
        };
        match said {
            Some(said) => Ok((said, id)),
            None => Err(Refused {
                code: Refusal::BadField,
                id,
            }),
        }
    }

    /// The entry that it becomes.
    pub(crate) fn item(self, id: Option<Cow<'a, str>>, user: &'a str, at_ms: u64) -> Item<'a> {
        let item = Item {
            id,
            at_ms,
            user: Cow::Borrowed(user),
            ..Item::default()
        };
        match self {
            Said::Text(text) => Item {
                t: Cow::Borrowed("msg"),
                text: Some(text),
                ..item
            },
            Said::Gift(gift, n) => Item {
                t: Cow::Borrowed("gift"),
                gift: Some(gift),
                n: Some(n),
                ..item
            },
            Said::Vote(poll, option) => Item {
                t: Cow::Borrowed("vote"),
                poll: Some(poll),
                option: Some(option),
                ..item
            },
        }
    }
}

/// Whether a room, user, gift, poll or option may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<(Said<'_>, Option<Cow<'_, str>>), Refusal> {
        let message: ClientMessage<'_> =
            serde_json::from_str(text).map_err(|_| Refusal::Malformed)?;
        Said::parse(message, 16).map_err(|refused| refused.code)
    }

    #[test]
    fn each_documented_message_is_understood() {
        let (said, id) = parse(r#"{"t":"msg","text":"hi","id":"m1"}"#).unwrap();
        assert_eq!((said, id.as_deref()), (Said::Text("hi".into()), Some("m1")));
        let (said, _) = parse(r#"{"t":"gift","gift":"rose","n":3}"#).unwrap();
        assert_eq!(said, Said::Gift("rose".into(), 3));
        let (said, _) = parse(r#"{"t":"vote","poll":"final","option":"red","later":1}"#).unwrap();
        assert_eq!(said, Said::Vote("final".into(), "red".into()));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_name() {
        for (text, code) in [
            (r#"{"t":"msg"}"#, Refusal::Malformed),
            (r#"{"t":"shout","text":"a"}"#, Refusal::Malformed),
            (r#"{"text":"a"}"#, Refusal::Malformed),
            ("[]", Refusal::Malformed),
            (r#"{"t":"msg","text":" "}"#, Refusal::BadField),
            (
                r#"{"t":"msg","text":"seventeen letters"}"#,
                Refusal::BadField,
            ),
            (r#"{"t":"gift","gift":"a b"}"#, Refusal::BadField),
            (r#"{"t":"gift","gift":"a","n":0}"#, Refusal::BadField),
            (r#"{"t":"gift","gift":"a","n":-1}"#, Refusal::Malformed),
            (r#"{"t":"vote","poll":"","option":"a"}"#, Refusal::BadField),
        ] {
            assert_eq!(parse(text).unwrap_err(), code, "{text}");
        }
        let long = format!(
            r#"{{"t":"msg","text":"a","id":"{}"}}"#,
            "x".repeat(ID_BYTES + 1)
        );
        assert_eq!(parse(&long).unwrap_err(), Refusal::BadField);
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,80}") {
            let _ = parse(&text);
        }

        /// Objects with the right keys and any values, in any order, some of them twice.
        #[test]
        fn any_object_is_parsed_or_refused_and_what_is_taken_is_bounded(fields in prop::collection::vec((
            prop::sample::select(vec!["t", "text", "gift", "n", "poll", "option", "id", "more"]),
            prop::sample::select(vec!["\"msg\"", "\"gift\"", "\"vote\"", "\"a\"", "\"\\u0000\"", "\"\\ud83d\\ude00\"", "\"\\ud83d\"", "1", "-1", "4294967296", "1e400", "null", "[[[[]]]]", "{}"]),
        ), 0..9)) {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            let text = format!("{{{}}}", fields.join(","));
            if let Ok((said, id)) = parse(&text) {
                let mut tally = Tally::default();
                let item = serde_json::to_vec(&said.item(id, "ann", u64::MAX)).unwrap();
                // Each byte of a field is at most six of JSON.
                prop_assert!(item.len() <= 6 * (16 + 2 * NAME_BYTES + ID_BYTES) + 128);
                tally.count(&item, 1);
                prop_assert!(serde_json::from_slice::<Item<'_>>(&item).is_ok());
            }
        }

        #[test]
        fn what_is_taken_comes_back_the_same(text in "[^\\s]{1,4}", id in proptest::option::of(".{0,16}")) {
            let message = ClientMessage { t: "msg".into(), text: Some(text.clone().into()), id: id.clone().map(Into::into), ..ClientMessage::default() };
            let wire = serde_json::to_string(&message).unwrap();
            let (said, id_seen) = Said::parse(serde_json::from_str(&wire).unwrap(), 16).unwrap();
            let item = serde_json::to_string(&said.item(id_seen, "ann", 5)).unwrap();
            let item: Item<'_> = serde_json::from_str(&item).unwrap();
            prop_assert_eq!(item.text.as_deref(), Some(text.as_str()));
            prop_assert_eq!(item.id.as_deref(), id.as_deref());
            prop_assert_eq!((item.t.as_ref(), item.at_ms, item.user.as_ref()), ("msg", 5, "ann"));
        }
    }
}
