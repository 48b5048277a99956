//! Steps from token to token.

use super::ParseError;
use super::expr::Parser;
use super::lex::Token;
use crate::ast::Span;

impl Parser {
    /// A number with an optional sign, also `Inf` and `NaN`.
    pub(super) fn signed_number(&mut self) -> Result<f64, ParseError> {
        let negative = self.take("-");
        if !negative {
            self.take("+");
        }
        let value = match self.peek() {
            Token::Number(value) | Token::Duration(value) => *value,
            Token::Word(word) if word.eq_ignore_ascii_case("inf") => f64::INFINITY,
            Token::Word(word) if word.eq_ignore_ascii_case("nan") => f64::NAN,
            _ => return Err(self.unexpected("a number")),
        };
        self.next();
        Ok(if negative { -value } else { value })
    }

    pub(super) fn new_id(&mut self) -> usize {
        self.ids += 1;
        self.ids - 1
    }

    pub(super) fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> &Token {
        self.tokens
            .get(self.at + ahead)
            .map_or(&Token::End, |(token, _)| token)
    }

    pub(super) fn span(&self) -> Span {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens
            .get(self.at.min(last))
            .map_or(Span::default(), |(_, span)| *span)
    }

    pub(super) fn next(&mut self) {
        self.at += 1;
    }

    /// Goes on if the next token is this sign.
    pub(super) fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(have) if *have == sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn is_word(&self, wanted: &str) -> bool {
        matches!(self.peek(), Token::Word(word) if word.eq_ignore_ascii_case(wanted))
    }

    pub(super) fn take_word(&mut self, wanted: &str) -> bool {
        let found = self.is_word(wanted);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<(), ParseError> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(self.unexpected(&format!("{sign:?}")))
        }
    }

    pub(super) fn unexpected(&self, wanted: &str) -> ParseError {
        let message = format!("unexpected {}, expected {wanted}", self.peek().show());
        ParseError::new(self.span(), message)
    }
}
