//! Finds mail addresses, telephone numbers and card numbers in texts, and puts stars in their place.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// A mail address; or a run of digits with single separators, long enough to be a telephone number
/// (E.164 allows 15 digits, the shortest national ones here have 8) or a card number (ISO/IEC 7812,
/// to 19). The bounds keep dates, scores and prices out.
static PERSONAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?P<mail>\b[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63}){1,8})|(?P<number>\+?\(?[0-9](?:[ ./()-]{0,2}[0-9]){7,18})")
        .expect("the pattern is constant")
});

/// What stands in the place of what was found.
const STARS: &str = "***";

/// The text without personal data; borrowed if there is none.
pub(crate) fn mask(text: &str) -> Cow<'_, str> {
    // Most texts have neither.
    if !text
        .bytes()
        .any(|byte| byte == b'@' || byte.is_ascii_digit())
    {
        return Cow::Borrowed(text);
    }
    let mut found = false;
    let masked = PERSONAL.replace_all(text, |captures: &Captures<'_>| {
        match (captures.name("mail"), captures.name("number")) {
            (None, Some(number)) if !is_personal_number(number.as_str()) => {
                number.as_str().to_owned()
            }
            _ => {
                found = true;
                STARS.to_owned()
            }
        }
    });
    if found {
        Cow::Owned(masked.into_owned())
    } else {
        Cow::Borrowed(text)
    }
}

/// Long numbers are cards only with a right check digit (Luhn); an unbroken run of 8 to 10 digits
/// without a leading 0 or + is more often an amount or a score.
fn is_personal_number(number: &str) -> bool {
    let digits: Vec<u32> = number.chars().filter_map(|c| c.to_digit(10)).collect();
    if digits.len() >= 13 {
        return luhn(&digits) || number.starts_with('+');
    }
    number.starts_with(['+', '0', '(']) || digits.len() < number.len() || digits.len() == 11
}

/// The check digit of ISO/IEC 7812-1, annex B.
fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, digit * 2) {
            (0, _) => *digit,
            (_, twice) => twice / 10 + twice % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn personal_data_is_masked() {
        for (text, expected) in [
            ("write to ann.b+c@mail.example.org now", "write to *** now"),
            ("call +82 10-1234-5678!", "call ***!"),
            ("010-1234-5678", "***"),
            ("01012345678", "***"),
            ("(030) 1234 5678", "***"),
            ("card 4111 1111 1111 1111", "card ***"),
        ] {
            assert_eq!(mask(text), expected);
        }
    }

    #[test]
    fn plain_talk_stays_as_it_is() {
        for text in [
            "hello",
            "10:2 gg",
            "12345678 points",
            "@ann look",
            "v1.2.3",
            "4111 1111 1111 1112",
            "a@b",
        ] {
            assert!(
                matches!(mask(text), Cow::Borrowed(_)),
                "{text} became {}",
                mask(text)
            );
        }
    }

    proptest! {
        #[test]
        fn masking_a_masked_text_changes_nothing(text in ".{0,100}") {
            let once = mask(&text).into_owned();
            prop_assert_eq!(mask(&once).into_owned(), once.clone());
        }

        #[test]
        fn an_address_never_survives(before in "[a-z ]{0,9} ", name in "[a-z]{1,9}", host in "[a-z]{1,9}\\.(org|kr)") {
            let masked = mask(&format!("{before}{name}@{host} ok")).into_owned();
            prop_assert!(!masked.contains('@'), "{}", masked);
        }
    }
}
