//! Selectors and what stands behind them: braces, ranges, subqueries, `offset`,
//! `@`, `anchored` and `smoothed`.

use super::ParseError;
use super::expr::Parser;
use super::lex::Token;
use crate::ast::{At, Expr, ExprKind, Offset, Selector, Span};
use crate::labels::{Labels, LabelsBuilder, NAME};
use crate::matcher::{MatchOp, Matcher};

impl Parser {
    /// `name`, `name{…}` or `{…}`
    pub(super) fn vector_selector(&mut self) -> Result<ExprKind, ParseError> {
        let mut matchers = Vec::new();
        if let Token::Word(name) = self.peek().clone() {
            self.next();
            matchers.push(Matcher::equal(NAME, &name));
        }
        if self.peek() == &Token::Sign("{") {
            self.matchers(&mut matchers)?;
        }
        matchers.shrink_to_fit();
        let id = self.new_id();
        let offset = Offset::default();
        let (anchored, smoothed, stats_only) = (false, false, false);
        let selector = Selector {
            matchers,
            offset,
            anchored,
            smoothed,
            stats_only,
            id,
        };
        Ok(ExprKind::Vector(Box::new(selector)))
    }

    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
        self.expect("{")?;
        while !self.take("}") {
            let span = self.span();
            let (name, quoted) = match self.peek().clone() {
                Token::Word(word) if !word.contains(':') => (word, false),
                Token::Text(text) => (text, true),
                _ => return Err(self.unexpected("a label name or \"}\" in the selector")),
            };
            self.next();
            let matcher = if quoted && matches!(self.peek(), Token::Sign("," | "}")) {
                if matchers
                    .iter()
                    .any(|have| have.name == NAME && have.op == MatchOp::Equal)
                {
                    let message = format!("metric name must not be set twice: {name:?}");
                    return Err(ParseError::new(span, message));
                }
                Matcher::equal(NAME, &name)
            } else {
                self.matcher(&name, matchers)?
            };
            matchers.push(matcher);
            if !self.take(",") && self.peek() != &Token::Sign("}") {
                return Err(self.unexpected("\",\" or \"}\" in the selector"));
            }
        }
        Ok(())
    }

    fn matcher(&mut self, name: &str, before: &[Matcher]) -> Result<Matcher, ParseError> {
        let op = match self.peek() {
            Token::Sign("=") => MatchOp::Equal,
            Token::Sign("!=") => MatchOp::NotEqual,
            Token::Sign("=~") => MatchOp::Regex,
            Token::Sign("!~") => MatchOp::NotRegex,
            _ => return Err(self.unexpected("one of \"=\", \"!=\", \"=~\", \"!~\"")),
        };
        self.next();
        let span = self.span();
        let Token::Text(value) = self.peek().clone() else {
            return Err(self.unexpected("a string in the selector"));
        };
        self.next();
        // `name{__name__="other"}` says two names; a list of both is empty.
        let named = before
            .first()
            .is_some_and(|have| have.name == NAME && have.op == MatchOp::Equal);
        if name == NAME && op == MatchOp::Equal && named {
            let message = format!("metric name must not be set twice: {value:?}");
            return Err(ParseError::new(span, message));
        }
        Matcher::new(name, op, &value).map_err(|reason| ParseError::new(span, reason))
    }

    /// Everything that may follow an operand.
    pub(super) fn postfix(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        loop {
            let span = self.span();
            if self.peek() == &Token::Sign("[") {
                expr = self.range_or_subquery(expr)?;
            } else if self.take_word("offset") {
                let duration = self.offset_duration()?;
                let offset = offset_of(&mut expr).ok_or_else(|| misplaced("offset", span))?;
                if offset.offset.is_some() {
                    return Err(ParseError::new(
                        span,
                        "offset may not be set multiple times",
                    ));
                }
                offset.offset = Some(duration);
            } else if self.take("@") {
                let at = self.at_time()?;
                let offset = offset_of(&mut expr).ok_or_else(|| misplaced("@", span))?;
                if offset.at.is_some() {
                    return Err(ParseError::new(
                        span,
                        "@ <timestamp> may not be set multiple times",
                    ));
                }
                offset.at = Some(at);
            } else if self.is_word("anchored") || self.is_word("smoothed") {
                self.extended(&mut expr)?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn range_or_subquery(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let bracket = self.span();
        self.expect("[")?;
        let range = self.duration()?;
        let span = expr.span;
        if self.take(":") {
            let step = if self.peek() == &Token::Sign("]") {
                None
            } else {
                Some(self.duration()?)
            };
            self.expect("]")?;
            let id = self.new_id();
            let (expr, offset) = (Box::new(expr), Offset::default());
            let kind = ExprKind::Subquery {
                expr,
                range,
                step,
                offset,
                id,
            };
            return self.node(kind, span);
        }
        if self.peek() != &Token::Sign("]") {
            return Err(self.unexpected("\":\" or \"]\" in the subquery or range"));
        }
        self.next();
        let ExprKind::Vector(selector) = expr.kind else {
            return Err(ParseError::new(
                bracket,
                "ranges only allowed for vector selectors",
            ));
        };
        if selector.offset.offset.is_some() {
            return Err(ParseError::new(
                bracket,
                "no offset modifiers allowed before range",
            ));
        }
        if selector.offset.at.is_some() {
            return Err(ParseError::new(
                bracket,
                "no @ modifiers allowed before range",
            ));
        }
        self.node(ExprKind::Matrix { selector, range }, span)
    }

    fn extended(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        let span = self.span();
        let anchored = self.is_word("anchored");
        self.next();
        let selector = match &mut expr.kind {
            ExprKind::Vector(_) if anchored => {
                let message = "anchored modifier must be preceded by a range vector selector";
                return Err(ParseError::new(span, message));
            }
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => selector,
            _ => return Err(misplaced("anchored or smoothed", span)),
        };
        if selector.anchored || selector.smoothed {
            let message = "anchored and smoothed may be set only once and not together";
            return Err(ParseError::new(span, message));
        }
        selector.anchored = anchored;
        selector.smoothed = !anchored;
        Ok(())
    }

    fn at_time(&mut self) -> Result<At, ParseError> {
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.take_word(word) {
                self.expect("(")?;
                self.expect(")")?;
                return Ok(at);
            }
        }
        let span = self.span();
        let ms = self.signed_number()? * 1000.0;
        if ms.is_nan() || ms.abs() > (1i64 << 60) as f64 {
            return Err(ParseError::new(
                span,
                "timestamp out of bounds for @ modifier",
            ));
        }
        Ok(At::Time(ms.round() as i64))
    }

    /// `name{a="b"}`: only equal signs.
    pub(super) fn series_labels(&mut self) -> Result<Labels, ParseError> {
        let span = self.span();
        let ExprKind::Vector(selector) = self.vector_selector()? else {
            return Err(self.unexpected("a series"));
        };
        let mut builder = LabelsBuilder::default();
        for matcher in &selector.matchers {
            if matcher.op != MatchOp::Equal {
                return Err(ParseError::new(span, "a series has only labels with \"=\""));
            }
            builder.set(&matcher.name, &matcher.value);
        }
        Ok(builder.build())
    }
}

fn offset_of(expr: &mut Expr) -> Option<&mut Offset> {
    match &mut expr.kind {
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
            Some(&mut selector.offset)
        }
        ExprKind::Subquery { offset, .. } => Some(offset),
        _ => None,
    }
}

fn misplaced(modifier: &str, span: Span) -> ParseError {
    let message = format!(
        "{modifier} modifier must be preceded by an instant vector selector or range vector \
         selector or a subquery"
    );
    ParseError::new(span, message)
}
