//! Subqueries: an expression at many steps, seen as a range. In a range query
//! neighbouring subqueries overlap, so their steps' results are kept.

use std::collections::HashMap;
use std::rc::Rc;

use super::selector::{Computed, Ranges, Source};
use super::{Data, Eval, Evaluated, invalid};
use crate::ast::{Expr, ExprKind};
use crate::histogram::ResetHint;
use crate::labels::Labels;
use crate::storage::Window;
use crate::value::{Point, Sample, SampleValue};

/// Samples kept in all memos of a query before they are dropped.
const MEMO_SAMPLES: usize = 1_000_000;

/// Results of steps by the subquery's number and time.
#[derive(Default)]
pub(super) struct Memo {
    steps: HashMap<(usize, i64), Rc<[Sample]>>,
    samples: usize,
}

impl Memo {
    fn insert(&mut self, key: (usize, i64), vector: Rc<[Sample]>) {
        if self.samples > MEMO_SAMPLES {
            self.steps.clear();
            self.samples = 0;
        }
        self.samples += vector.len() + 1;
        self.steps.insert(key, vector);
    }
}

impl Eval<'_> {
    /// Evaluates a subquery as a range that ends at its reference time.
    pub(super) fn subquery(&mut self, expr: &Expr, at_ms: i64) -> Evaluated<Ranges> {
        let span = expr.span;
        let ExprKind::Subquery {
            expr: inner,
            range,
            step,
            offset,
            id,
        } = &expr.kind
        else {
            return Err(invalid(span, "expected a subquery"));
        };
        let until_ms = self.reference(offset, span, at_ms)?;
        let after_ms = until_ms.saturating_sub(self.positive_ms(range, span)?);
        let step_ms = match step {
            Some(step) => self.positive_ms(step, span)?,
            None => self.options.subquery_step_ms.max(1),
        };
        self.check_steps(span, after_ms, until_ms, step_ms)?;
        // Steps are multiples of their distance, the first one within the range.
        let mut step_at = after_ms
            .div_euclid(step_ms)
            .saturating_add(1)
            .saturating_mul(step_ms);
        let mut columns = Columns::default();
        while step_at <= until_ms {
            self.spend(1)?;
            let vector = self.subquery_step(inner, *id, step_at)?;
            self.spend(vector.len() as u64)?;
            for sample in vector.iter() {
                if !columns.push(step_at, sample) {
                    let message = "vector cannot contain metrics with the same labelset";
                    return Err(invalid(span, message));
                }
            }
            match step_at.checked_add(step_ms) {
                Some(next) => step_at = next,
                None => break,
            }
        }
        Ok(Ranges {
            after_ms,
            until_ms,
            source: Source::Computed(columns.list),
        })
    }

    fn subquery_step(&mut self, inner: &Expr, id: usize, at_ms: i64) -> Evaluated<Rc<[Sample]>> {
        if let Some(known) = self.steps.steps.get(&(id, at_ms)) {
            return Ok(known.clone());
        }
        let vector: Rc<[Sample]> = match self.eval(inner, at_ms)? {
            Data::Vector(vector) => vector.into(),
            Data::Scalar(value) => [Sample::new(Labels::empty(), value)].into(),
            Data::String(_) | Data::Matrix(_) => {
                return Err(invalid(
                    inner.span,
                    "subquery is only allowed on instant vector",
                ));
            }
        };
        self.steps.insert((id, at_ms), vector.clone());
        Ok(vector)
    }
}

#[derive(Default)]
struct Columns {
    list: Vec<Computed>,
    known: HashMap<Labels, usize>,
}

impl Columns {
    /// Adds a point; false if its series has one at this time already.
    fn push(&mut self, at_ms: i64, sample: &Sample) -> bool {
        let at = *self.known.entry(sample.labels.clone()).or_insert_with(|| {
            let labels = sample.labels.clone();
            self.list.push(Computed {
                labels,
                drop_name: false,
                window: Window::default(),
            });
            self.list.len() - 1
        });
        let column = &mut self.list[at];
        let last = column.window.floats.last().map(|point| point.at_ms);
        let last = last.max(column.window.histograms.last().map(|point| point.at_ms));
        if last == Some(at_ms) {
            return false;
        }
        column.drop_name |= sample.drop_name;
        column.window.push(Point {
            at_ms,
            start_ms: 0,
            value: without_hint(&sample.value),
        });
        true
    }
}

/// Steps may skip or repeat samples, so what a hint says of the sample before
/// does not hold between steps.
fn without_hint(value: &SampleValue) -> SampleValue {
    match value {
        SampleValue::Histogram(histogram)
            if matches!(histogram.hint, ResetHint::Reset | ResetHint::NotReset) =>
        {
            let mut own = (**histogram).clone();
            own.hint = ResetHint::Unknown;
            own.into()
        }
        other => other.clone(),
    }
}
