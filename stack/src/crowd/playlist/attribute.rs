//! Attribute lists: `NAME=value,NAME="quoted, value"` (RFC 8216bis 4.2).

use super::{Range, Resource, seconds};

/// The attributes of one tag, borrowed from its line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(&'a str);

impl<'a> Attributes<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// The value without its quotes; the first where a name comes twice.
    pub(super) fn get(self, name: &str) -> Option<&'a str> {
        self.iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    pub(super) fn is_yes(self, name: &str) -> bool {
        self.get(name) == Some("YES")
    }

    pub(super) fn number(self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    pub(super) fn seconds(self, name: &str) -> Option<f64> {
        seconds(self.get(name)?)
    }

    /// `URI` and `BYTERANGE="<n>[@<o>]"`; without an offset the range follows on from `previous`.
    pub(super) fn resource(self, previous: Option<Range>) -> Option<Resource> {
        let uri = self.get("URI")?.into();
        let range = self
            .get("BYTERANGE")
            .and_then(|text| parse_range(text, previous));
        Some(Resource { uri, range })
    }

    fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (name, after) = rest.split_once('=')?;
            let (value, next) = match after.strip_prefix('"') {
                Some(quoted) => {
                    let (value, tail) = quoted.split_once('"').unwrap_or((quoted, ""));
                    (value, tail.split_once(',').map_or("", |(_, tail)| tail))
                }
                None => after.split_once(',').unwrap_or((after, "")),
            };
            rest = next;
            Some((name.trim(), value))
        })
    }
}

/// `<length>[@<offset>]`.
pub(super) fn parse_range(text: &str, previous: Option<Range>) -> Option<Range> {
    let (length, offset) = match text.split_once('@') {
        Some((length, offset)) => (length, offset.trim().parse().ok()?),
        None => (
            text,
            previous.map_or(Some(0), |range| range.offset.checked_add(range.length))?,
        ),
    };
    let length = length.trim().parse().ok()?;
    // A range that runs over the end of all numbers cannot be asked for.
    u64::checked_add(offset, length)?;
    Some(Range { length, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_may_hold_commas_and_equal_signs() {
        let list = Attributes::new(r#"BANDWIDTH=1280000,CODECS="avc1.4d,mp4a=x",AUDIO="a""#);
        assert_eq!(list.number("BANDWIDTH"), Some(1_280_000));
        assert_eq!(list.get("CODECS"), Some("avc1.4d,mp4a=x"));
        assert_eq!(list.get("AUDIO"), Some("a"));
        assert_eq!(list.get("VIDEO"), None);
    }

    #[test]
    fn a_range_without_offset_follows_the_one_before() {
        let before = Range {
            length: 10,
            offset: 5,
        };
        assert_eq!(
            parse_range("7", Some(before)),
            Some(Range {
                length: 7,
                offset: 15
            })
        );
        assert_eq!(
            parse_range("7@3", Some(before)),
            Some(Range {
                length: 7,
                offset: 3
            })
        );
        assert_eq!(parse_range("7@18446744073709551615", None), None);
    }
}
