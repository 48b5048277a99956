//! Expressions by precedence climbing: operators, modifiers, calls,
//! aggregations.

use super::function;
use super::lex::{Token, tokens};
use super::{MAX_DEPTH, ParseError};
use crate::ast::{AggregateOp, BinaryOp, Expr, ExprKind, Span};

/// Binding strength of the operators, weakest first.
const COMPARISON: u8 = 3;
const UNARY: u8 = 6;

/// Words that no metric is called by; all others are names where one is due.
const RESERVED: [&str; 6] = [
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "atan2",
];

pub(super) struct Parser {
    pub(super) tokens: Vec<(Token, Span)>,
    pub(super) at: usize,
    depth: usize,
    pub(super) ids: usize,
}

impl Parser {
    pub(super) fn new(text: &str) -> Result<Self, ParseError> {
        Ok(Self {
            tokens: tokens(text)?,
            at: 0,
            depth: 0,
            ids: 0,
        })
    }

    pub(super) fn whole_expression(&mut self) -> Result<Expr, ParseError> {
        if self.peek() == &Token::End {
            return Err(ParseError::new(self.span(), "no expression found in input"));
        }
        let expr = self.expression(0)?;
        self.expect_end()?;
        Ok(expr)
    }

    pub(super) fn expect_end(&mut self) -> Result<(), ParseError> {
        if self.peek() == &Token::End {
            Ok(())
        } else {
            Err(self.unexpected("end of input"))
        }
    }

    /// An expression of operators that bind at least as strongly as `floor`.
    pub(super) fn expression(&mut self, floor: u8) -> Result<Expr, ParseError> {
        self.enter()?;
        let mut left = self.operand()?;
        while let Some((op, strength)) = self.peek_operator() {
            if strength < floor {
                break;
            }
            let span = left.span;
            self.next();
            let (return_bool, matching) = self.operator_modifiers()?;
            let right = self.expression(if op == BinaryOp::Pow {
                strength
            } else {
                strength + 1
            })?;
            let (left_side, right) = (Box::new(left), Box::new(right));
            let kind = ExprKind::Binary {
                op,
                left: left_side,
                right,
                return_bool,
                matching,
            };
            left = self.node(kind, span)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<Expr, ParseError> {
        let span = self.span();
        let sign = match self.peek() {
            Token::Sign(sign @ ("+" | "-")) => *sign,
            _ => {
                let primary = self.primary()?;
                return self.postfix(primary);
            }
        };
        self.next();
        let inner = self.expression(UNARY)?;
        if sign == "+" {
            super::check::check_sign(&inner)?;
            return Ok(Expr { span, ..inner });
        }
        if let ExprKind::Number(value) = inner.kind {
            return self.node(ExprKind::Number(-value), span);
        }
        self.node(ExprKind::Negate(Box::new(inner)), span)
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let span = self.span();
        let kind = match self.peek().clone() {
            Token::Number(value) | Token::Duration(value) => {
                self.next();
                ExprKind::Number(value)
            }
            Token::Text(text) => {
                self.next();
                ExprKind::String(text)
            }
            Token::Sign("(") => {
                self.next();
                let inner = self.expression(0)?;
                self.expect(")")?;
                ExprKind::Paren(Box::new(inner))
            }
            Token::Sign("{") => self.vector_selector()?,
            Token::Word(word) => return self.word(&word, span),
            _ => return Err(self.unexpected("an expression")),
        };
        self.node(kind, span)
    }

    /// A number by name, an aggregation, a call, or a metric.
    fn word(&mut self, word: &str, span: Span) -> Result<Expr, ParseError> {
        let call = self.peek_at(1) == &Token::Sign("(");
        let grouped = matches!(self.peek_at(1), Token::Word(next) if is_grouping(next));
        let kind = if let Some(op) = AggregateOp::find(word).filter(|_| call || grouped) {
            self.next();
            self.aggregation(op)?
        } else if call {
            self.next();
            self.call(word, span)?
        } else if word.eq_ignore_ascii_case("inf") || word.eq_ignore_ascii_case("nan") {
            self.next();
            let nan = word.eq_ignore_ascii_case("nan");
            ExprKind::Number(if nan { f64::NAN } else { f64::INFINITY })
        } else if RESERVED
            .iter()
            .any(|reserved| word.eq_ignore_ascii_case(reserved))
        {
            return Err(self.unexpected("an expression"));
        } else {
            self.vector_selector()?
        };
        self.node(kind, span)
    }

    fn aggregation(&mut self, op: AggregateOp) -> Result<ExprKind, ParseError> {
        let span = self.span();
        let mut grouping = self.grouping()?;
        let mut args = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let (mut labels, without) = grouping.unwrap_or_default();
        labels.sort_unstable();
        let wanted = 1 + usize::from(op.param().is_some());
        if args.len() != wanted {
            let have = args.len();
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {have}"
            );
            return Err(ParseError::new(span, message));
        }
        let expr = args.pop().map(Box::new);
        let expr = expr.ok_or_else(|| ParseError::new(span, "no arguments for aggregation"))?;
        let param = args.pop().map(Box::new);
        Ok(ExprKind::Aggregate {
            op,
            expr,
            param,
            labels,
            without,
        })
    }

    fn grouping(&mut self) -> Result<Option<(Vec<String>, bool)>, ParseError> {
        let without = match self.peek() {
            Token::Word(word) if is_grouping(word) => word.eq_ignore_ascii_case("without"),
            _ => return Ok(None),
        };
        self.next();
        Ok(Some((self.label_list()?, without)))
    }

    fn call(&mut self, name: &str, span: Span) -> Result<ExprKind, ParseError> {
        let function = function::find(name);
        let function = function
            .ok_or_else(|| ParseError::new(span, format!("unknown function with name {name:?}")))?;
        let args = self.arguments()?;
        Ok(ExprKind::Call { function, args })
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect("(")?;
        let mut args = Vec::new();
        if self.take(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expression(0)?);
            if self.take(")") {
                // Rules keep what they parse to.
                args.shrink_to_fit();
                return Ok(args);
            }
            let span = self.span();
            self.expect(",")?;
            if self.peek() == &Token::Sign(")") {
                let message = "trailing commas not allowed in function call args";
                return Err(ParseError::new(span, message));
            }
        }
    }

