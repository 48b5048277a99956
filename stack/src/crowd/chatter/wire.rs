//! As much of the chat's JSON as a user needs.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::arrival::Saying;
use crate::truth::Stamp;

/// A message from the server; the rest of it is skipped.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Frame<'a> {
    pub(super) hello: Option<Hello>,
    /// Revision of the last item.
    pub(super) rev: Option<u64>,
    #[serde(borrow)]
    pub(super) items: Vec<Item<'a>>,
    #[serde(borrow)]
    pub(super) err: Option<Refused<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Hello {
    pub(super) rev: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Item<'a> {
    #[serde(borrow)]
    pub(super) t: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) id: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refused<'a> {
    #[serde(borrow)]
    pub(super) code: Cow<'a, str>,
}

pub(super) fn parse(text: &str) -> Result<Frame<'_>, serde_json::Error> {
    serde_json::from_str(text)
}

/// `<microseconds of CLOCK_MONOTONIC>-<number>`.
pub(super) fn make_id(now: Stamp, number: u64) -> String {
    format!("{}-{number}", now.mono_ns / 1000)
}

/// How long ago an id was made, if a crowd of this host made it.
pub(super) fn latency_ms(now: Stamp, id: &str) -> Option<f64> {
    let (at_us, _) = id.split_once('-')?;
    let elapsed_us = (now.mono_ns / 1000).checked_sub(at_us.parse().ok()?)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "latencies fit 53 bits of microseconds"
    )]
    Some(elapsed_us as f64 / 1e3)
}

/// What is said: its sort for the truth, and the text of the frame.
pub(super) fn make_message(saying: Saying, id: &str, text_bytes: usize) -> (&'static str, String) {
    match saying {
        Saying::Text => {
            let text: String = "na ".chars().cycle().take(text_bytes).collect();
            (
                "message",
                format!(r#"{{"t":"msg","text":"{text}","id":"{id}"}}"#),
            )
        }
        Saying::Vote(option) => (
            "vote",
            format!(r#"{{"t":"vote","poll":"final","option":"o{option}","id":"{id}"}}"#),
        ),
        Saying::Gift(count) => (
            "gift",
            format!(r#"{{"t":"gift","gift":"rose","n":{count},"id":"{id}"}}"#),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn batches_hellos_and_refusals_are_told_apart() {
        let batch = parse(
            r#"{"rev":20,"items":[{"t":"msg","text":"hi","id":"5-1","at_ms":1,"user":"ann"}]}"#,
        )
        .unwrap();
        assert_eq!(
            (batch.rev, batch.items.len(), batch.items[0].id.as_deref()),
            (Some(20), 1, Some("5-1"))
        );
        assert_eq!(
            parse(r#"{"hello":{"room":"main","rev":17}}"#)
                .unwrap()
                .hello
                .unwrap()
                .rev,
            17
        );
        assert_eq!(
            parse(r#"{"err":{"code":"rate_limited","id":"m1"}}"#)
                .unwrap()
                .err
                .unwrap()
                .code,
            "rate_limited"
        );
        assert!(parse(r#"{"tally":{"gifts":{}}}"#).unwrap().rev.is_none());
    }

    #[test]
    fn an_id_tells_how_long_ago_it_was_made() {
        let made = Stamp {
            mono_ns: 5_000_000_000,
            wall_ns: 0,
        };
        let id = make_id(made, 7);
        let later = made.shifted(12_500_000);
        assert_eq!(latency_ms(later, &id), Some(12.5));
        assert_eq!(latency_ms(made.shifted(-1_000_000_000), &id), None);
        assert_eq!(latency_ms(later, "somebody else's"), None);
    }

    #[test]
    fn what_is_said_is_json() {
        for saying in [Saying::Text, Saying::Vote(3), Saying::Gift(9)] {
            let (_, text) = make_message(saying, "1-2", 10);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["id"], "1-2");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,100}") {
            let _ = parse(&text);
            let _ = latency_ms(Stamp { mono_ns: 1, wall_ns: 1 }, &text);
        }
    }
}
