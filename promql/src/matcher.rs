//! Label matchers: `=`, `!=`, `=~`, `!~`. Regular expressions are anchored and
//! their dot matches newlines, as in Prometheus; their compiled size is bounded.

use regex::{Regex, RegexBuilder};

use crate::labels::Labels;

/// Bytes a compiled regular expression may take.
const REGEX_BYTES: usize = 1 << 20;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as written in PromQL.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One condition on one label.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How the value is compared.
    pub op: MatchOp,
    /// The value or the expression.
    pub value: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Literal,
    /// An expression that is only a list of literals, sorted.
    OneOf(Vec<String>),
    Regex(Regex),
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Matcher {
    /// Builds a matcher; fails with the reason if the expression is not valid.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, String> {
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::Literal,
            MatchOp::Regex | MatchOp::NotRegex => match literals(value) {
                Some(list) => Test::OneOf(list),
                None => Test::Regex(compile(value)?),
            },
        };
        Ok(Self {
            name: name.to_owned(),
            op,
            value: value.to_owned(),
            test,
        })
    }

    /// The matcher `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            op: MatchOp::Equal,
            value: value.to_owned(),
            test: Test::Literal,
        }
    }

    /// Whether a value satisfies the condition; "" stands for no label.
    pub fn matches(&self, value: &str) -> bool {
        let found = match &self.test {
            Test::Literal => self.value == value,
            Test::OneOf(list) => list
                .binary_search_by(|have| have.as_str().cmp(value))
                .is_ok(),
            Test::Regex(regex) => regex.is_match(value),
        };
        found == matches!(self.op, MatchOp::Equal | MatchOp::Regex)
    }

    /// The only values that can match, if the condition is such a list.
    pub fn candidates(&self) -> Option<&[String]> {
        match (&self.test, self.op) {
            (Test::Literal, MatchOp::Equal) => Some(std::slice::from_ref(&self.value)),
            (Test::OneOf(list), MatchOp::Regex) => Some(list),
            _ => None,
        }
    }
}

/// Whether a set satisfies all conditions.
pub fn matches_all(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers
        .iter()
        .all(|matcher| matcher.matches(labels.get(&matcher.name)))
}

/// Compiles an anchored expression, bounded in size.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    // Go's syntax allows a brace that opens no repetition; Rust's wants it escaped.
    RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(REGEX_BYTES)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("regular expression needs more than {limit} bytes when compiled")
            }
            other => format!(
                "invalid regular expression: {}",
                last_line(&other.to_string())
            ),
        })
}

fn last_line(text: &str) -> String {
    let line = text.lines().last().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

/// The alternatives of an expression that has no other operator than `|`.
fn literals(pattern: &str) -> Option<Vec<String>> {
    let plain = |c: char| c == '|' || !regex_syntax_char(c);
    if !pattern.chars().all(plain) {
        return None;
    }
    let mut list: Vec<String> = pattern.split('|').map(str::to_owned).collect();
    list.sort_unstable();
    list.dedup();
    Some(list)
}

fn regex_syntax_char(c: char) -> bool {
    matches!(
        c,
        '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_anchored_and_the_dot_takes_newlines() {
        let matcher = Matcher::new("a", MatchOp::Regex, "b.d").unwrap();
        assert!(matcher.matches("b\nd") && !matcher.matches("xbcd") && !matcher.matches("bcde"));
    }

    #[test]
    fn a_list_of_literals_needs_no_regular_expression() {
        let matcher = Matcher::new("a", MatchOp::Regex, "x|yy|").unwrap();
        assert_eq!(matcher.candidates().unwrap(), ["", "x", "yy"]);
        assert!(matcher.matches("") && matcher.matches("yy") && !matcher.matches("y"));
        let inverse = Matcher::new("a", MatchOp::NotRegex, "x|yy").unwrap();
        assert!(inverse.candidates().is_none() && inverse.matches("y") && !inverse.matches("x"));
    }

    #[test]
    fn a_huge_expression_is_refused_with_its_limit() {
        let error = Matcher::new("a", MatchOp::Regex, "(a{100}){100}{100}").unwrap_err();
        assert!(error.contains("bytes"), "{error}");
    }
}
