//! Go's template language as tokens, after `text/template/parse/lex.go`: what is between `{{` and
//! `}}` is split, spaces included, because a space decides whether `.a` is a field or an argument.

use super::Problem;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Assign,
    Bool,
    Char,
    CharConstant,
    Declare,
    Eof,
    Field,
    Identifier,
    Keyword(Keyword),
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
}

/// The words of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Dot,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// A piece of the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// Byte in the source.
    pub(super) at: usize,
    /// Line in the source, from 1.
    pub(super) line: usize,
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Splits a template.
///
/// # Errors
/// With the line at which the text is no template.
pub(super) fn split(source: &str) -> Result<Vec<Token<'_>>, Problem> {
    let mut lexer = Lexer {
        source,
        at: 0,
        line: 1,
        parens: 0,
        tokens: Vec::new(),
    };
    while lexer.text()? {
        while lexer.inside()? {}
    }
    lexer.push(Kind::Eof, 0);
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    parens: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// Takes the next bytes as a token.
    fn push(&mut self, kind: Kind, length: usize) {
        let text = &self.source[self.at..self.at + length];
        self.tokens.push(Token {
            kind,
            text,
            at: self.at,
            line: self.line,
        });
        self.skip(length);
    }

    fn skip(&mut self, length: usize) {
        let text = &self.source[self.at..self.at + length];
        self.line += text.matches('\n').count();
        self.at += length;
    }

    fn problem(&self, message: impl Into<String>) -> Problem {
        Problem {
            line: self.line,
            message: message.into(),
        }
    }

    /// Text up to the next action, and its delimiter; false at the end.
    fn text(&mut self) -> Result<bool, Problem> {
        let rest = self.rest();
        let Some(start) = rest.find("{{") else {
            if !rest.is_empty() {
                self.push(Kind::Text, rest.len());
            }
            return Ok(false);
        };
        let after = &rest[start + 2..];
        let trims = after.starts_with('-') && after[1..].starts_with(SPACES);
        let text = &rest[..start];
        let kept = if trims {
            text.trim_end_matches(SPACES).len()
        } else {
            start
        };
        if kept > 0 {
            self.push(Kind::Text, kept);
        }
        self.skip(start - kept);
        let mark = if trims { 2 } else { 0 };
        if self.rest()[2 + mark..].starts_with("/*") {
            self.comment(2 + mark)?;
            return Ok(true);
        }
        self.push(Kind::LeftDelim, 2);
        self.skip(mark);
        self.parens = 0;
        Ok(true)
    }

    fn comment(&mut self, start: usize) -> Result<(), Problem> {
        let rest = self.rest();
        let Some(length) = rest[start..].find("*/") else {
            return Err(self.problem("unclosed comment"));
        };
        self.skip(start + length + 2);
        match closing(self.rest()) {
            Some(trims) => {
                self.close(trims);
                Ok(())
            }
            None => Err(self.problem("comment ends before closing delimiter")),
        }
    }

    /// Passes the right delimiter, and the space after it if that is trimmed.
    fn close(&mut self, trims: bool) {
        self.skip(if trims { 4 } else { 2 });
        if trims {
            let rest = self.rest();
            self.skip(rest.len() - rest.trim_start_matches(SPACES).len());
        }
    }

    /// One token of an action; false when the action, or a comment in its place, is over.
    fn inside(&mut self) -> Result<bool, Problem> {
        if !matches!(self.tokens.last(), Some(token) if token.kind != Kind::Text && token.kind != Kind::RightDelim)
        {
            // A comment took the place of an action.
            return Ok(false);
        }
        let rest = self.rest();
        if let Some(trims) = closing(rest) {
            if self.parens > 0 {
                return Err(self.problem("unclosed left paren"));
            }
            let (at, line) = (self.at, self.line);
            self.close(trims);
            self.tokens.push(Token {
                kind: Kind::RightDelim,
                text: "}}",
                at,
                line,
            });
            return Ok(false);
        }
        let Some(first) = rest.chars().next() else {
            return Err(self.problem("unclosed action"));
        };
        match first {
            ' ' | '\t' | '\r' | '\n' => self.space(),
            '=' => self.push(Kind::Assign, 1),
            ':' if rest.starts_with(":=") => self.push(Kind::Declare, 2),
            ':' => return Err(self.problem("expected :=")),
            '|' => self.push(Kind::Pipe, 1),
            '"' => self.quote('"', Kind::String, "unterminated quoted string")?,
            '\'' => self.quote('\'', Kind::CharConstant, "unterminated character constant")?,
            '`' => self.raw_quote()?,
            '$' => self.name(1, Kind::Variable)?,
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.field()?,
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            '(' => {
                self.push(Kind::LeftParen, 1);
                self.parens += 1;
            }
            ')' if self.parens == 0 => return Err(self.problem("unexpected right paren")),
            ')' => {
                self.push(Kind::RightParen, 1);
                self.parens -= 1;
            }
            c if is_word(c) => self.word()?,
            c if c.is_ascii_graphic() => self.push(Kind::Char, 1),
            c => {
                return Err(self.problem(format!("unrecognized character in action: {}", named(c))));
            }
        }
        Ok(true)
    }

    /// Spaces; the one before a trim mark belongs to the delimiter.
    fn space(&mut self) {
        let rest = self.rest();
        let length = rest.len() - rest.trim_start_matches(SPACES).len();
        let kept = if closing(&rest[length - 1..]) == Some(true) {
            length - 1
        } else {
            length
        };
        if kept > 0 {
            self.push(Kind::Space, kept);
        }
    }

    fn quote(&mut self, mark: char, kind: Kind, problem: &str) -> Result<(), Problem> {
        let mut escaped = false;
        for (at, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == mark => {
                    self.push(kind, at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(self.problem(problem))
    }

    fn raw_quote(&mut self) -> Result<(), Problem> {
        match self.rest()[1..].find('`') {
            Some(length) => {
                self.push(Kind::RawString, length + 2);
                Ok(())
            }
            None => Err(self.problem("unterminated raw quoted string")),
        }
    }

    fn field(&mut self) -> Result<(), Problem> {
        if ends(&self.rest()[1..]) {
            self.push(Kind::Keyword(Keyword::Dot), 1);
            return Ok(());
        }
        self.name(1, Kind::Field)
    }

    /// A name after its mark: a field's point or a variable's dollar.
    fn name(&mut self, mark: usize, kind: Kind) -> Result<(), Problem> {
        let rest = self.rest();
        let length = mark + word_length(&rest[mark..]);
        self.expect_end(&rest[length..])?;
        self.push(kind, length);
        Ok(())
    }

    fn word(&mut self) -> Result<(), Problem> {
        let rest = self.rest();
        let length = word_length(rest);
        self.expect_end(&rest[length..])?;
        let kind = match &rest[..length] {
            "true" | "false" => Kind::Bool,
            word => keyword(word).map_or(Kind::Identifier, Kind::Keyword),
        };
        self.push(kind, length);
        Ok(())
    }

    fn expect_end(&self, rest: &str) -> Result<(), Problem> {
        match rest.chars().next() {
            Some(c) if !ends(rest) => Err(self.problem(format!("bad character {}", named(c)))),
            _ => Ok(()),
        }
    }

    fn number(&mut self) -> Result<(), Problem> {
        let rest = self.rest();
        let length = number_length(rest);
        let next = rest[length..].chars().next();
        if next.is_some_and(is_word) {
            let shown = &rest[..length + next.map_or(0, char::len_utf8)];
            return Err(self.problem(format!("bad number syntax: {shown:?}")));
        }
        self.push(Kind::Number, length);
        Ok(())
    }
}

/// Whether an action ends here, and then whether with a trim mark.
fn closing(rest: &str) -> Option<bool> {
    if rest.starts_with("}}") {
        return Some(false);
    }
    let marked = rest.strip_prefix(SPACES)?;
    marked.starts_with("-}}").then_some(true)
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn word_length(rest: &str) -> usize {
    rest.find(|c| !is_word(c)).unwrap_or(rest.len())
}

/// Whether a name may end before this.
fn ends(rest: &str) -> bool {
    rest.is_empty()
        || rest.starts_with("}}")
        || rest.starts_with([' ', '\t', '\r', '\n', '.', ',', '|', ':', ')', '('])
}

fn number_length(rest: &str) -> usize {
    let mut at = usize::from(rest.starts_with(['+', '-']));
    let (digits, exponent): (fn(char) -> bool, &[char]) =
        match rest[at..].get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => (|c| c.is_ascii_hexdigit() || c == '_', &['p', 'P']),
            Some("0o") => (|c| ('0'..='7').contains(&c) || c == '_', &[]),
            Some("0b") => (|c| c == '0' || c == '1' || c == '_', &[]),
            _ => (|c| c.is_ascii_digit() || c == '_', &['e', 'E']),
        };
    if exponent != ['e', 'E'] {
        at += 2;
    }
    let take = |at: usize, digits: fn(char) -> bool| {
        at + rest[at..].find(|c| !digits(c)).unwrap_or(rest.len() - at)
    };
    at = take(at, digits);
    if rest[at..].starts_with('.') {
        at = take(at + 1, digits);
    }
    if rest[at..].starts_with(exponent) {
        at += 1;
        at += usize::from(rest[at..].starts_with(['+', '-']));
        at = take(at, |c| c.is_ascii_digit() || c == '_');
    }
    at
}

fn keyword(word: &str) -> Option<Keyword> {
    Some(match word {
        "block" => Keyword::Block,
        "break" => Keyword::Break,
        "continue" => Keyword::Continue,
        "define" => Keyword::Define,
        "else" => Keyword::Else,
        "end" => Keyword::End,
        "if" => Keyword::If,
        "nil" => Keyword::Nil,
        "range" => Keyword::Range,
        "template" => Keyword::Template,
        "with" => Keyword::With,
        _ => return None,
    })
}

/// A character as Go's `%#U` names it.
fn named(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}
