//! The tree of a parsed expression. Every node knows where it stands in the
//! text, so errors can say so; selectors and subqueries carry a number by
//! which an evaluation keeps what it has looked up.

use std::fmt;

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
        let mut expr = Self { kind, span, height: 1 };
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
                if scalar(left) && scalar(right) { Type::Scalar } else { Type::Vector }
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

/// A duration: a literal, or an expression over literals and the query's range
/// and step.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// Seconds.
    Seconds(f64),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// Two durations and an operator.
    Binary(DurationOp, Box<(Duration, Duration)>),
}

/// Operators between durations; all count in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `min_of(a, b)`
    Min,
    /// `max_of(a, b)`
    Max,
}

impl Duration {
    /// The duration in milliseconds. Fails for a division by zero and what no
    /// clock can hold.
    pub fn resolve_ms(&self, step_ms: i64, range_ms: i64) -> Result<i64, &'static str> {
        let seconds = self.seconds(step_ms, range_ms)?;
        let ms = seconds * 1000.0;
        // Bounded so that sums of a few of them cannot leave 64 bits.
        if ms.is_nan() || ms.abs() > (1i64 << 60) as f64 {
            return Err("duration is out of range");
        }
        // 0.1 s is a little less than 100 ms in floats.
        let nearest = ms.round();
        Ok(if (ms - nearest).abs() < 1e-6 { nearest } else { ms.trunc() } as i64)
    }

    /// The duration in milliseconds if it does not depend on the query.
    pub fn constant_ms(&self) -> Option<i64> {
        (!self.depends_on_query()).then(|| self.resolve_ms(0, 0).ok()).flatten()
    }

    fn depends_on_query(&self) -> bool {
        match self {
            Self::Seconds(_) => false,
            Self::Step | Self::Range => true,
            Self::Binary(_, sides) => sides.0.depends_on_query() || sides.1.depends_on_query(),
        }
    }

    fn seconds(&self, step_ms: i64, range_ms: i64) -> Result<f64, &'static str> {
        let (op, sides) = match self {
            Self::Seconds(seconds) => return Ok(*seconds),
            Self::Step => return Ok(step_ms as f64 / 1000.0),
            Self::Range => return Ok(range_ms as f64 / 1000.0),
            Self::Binary(op, sides) => (op, sides),
        };
        let a = sides.0.seconds(step_ms, range_ms)?;
        let b = sides.1.seconds(step_ms, range_ms)?;
        Ok(match op {
            DurationOp::Add => a + b,
            DurationOp::Sub => a - b,
            DurationOp::Mul => a * b,
            DurationOp::Div if b == 0.0 => return Err("division by zero"),
            DurationOp::Div => a / b,
            DurationOp::Mod if b == 0.0 => return Err("modulo by zero"),
            DurationOp::Mod => a % b,
            DurationOp::Pow => a.powf(b),
            DurationOp::Min => a.min(b),
            DurationOp::Max => a.max(b),
        })
    }
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the operator of the same name")]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Quantile,
    Topk,
    Bottomk,
    CountValues,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// Finds an operator by its word, in any case.
    pub fn find(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "group" => Self::Group,
            "stddev" => Self::Stddev,
            "stdvar" => Self::Stdvar,
            "quantile" => Self::Quantile,
            "topk" => Self::Topk,
            "bottomk" => Self::Bottomk,
            "count_values" => Self::CountValues,
            "limitk" => Self::Limitk,
            "limit_ratio" => Self::LimitRatio,
            _ => return None,
        })
    }

    /// The type of the parameter, if it takes one.
    pub fn param(self) -> Option<Type> {
        match self {
            Self::Quantile | Self::Topk | Self::Bottomk | Self::Limitk | Self::LimitRatio => {
                Some(Type::Scalar)
            }
            Self::CountValues => Some(Type::String),
            _ => None,
        }
    }
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the operator of the same name")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    And,
    Or,
    Unless,
    TrimUpper,
    TrimLower,
}

impl BinaryOp {
    /// The operator as written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::GreaterEqual => ">=",
            Self::LessEqual => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
        }
    }

    /// Whether it filters by comparing.
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Greater
                | Self::Less
                | Self::GreaterEqual
                | Self::LessEqual
        )
    }

    /// Whether it works on sets of series.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Whether its result is no longer what the metric's name says.
    pub fn changes_metric(self) -> bool {
        !self.is_comparison()
            && !self.is_set()
            && !matches!(self, Self::TrimUpper | Self::TrimLower)
    }
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
