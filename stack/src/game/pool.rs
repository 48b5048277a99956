//! Search fields of tickets, and the pools that look at them.

use std::collections::{BTreeMap, HashMap};

use super::matcher::Window;
use super::proto;
use super::protocol::MAX_PLAYERS;

/// Entries of each kind of search field, and filters of each kind.
const MAX_ENTRIES: usize = 16;
/// Bytes of a name.
const MAX_NAME: usize = 64;
/// Bytes of a value.
const MAX_VALUE: usize = 128;

/// The double argument that holds the rating of the ticket's player.
pub(crate) const RATING: &str = "rating";

/// What a ticket tells about its player.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SearchFields {
    /// Without order.
    pub(crate) tags: Vec<String>,
    /// By name.
    pub(crate) strings: HashMap<String, String>,
    /// By name; holds [`RATING`].
    pub(crate) doubles: HashMap<String, f64>,
}

/// Filters; a ticket is inside if all of them hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pool {
    /// The ticket has all of them.
    pub(crate) tags: Vec<String>,
    /// The ticket has these values.
    pub(crate) strings: BTreeMap<String, String>,
    /// The ticket has these arguments, within.
    pub(crate) ranges: Vec<Range>,
}

/// min <= value < max.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Range {
    /// Of the double argument.
    pub(crate) name: String,
    /// Included.
    pub(crate) min: f64,
    /// Excluded.
    pub(crate) max: f64,
}

/// Which tickets make a match.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Profile {
    /// For metrics and assignments.
    pub(crate) name: String,
    /// In a match.
    pub(crate) players: usize,
    /// Who may take part.
    pub(crate) pool: Pool,
    /// String argument whose values are never mixed; empty: none.
    pub(crate) split_by: String,
    /// How far ratings may be apart.
    pub(crate) window: Window,
}

/// Which field of a request is out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OutOfBounds(pub(crate) &'static str);

impl Pool {
    /// Whether all filters hold. A missing argument, and a NaN, is outside of every range.
    pub(crate) fn holds(&self, fields: &SearchFields) -> bool {
        self.tags.iter().all(|tag| fields.tags.contains(tag))
            && self
                .strings
                .iter()
                .all(|(name, value)| fields.strings.get(name) == Some(value))
            && self.ranges.iter().all(|range| {
                fields
                    .doubles
                    .get(&range.name)
                    .is_some_and(|value| (range.min..range.max).contains(value))
            })
    }
}

impl SearchFields {
    /// Of a request, within bounds, with the player's rating.
    pub(crate) fn from_proto(
        fields: proto::SearchFields,
        rating: f64,
    ) -> Result<Self, OutOfBounds> {
        let proto::SearchFields {
            tags,
            string_args,
            mut double_args,
        } = fields;
        double_args.remove(RATING);
        if tags.len().max(string_args.len()).max(double_args.len()) > MAX_ENTRIES {
            return Err(OutOfBounds(
                "search_fields: want up to 16 entries of each kind",
            ));
        }
        let names = tags
            .iter()
            .chain(string_args.keys())
            .chain(double_args.keys());
        check_names(names)?;
        if string_args.values().any(|value| value.len() > MAX_VALUE) {
            return Err(OutOfBounds("search_fields: want values up to 128 bytes"));
        }
        double_args.insert(RATING.to_owned(), rating);
        Ok(Self {
            tags,
            strings: string_args,
            doubles: double_args,
        })
    }
}

impl Profile {
    /// Of a request, within bounds.
    pub(crate) fn from_proto(profile: proto::Profile) -> Result<Self, OutOfBounds> {
        let pool = profile.pool.unwrap_or_default();
        let window = Window {
            base: profile.window,
            per_second: profile.window_per_second,
            max: profile.window_max,
        };
        if pool
            .tags
            .len()
            .max(pool.string_equals.len())
            .max(pool.double_ranges.len())
            > MAX_ENTRIES
        {
            return Err(OutOfBounds("pool: want up to 16 filters of each kind"));
        }
        let ranges = pool.double_ranges.iter().map(|range| &range.name);
        check_names(
            pool.tags
                .iter()
                .chain(pool.string_equals.keys())
                .chain(ranges),
        )?;
        check_names([&profile.name])?;
        let players = profile.players as usize;
        if profile.name.is_empty() || !(2..=MAX_PLAYERS).contains(&players) || !window.is_valid() {
            return Err(OutOfBounds(
                "profile: want a name, 2 to 16 players, and windows of 0 or more",
            ));
        }
        let ranges = pool.double_ranges.into_iter();
        Ok(Self {
            name: profile.name,
            players,
            pool: Pool {
                tags: pool.tags,
                strings: pool.string_equals.into_iter().collect(),
                ranges: ranges
                    .map(|proto::DoubleRange { name, min, max }| Range { name, min, max })
                    .collect(),
            },
            split_by: profile.split_by,
            window,
        })
    }
}

fn check_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Result<(), OutOfBounds> {
    if names.into_iter().any(|name| name.len() > MAX_NAME) {
        return Err(OutOfBounds("want names and tags up to 64 bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> SearchFields {
        let fields = proto::SearchFields {
            tags: vec!["ranked".to_owned()],
            string_args: HashMap::from([("mode".to_owned(), "duel".to_owned())]),
            double_args: HashMap::from([("rating".to_owned(), 9_999.0), ("rtt".to_owned(), 20.0)]),
        };
        SearchFields::from_proto(fields, 1_500.0).unwrap()
    }

    fn pool(tags: &[&str], strings: &[(&str, &str)], ranges: &[(&str, f64, f64)]) -> Pool {
        Pool {
            tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            strings: strings
                .iter()
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            ranges: ranges
                .iter()
                .map(|&(name, min, max)| Range {
                    name: name.to_owned(),
                    min,
                    max,
                })
                .collect(),
        }
    }

    #[test]
    fn a_pool_holds_a_ticket_if_every_filter_does() {
        let fields = fields();
        assert!(Pool::default().holds(&fields));
        assert!(pool(&["ranked"], &[("mode", "duel")], &[("rtt", 20.0, 30.0)]).holds(&fields));
        assert!(!pool(&["ranked", "casual"], &[], &[]).holds(&fields));
        assert!(!pool(&[], &[("mode", "squad")], &[]).holds(&fields));
        assert!(!pool(&[], &[("region", "")], &[]).holds(&fields));
        assert!(!pool(&[], &[], &[("rtt", 10.0, 20.0)]).holds(&fields));
        assert!(!pool(&[], &[], &[("level", f64::MIN, f64::MAX)]).holds(&fields));
    }

    #[test]
    fn a_player_cannot_set_its_own_rating() {
        assert_eq!(fields().doubles[RATING], 1_500.0);
    }

    #[test]
    fn too_many_or_too_long_fields_are_refused() {
        let many = proto::SearchFields {
            tags: vec![String::new(); 17],
            ..Default::default()
        };
        assert!(SearchFields::from_proto(many, 0.0).is_err());
        let long = proto::SearchFields {
            tags: vec!["x".repeat(65)],
            ..Default::default()
        };
        assert!(SearchFields::from_proto(long, 0.0).is_err());
    }
}