    /// `(a, b, "c.d")`
    pub(super) fn label_list(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(")?;
        let mut labels = Vec::new();
        while !self.take(")") {
            match self.peek().clone() {
                Token::Word(word) if !word.contains(':') => labels.push(word),
                Token::Text(text) if !text.is_empty() => labels.push(text),
                _ => return Err(self.unexpected("a label in the grouping")),
            }
            self.next();
            if !self.take(",") && self.peek() != &Token::Sign(")") {
                return Err(self.unexpected("\",\" or \")\" in the grouping"));
            }
        }
        labels.shrink_to_fit();
        Ok(labels)
    }

    fn peek_operator(&self) -> Option<(BinaryOp, u8)> {
        Some(match self.peek() {
            Token::Sign("+") => (BinaryOp::Add, 4),
            Token::Sign("-") => (BinaryOp::Sub, 4),
            Token::Sign("*") => (BinaryOp::Mul, 5),
            Token::Sign("/") => (BinaryOp::Div, 5),
            Token::Sign("%") => (BinaryOp::Mod, 5),
            Token::Sign("^") => (BinaryOp::Pow, UNARY),
            Token::Sign("==") => (BinaryOp::Equal, COMPARISON),
            Token::Sign("!=") => (BinaryOp::NotEqual, COMPARISON),
            Token::Sign(">") => (BinaryOp::Greater, COMPARISON),
            Token::Sign("<") => (BinaryOp::Less, COMPARISON),
            Token::Sign(">=") => (BinaryOp::GreaterEqual, COMPARISON),
            Token::Sign("<=") => (BinaryOp::LessEqual, COMPARISON),
            Token::Sign("</") => (BinaryOp::TrimUpper, COMPARISON),
            Token::Sign(">/") => (BinaryOp::TrimLower, COMPARISON),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "or" => (BinaryOp::Or, 1),
                "and" => (BinaryOp::And, 2),
                "unless" => (BinaryOp::Unless, 2),
                "atan2" => (BinaryOp::Atan2, 5),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// A node of the tree, whose height is bounded whatever its shape.
    pub(super) fn node(&self, kind: ExprKind, span: Span) -> Result<Expr, ParseError> {
        let expr = Expr::new(kind, span);
        if expr.height > MAX_DEPTH {
            Err(self.too_deep())
        } else {
            Ok(expr)
        }
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            Err(self.too_deep())
        } else {
            Ok(())
        }
    }

    fn too_deep(&self) -> ParseError {
        let message = format!("expression is nested more than {MAX_DEPTH} levels deep");
        ParseError::new(self.span(), message)
    }

    /// Bounds nesting that does not pass through [`Parser::expression`].
    pub(super) fn nested<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        self.enter()?;
        let result = inner(self)?;
        self.depth -= 1;
        Ok(result)
    }
}

fn is_grouping(word: &str) -> bool {
    word.eq_ignore_ascii_case("by") || word.eq_ignore_ascii_case("without")
}
