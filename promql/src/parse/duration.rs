//! Durations and arithmetic between them, as they stand in brackets and behind
//! `offset`.

use super::ParseError;
use super::expr::Parser;
use super::lex::Token;
use crate::ast::{Duration, DurationOp};

impl Parser {
    /// A duration expression in brackets; a constant one must be positive.
    pub(super) fn duration(&mut self) -> Result<Duration, ParseError> {
        let span = self.span();
        let duration = self.duration_expression(0)?;
        if !matches!(duration.constant_ms(), None | Some(1..)) {
            return Err(ParseError::new(span, "duration must be greater than 0"));
        }
        Ok(duration)
    }

    /// What may follow `offset`: an atom with an optional sign.
    pub(super) fn offset_duration(&mut self) -> Result<Duration, ParseError> {
        self.duration_sign()
    }

    fn duration_expression(&mut self, floor: u8) -> Result<Duration, ParseError> {
        self.nested(|parser| {
            let mut left = parser.duration_sign_or_power()?;
            let mut links = 0;
            while let Some((op, strength)) = parser.duration_operator() {
                if strength < floor {
                    break;
                }
                links += 1;
                if links > super::MAX_DEPTH {
                    return Err(ParseError::new(
                        parser.span(),
                        "duration expression is too long",
                    ));
                }
                parser.next();
                let right = parser.duration_expression(strength + 1)?;
                left = Duration::Binary(op, Box::new((left, right)));
            }
            Ok(left)
        })
    }

    /// A sign binds weaker than `^`: `-2^2` is `-(2^2)`.
    fn duration_sign_or_power(&mut self) -> Result<Duration, ParseError> {
        self.nested(|parser| {
            if parser.take("-") {
                let inner = parser.duration_sign_or_power()?;
                return Ok(negate(inner));
            }
            if parser.take("+") {
                return parser.duration_sign_or_power();
            }
            let base = parser.duration_atom()?;
            if !parser.take("^") {
                return Ok(base);
            }
            let exponent = parser.duration_sign_or_power()?;
            Ok(Duration::Binary(
                DurationOp::Pow,
                Box::new((base, exponent)),
            ))
        })
    }

    fn duration_sign(&mut self) -> Result<Duration, ParseError> {
        if self.take("-") {
            return Ok(negate(self.duration_atom()?));
        }
        self.take("+");
        self.duration_atom()
    }

    fn duration_atom(&mut self) -> Result<Duration, ParseError> {
        match self.peek().clone() {
            Token::Number(seconds) | Token::Duration(seconds) => {
                self.next();
                Ok(Duration::Seconds(seconds))
            }
            Token::Sign("(") => {
                self.next();
                let inner = self.duration_expression(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Word(word) => self.duration_call(&word.to_ascii_lowercase()),
            _ => Err(self.unexpected("a duration")),
        }
    }

    fn duration_call(&mut self, word: &str) -> Result<Duration, ParseError> {
        let op = match word {
            "step" | "range" => None,
            "min_of" => Some(DurationOp::Min),
            "max_of" => Some(DurationOp::Max),
            _ => return Err(self.unexpected("a duration")),
        };
        self.next();
        self.expect("(")?;
        let result = match op {
            None if word == "step" => Duration::Step,
            None => Duration::Range,
            Some(op) => {
                let left = self.duration_expression(0)?;
                self.expect(",")?;
                let right = self.duration_expression(0)?;
                Duration::Binary(op, Box::new((left, right)))
            }
        };
        self.expect(")")?;
        Ok(result)
    }

    fn duration_operator(&self) -> Option<(DurationOp, u8)> {
        Some(match self.peek() {
            Token::Sign("+") => (DurationOp::Add, 1),
            Token::Sign("-") => (DurationOp::Sub, 1),
            Token::Sign("*") => (DurationOp::Mul, 2),
            Token::Sign("/") => (DurationOp::Div, 2),
            Token::Sign("%") => (DurationOp::Mod, 2),
            _ => return None,
        })
    }
}

fn negate(duration: Duration) -> Duration {
    match duration {
        Duration::Seconds(seconds) => Duration::Seconds(-seconds),
        other => Duration::Binary(DurationOp::Sub, Box::new((Duration::Seconds(0.0), other))),
    }
}
