//! Text to tokens. Within square brackets a colon separates range and step;
//! outside it may be part of a metric's name.

use super::{MAX_TEXT, ParseError};
use crate::ast::Span;

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A word: name, keyword or operator.
    Word(String),
    /// A number literal.
    Number(f64),
    /// A duration literal, in seconds.
    Duration(f64),
    /// A string literal without quotes.
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
    /// The end of the text.
    End,
}

impl Token {
    /// The token as an error message shows it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Word(word) => format!("{word:?}"),
            Self::Number(value) => format!("number {value}"),
            Self::Duration(seconds) => format!("duration of {seconds} s"),
            Self::Text(text) => format!("string {text:?}"),
            Self::Sign(sign) => format!("{sign:?}"),
            Self::End => "end of input".to_owned(),
        }
    }
}

/// Longest first, so that `==` is not read as two `=`.
const SIGNS: &[&str] = &[
    "==", "!=", ">=", "<=", "=~", "!~", "</", ">/", "=", ">", "<", "+", "-", "*", "/", "%", "^",
    "(", ")", "{", "}", "[", "]", ",", "@",
];

/// Splits a text into tokens, each with its position.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Span)>, ParseError> {
    if text.len() > MAX_TEXT {
        let message = format!("expression is longer than {MAX_TEXT} bytes");
        return Err(ParseError::new(Span { line: 1, column: 1 }, message));
    }
    let mut lexer = Lexer {
        rest: text,
        span: Span { line: 1, column: 1 },
        in_bracket: false,
    };
    let mut list = Vec::new();
    loop {
        lexer.skip_space();
        let span = lexer.span;
        let token = lexer.next()?;
        let end = token == Token::End;
        list.push((token, span));
        if end {
            return Ok(list);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    span: Span,
    in_bracket: bool,
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Token, ParseError> {
        let Some(first) = self.rest.chars().next() else {
            return Ok(Token::End);
        };
        let second = self.rest.chars().nth(1).unwrap_or(' ');
        match first {
            '"' | '\'' | '`' => self.string(first),
            '0'..='9' => self.numeric(),
            '.' if second.is_ascii_digit() => self.numeric(),
            ':' if self.in_bracket => {
                self.advance(1);
                Ok(Token::Sign(":"))
            }
            'a'..='z' | 'A'..='Z' | '_' | ':' => Ok(self.word()),
            _ => self.sign(first),
        }
    }

    fn sign(&mut self, first: char) -> Result<Token, ParseError> {
        let Some(sign) = SIGNS.iter().find(|sign| self.rest.starts_with(**sign)) else {
            return Err(self.error(format!("unexpected character: {first:?}")));
        };
        match *sign {
            "[" => self.in_bracket = true,
            "]" => self.in_bracket = false,
            _ => {}
        }
        self.advance(sign.len());
        Ok(Token::Sign(sign))
    }

    fn word(&mut self) -> Token {
        let colon = !self.in_bracket;
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && colon);
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let word = self.rest[..end].to_owned();
        self.advance(end);
        Token::Word(word)
    }

    fn numeric(&mut self) -> Result<Token, ParseError> {
        let end = numeric_end(self.rest);
        let text = &self.rest[..end];
        let token = match (number(text), duration_seconds(text)) {
            (Some(value), _) => Token::Number(value),
            (None, Some(seconds)) => Token::Duration(seconds),
            (None, None) => {
                return Err(self.error(format!("bad number or duration syntax: {text:?}")));
            }
        };
        self.advance(end);
        Ok(token)
    }

    fn string(&mut self, quote: char) -> Result<Token, ParseError> {
        let body = &self.rest[1..];
        let mut escaped = false;
        for (at, c) in body.char_indices() {
            if escaped {
                escaped = false;
            } else if c == '\\' && quote != '`' {
                escaped = true;
            } else if c == quote {
                let raw = &body[..at];
                let text = if quote == '`' {
                    Some(raw.to_owned())
                } else {
                    unquote(raw)
                };
                let text = text.ok_or_else(|| self.error("bad escape in string"))?;
                self.advance(at + 2);
                return Ok(Token::Text(text));
            } else if c == '\n' && quote != '`' {
                break;
            }
        }
        Err(self.error("unterminated quoted string"))
    }

    fn skip_space(&mut self) {
        loop {
            let space = self.rest.len() - self.rest.trim_start().len();
            self.advance(space);
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.advance(end);
        }
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest): (&str, &'a str) = self.rest.split_at(bytes);
        for c in passed.chars() {
            if c == '\n' {
                self.span.line += 1;
                self.span.column = 1;
            } else {
                self.span.column += 1;
            }
        }
        self.rest = rest;
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::new(self.span, message)
    }
}

/// Where a number or duration ends: after letters and digits, and after a sign
/// that belongs to an exponent.
fn numeric_end(text: &str) -> usize {
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let exponent = !hex && matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
        if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || exponent) {
            return at;
        }
        before = c;
    }
    text.len()
}

/// Reads a number as Go does: decimal, hexadecimal, octal with a leading zero,
/// underscores between digits.
pub(super) fn number(text: &str) -> Option<f64> {
    if text.starts_with('_') || text.ends_with('_') || text.contains("__") {
        return None;
    }
    let digits = text.replace('_', "");
    let lower = digits.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok().map(|value| value as f64);
    }
    let octal = lower.len() > 1
        && lower.starts_with('0')
        && lower.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    if octal {
        return u64::from_str_radix(&lower, 8)
            .ok()
            .map(|value| value as f64);
    }
    let decimal = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | '+' | '-');
    if !lower.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !lower.chars().all(decimal) {
        return None;
    }
    lower.parse().ok()
}

/// Reads a duration such as `1h30m`: units from large to small, each once.
pub(super) fn duration_seconds(text: &str) -> Option<f64> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut ms = 0u64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let letters = &rest[digits..];
        let end = letters
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(letters.len());
        let (_, factor) = units.find(|(unit, _)| *unit == &letters[..end])?;
        let count: u64 = rest[..digits].parse().ok()?;
        ms = ms.checked_add(count.checked_mul(*factor)?)?;
        rest = &letters[end..];
    }
    // Go's durations are nanoseconds in 63 bits.
    let fits = !text.is_empty() && ms <= i64::MAX as u64 / 1_000_000;
    fits.then(|| ms as f64 / 1000.0)
}

/// Resolves Go's escapes; None for one that does not exist.
fn unquote(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = chars.next()?;
        let size = match escape {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0'..='7' => 3,
            _ => {
                bytes.push(simple_escape(escape)?);
                continue;
            }
        };
        let octal = escape.is_ascii_digit();
        let mut digits = String::new();
        digits.extend(octal.then_some(escape));
        digits.extend(chars.by_ref().take(size - usize::from(octal)));
        let code = u32::from_str_radix(&digits, if octal { 8 } else { 16 }).ok()?;
        if digits.len() != size {
            return None;
        }
        if matches!(escape, 'u' | 'U') {
            bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(u8::try_from(code).ok()?);
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn simple_escape(escape: char) -> Option<u8> {
    Some(match escape {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '\'' | '"' => escape as u8,
        _ => return None,
    })
}
