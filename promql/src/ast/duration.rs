//! Durations and the arithmetic between them.

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
        Ok(if (ms - nearest).abs() < 1e-6 {
            nearest
        } else {
            ms.trunc()
        } as i64)
    }

    /// The duration in milliseconds if it does not depend on the query.
    pub fn constant_ms(&self) -> Option<i64> {
        (!self.depends_on_query())
            .then(|| self.resolve_ms(0, 0).ok())
            .flatten()
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
