//! Sums of gifts and votes, drawn from the items in the order of the log, so that every reader of
//! the same log arrives at the same sums.

use super::protocol::{Item, Said, Tally};

impl Tally {
    /// Whether there is a place for what was said: the number of names is bounded.
    pub(crate) fn admits(&self, said: &Said<'_>, kinds: usize) -> bool {
        match said {
            Said::Text(_) => true,
            Said::Gift(gift, _) => {
                self.gifts.len() < kinds || self.gifts.contains_key(gift.as_ref())
            }
            Said::Vote(poll, option) => match self.votes.get(poll.as_ref()) {
                Some(options) => options.len() < kinds || options.contains_key(option.as_ref()),
                None => self.votes.len() < kinds,
            },
        }
    }

    /// Counts an item as it stands in the log; false if there is nothing to count.
    pub(crate) fn count(&mut self, json: &[u8], kinds: usize) -> bool {
        // The server wrote the item itself: `t` comes first.
        if json.starts_with(br#"{"t":"msg""#) {
            return false;
        }
        let Ok(item) = serde_json::from_slice::<Item<'_>>(json) else {
            return false;
        };
        match (item.gift, item.poll, item.option) {
            (Some(gift), ..) => {
                let said = Said::Gift(gift, item.n.unwrap_or(1));
                self.admits(&said, kinds) && self.add(said)
            }
            (None, Some(poll), Some(option)) => {
                let said = Said::Vote(poll, option);
                self.admits(&said, kinds) && self.add(said)
            }
            _ => false,
        }
    }

    fn add(&mut self, said: Said<'_>) -> bool {
        let sum = match said {
            Said::Text(_) => return false,
            Said::Gift(gift, n) => {
                let sum = self.gifts.entry(gift.into_owned()).or_default();
                *sum = sum.saturating_add(u64::from(n));
                return true;
            }
            Said::Vote(poll, option) => self
                .votes
                .entry(poll.into_owned())
                .or_default()
                .entry(option.into_owned())
                .or_default(),
        };
        *sum = sum.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A log that others share may hold what no service of ours wrote.
        #[test]
        fn any_items_of_a_log_are_counted_within_the_bound_or_passed_over(items in prop::collection::vec(
            "(\\{\"t\":\"(msg|gift|vote)\")?[ -~]{0,20}(,\"gift\":\"[a-z]{0,2}\",\"n\":[0-9]{1,12})?(,\"poll\":\"[a-z]\",\"option\":\"[a-z]\")?,\"at_ms\":1,\"user\":\"a\"\\}",
            0..40,
        )) {
            let mut tally = Tally::default();
            for item in &items {
                tally.count(item.as_bytes(), 3);
            }
            prop_assert!(tally.gifts.len() <= 3 && tally.votes.len() <= 3);
            prop_assert!(tally.votes.values().all(|options| options.len() <= 3));
        }
    }

    #[test]
    fn gifts_and_votes_add_up_within_their_bound() {
        let mut tally = Tally::default();
        for item in [
            r#"{"t":"gift","gift":"rose","n":3,"at_ms":1,"user":"a"}"#,
            r#"{"t":"gift","gift":"rose","at_ms":1,"user":"a"}"#,
            r#"{"t":"gift","gift":"car","n":1,"at_ms":1,"user":"a"}"#,
            r#"{"t":"vote","poll":"p","option":"x","at_ms":1,"user":"a"}"#,
            r#"{"t":"vote","poll":"p","option":"x","at_ms":1,"user":"b"}"#,
            r#"{"t":"vote","poll":"p","option":"y","at_ms":1,"user":"b"}"#,
            r#"{"t":"msg","text":"gift","at_ms":1,"user":"b"}"#,
            "nonsense",
        ] {
            tally.count(item.as_bytes(), 1);
        }
        let json = serde_json::to_string(&tally).unwrap();
        assert_eq!(json, r#"{"gifts":{"rose":4},"votes":{"p":{"x":2}}}"#);
    }
}
