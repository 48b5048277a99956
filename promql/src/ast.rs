//! The tree of a parsed expression. Every node knows where it stands in the
//! text, so errors can say so; selectors and subqueries carry a number by
//! which an evaluation keeps what it has looked up.

mod duration;
mod operator;

use std::fmt;

pub use duration::{Duration, DurationOp};
pub use operator::{AggregateOp, BinaryOp};

use crate::matcher::Matcher;

/// A position in an expression's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it begins.
    pub span: Span,
    /// Levels below and including this one.
    pub(crate) height: usize,
}

/// What an expression yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number.
    Scalar,
    /// A text.
    String,
    /// One sample per series.
    Vector,
    /// A range of samples per series.
    Matrix,
}

impl Type {
    /// The word Prometheus uses in its messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A number literal, also a duration in seconds.
    Number(f64),
    /// A string literal.
    String(String),
    /// An instant vector selector.
    Vector(Box<Selector>),
    /// A range vector selector.
    Matrix {
        /// The series.
        selector: Box<Selector>,
        /// How far back.
        range: Duration,
    },
    /// `expr[range:step]`
    Subquery {
        /// Evaluated at every step.
        expr: Box<Expr>,
        /// How far back.
        range: Duration,
        /// Distance of steps; None for the evaluator's default.
        step: Option<Duration>,
        /// When it ends.
        offset: Offset,
        /// Number within the query.
        id: usize,
    },
    /// A function call.
    Call {
        /// The function.
        function: &'static crate::parse::Function,
        /// Its arguments.
        args: Vec<Expr>,
    },
    /// An aggregation over groups of series.
    Aggregate {
        /// The operator.
        op: AggregateOp,
        /// What is aggregated.
        expr: Box<Expr>,
        /// k, q, ratio or label name.
        param: Option<Box<Expr>>,
        /// Labels of the groups, sorted.
        labels: Vec<String>,
        /// The labels are those left out.
        without: bool,
    },
    /// A binary operation.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        left: Box<Expr>,
        /// Right operand.
        right: Box<Expr>,
        /// Comparisons yield 0 or 1 instead of filtering.
        return_bool: bool,
        /// How series of both sides find each other.
        matching: Matching,
    },
    /// `-expr`; `+expr` is dropped by the parser.
    Negate(Box<Expr>),
    /// `(expr)`
    Paren(Box<Expr>),
}

impl Expr {
    pub(crate) fn new(kind: ExprKind, span: Span) -> Self {
        let mut expr = Self {
            kind,
            span,
            height: 1,
        };
        expr.height += expr.children().map(|child| child.height).max().unwrap_or(0);
        expr
    }

    /// The expression without parentheses around it.
    pub fn unwrap_parens(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// What the expression yields.
    pub fn value_type(&self) -> Type {
        match &self.unwrap_parens().kind {
            ExprKind::Number(_) => Type::Scalar,
            ExprKind::String(_) => Type::String,
            ExprKind::Vector(_) | ExprKind::Aggregate { .. } => Type::Vector,
            ExprKind::Matrix { .. } | ExprKind::Subquery { .. } => Type::Matrix,
            ExprKind::Call { function, .. } => function.returns,
            ExprKind::Negate(inner) | ExprKind::Paren(inner) => inner.value_type(),
            ExprKind::Binary { left, right, .. } => {
                let scalar = |side: &Self| side.value_type() == Type::Scalar;
                if scalar(left) && scalar(right) {
                    Type::Scalar
                } else {
                    Type::Vector
                }
            }
        }
    }

    /// The expressions directly below.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        let mut list: Vec<&Self> = Vec::new();
        match &self.kind {
            ExprKind::Number(_) | ExprKind::String(_) => {}
            ExprKind::Vector(_) | ExprKind::Matrix { .. } => {}
            ExprKind::Subquery { expr, .. } | ExprKind::Negate(expr) | ExprKind::Paren(expr) => {
                list.push(expr);
            }
            ExprKind::Call { args, .. } => list.extend(args),
            ExprKind::Aggregate { expr, param, .. } => {
                list.extend(param.as_deref());
                list.push(expr);
            }
            ExprKind::Binary { left, right, .. } => list.extend([&**left, &**right]),
        }
        list.into_iter()
    }
}

/// Which series, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// All conditions, the metric's name among them.
    pub matchers: Vec<Matcher>,
    /// Shift of the time.
    pub offset: Offset,
    /// The range begins with the last sample before it.
    pub anchored: bool,
    /// Values at the range's ends are interpolated.
    pub smoothed: bool,
    /// Only counts and sums of histograms are looked at.
    pub stats_only: bool,
    /// Number within the query.
    pub id: usize,
}

/// The modifiers `offset` and `@`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offset {
    /// How far back.
    pub offset: Option<Duration>,
    /// The time instead of the evaluation's.
    pub at: Option<At>,
}

/// The time after `@`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// Milliseconds since 1970.
    Time(i64),
    /// The query's start.
    Start,
    /// The query's end.
    End,
}

/// How many series of each side may find each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// One to one.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
}

/// How series of both sides find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// How many of each side.
    pub cardinality: Cardinality,
    /// The labels compared (or left out).
    pub labels: Vec<String>,
    /// `on`: only the labels are compared.
    pub on: bool,
    /// Labels taken over from the "one" side.
    pub include: Vec<String>,
    /// The value of a missing left side.
    pub fill_left: Option<f64>,
    /// The value of a missing right side.
    pub fill_right: Option<f64>,
}
