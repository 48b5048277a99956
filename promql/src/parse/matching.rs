//! What may stand behind a binary operator: `bool`, `on`, `ignoring`,
//! `group_left`, `group_right`, `fill`.

use super::ParseError;
use super::expr::Parser;
use super::lex::Token;
use crate::ast::{Cardinality, Matching};

impl Parser {
    pub(super) fn operator_modifiers(&mut self) -> Result<(bool, Matching), ParseError> {
        let return_bool = self.take_word("bool");
        let mut matching = Matching::default();
        let on = self.is_word("on") && self.peek_at(1) == &Token::Sign("(");
        if on || self.is_word("ignoring") {
            self.next();
            matching.on = on;
            matching.labels = self.label_list()?;
            self.group_modifier(&mut matching)?;
        }
        self.fill_modifiers(&mut matching)?;
        Ok((return_bool, matching))
    }

    fn group_modifier(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        matching.cardinality = if self.take_word("group_left") {
            Cardinality::ManyToOne
        } else if self.take_word("group_right") {
            Cardinality::OneToMany
        } else {
            return Ok(());
        };
        if self.peek() == &Token::Sign("(") {
            matching.include = self.label_list()?;
        }
        Ok(())
    }

    fn fill_modifiers(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        loop {
            let word = match self.peek() {
                Token::Word(word) if self.peek_at(1) == &Token::Sign("(") => {
                    word.to_ascii_lowercase()
                }
                _ => return Ok(()),
            };
            let (left, right) = match word.as_str() {
                "fill" => (true, true),
                "fill_left" => (true, false),
                "fill_right" => (false, true),
                _ => return Ok(()),
            };
            let span = self.span();
            if left && matching.fill_left.is_some() || right && matching.fill_right.is_some() {
                return Err(ParseError::new(span, "fill modifier given twice"));
            }
            self.next();
            self.expect("(")?;
            let value = self.signed_number()?;
            self.expect(")")?;
            matching.fill_left = if left {
                Some(value)
            } else {
                matching.fill_left
            };
            matching.fill_right = if right {
                Some(value)
            } else {
                matching.fill_right
            };
        }
    }
}
