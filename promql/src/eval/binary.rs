//! Binary operators: numbers, a vector and a number, or two vectors whose
//! series find each other by labels.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::{Data, Eval, Evaluated, element, invalid, set};
use crate::ast::{BinaryOp, Cardinality, Expr, ExprKind, Matching, Span};
use crate::labels::{Labels, LabelsBuilder, NAME};
use crate::value::Sample;

/// The parts of a binary expression that its evaluation needs.
#[derive(Clone, Copy)]
struct Operation<'a> {
    op: BinaryOp,
    return_bool: bool,
    matching: &'a Matching,
    span: Span,
}

/// The labels by which two series find each other.
pub(super) struct Key<'a> {
    matching: &'a Matching,
    text: String,
}

impl<'a> Key<'a> {
    pub(super) fn new(matching: &'a Matching) -> Self {
        Self {
            matching,
            text: String::new(),
        }
    }

    /// The key of a set of labels, valid until the next call.
    pub(super) fn of(&mut self, labels: &Labels) -> &str {
        self.text.clear();
        let Matching {
            on, labels: names, ..
        } = self.matching;
        labels.write_key(&mut self.text, |name| {
            let listed = names.iter().any(|wanted| wanted == name);
            if *on { listed } else { !listed && name != NAME }
        });
        &self.text
    }

    /// The labels that two series have in common.
    fn labels(&self, labels: &Labels) -> Labels {
        if self.matching.on {
            return labels.only(&self.matching.labels);
        }
        let mut names = self.matching.labels.clone();
        names.push(NAME.to_owned());
        labels.without(&names)
    }
}

impl Eval<'_> {
    pub(super) fn binary(&mut self, expr: &Expr, at_ms: i64) -> Evaluated<Data> {
        let span = expr.span;
        let ExprKind::Binary {
            op,
            left,
            right,
            return_bool,
            matching,
        } = &expr.kind
        else {
            return Err(invalid(span, "expected a binary expression"));
        };
        let operation = Operation {
            op: *op,
            return_bool: *return_bool,
            matching,
            span,
        };
        let left = self.eval(left, at_ms)?;
        let right = self.eval(right, at_ms)?;
        let vector = match (left, right) {
            (Data::Scalar(a), Data::Scalar(b)) => {
                return Ok(Data::Scalar(element::scalar(*op, a, b)));
            }
            (Data::Vector(left), Data::Vector(right)) if op.is_set() => {
                return Ok(Data::Vector(set::combine(*op, left, right, matching)));
            }
            (Data::Vector(left), Data::Vector(right)) => self.vectors(operation, left, right)?,
            (Data::Vector(vector), Data::Scalar(scalar)) => {
                self.vector_scalar(operation, vector, scalar, false)
            }
            (Data::Scalar(scalar), Data::Vector(vector)) => {
                self.vector_scalar(operation, vector, scalar, true)
            }
            _ => {
                return Err(invalid(
                    span,
                    "binary expression needs scalars or instant vectors",
                ));
            }
        };
        self.unique_unless_delayed(&vector, span)?;
        Ok(Data::Vector(vector))
    }

    fn vector_scalar(
        &mut self,
        operation: Operation<'_>,
        mut vector: Vec<Sample>,
        scalar: f64,
        swapped: bool,
    ) -> Vec<Sample> {
        let Operation {
            op, return_bool, ..
        } = operation;
        vector.retain_mut(|sample| {
            let number = scalar.into();
            let (left, right) = if swapped {
                (&number, &sample.value)
            } else {
                (&sample.value, &number)
            };
            let Some(result) = element::apply(op, left, right, &mut self.notes) else {
                return false;
            };
            if return_bool {
                sample.value = f64::from(u8::from(result.keep)).into();
            } else if !result.keep {
                return false;
            } else if !op.is_comparison() {
                sample.value = result.value;
            }
            if op.changes_metric() || return_bool {
                self.forget_name(sample);
            }
            true
        });
        vector
    }

    fn vectors(
        &mut self,
        operation: Operation<'_>,
        left: Vec<Sample>,
        right: Vec<Sample>,
    ) -> Evaluated<Vec<Sample>> {
        let matching = operation.matching;
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if (left.is_empty() || right.is_empty()) && !fills {
            return Ok(Vec::new());
        }
        // From here on the right side is the "one" side.
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped {
            (right, left)
        } else {
            (left, right)
        };
        // Prometheus 3.14 does not swap these with `group_right`; nor does this.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let mut key = Key::new(matching);
        let ones = self.one_side(operation, &one, &mut key)?;
        let mut join = Join {
            operation,
            swapped,
            matched: vec![None; one.len()],
            out: Vec::new(),
        };
        let mut orphans: HashMap<String, usize> = HashMap::new();
        for sample in &many {
            let found = ones.get(key.of(&sample.labels)).copied();
            match (found, fill_one) {
                (Some(at), _) => join.pair(self, sample, &one[at], Some(at))?,
                (None, Some(fill)) => {
                    let filled = Sample::new(key.labels(&sample.labels), fill);
                    if matching.cardinality == Cardinality::OneToOne {
                        let seen = orphans
                            .entry(key.of(&sample.labels).to_owned())
                            .or_default();
                        *seen += 1;
                        if *seen > 1 {
                            return Err(invalid(operation.span, MANY_TO_ONE));
                        }
                    }
                    join.pair(self, sample, &filled, None)?;
                }
                (None, None) => {}
            }
        }
        if let Some(fill) = fill_many {
            for (at, sample) in one.iter().enumerate() {
                if join.matched[at].is_none() {
                    let filled = Sample::new(key.labels(&sample.labels), fill);
                    join.pair(self, &filled, sample, Some(at))?;
                }
            }
        }
        Ok(join.out)
    }

    /// The samples of the "one" side by their key, which must be unique.
    fn one_side(
        &self,
        operation: Operation<'_>,
        one: &[Sample],
        key: &mut Key<'_>,
    ) -> Evaluated<HashMap<String, usize>> {
        let mut ones = HashMap::with_capacity(one.len());
        for (at, sample) in one.iter().enumerate() {
            match ones.entry(key.of(&sample.labels).to_owned()) {
                Entry::Vacant(entry) => {
                    entry.insert(at);
                }
                Entry::Occupied(entry) => {
                    let swapped = operation.matching.cardinality == Cardinality::OneToMany;
                    let side = if swapped { "left" } else { "right" };
                    let common = key.labels(&sample.labels);
                    let first = &one[*entry.get()].labels;
                    let message = format!(
                        "found duplicate series for the match group {common} on the {side} \
                         hand-side of the operation: [{}, {first}];many-to-many matching not \
                         allowed: matching labels must be unique on one side",
                        sample.labels
                    );
                    return Err(invalid(operation.span, message));
                }
            }
        }
        Ok(ones)
    }
}

const MANY_TO_ONE: &str =
    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";

/// Pairs of two vectors and what became of them.
struct Join<'a> {
    operation: Operation<'a>,
    swapped: bool,
    /// Results of each sample of the "one" side; labels only where there may
    /// be many.
    matched: Vec<Option<HashSet<Labels>>>,
    out: Vec<Sample>,
}

impl Join<'_> {
    fn pair(
        &mut self,
        eval: &mut Eval<'_>,
        many: &Sample,
        one: &Sample,
        one_at: Option<usize>,
    ) -> Evaluated<()> {
        let Operation {
            op,
            return_bool,
            matching,
            span,
        } = self.operation;
        let (left, right) = if self.swapped {
            (one, many)
        } else {
            (many, one)
        };
        let Some(result) = element::apply(op, &left.value, &right.value, &mut eval.notes) else {
            return Ok(());
        };
        let mut labels = result_labels(op, matching, &many.labels, &one.labels);
        if !eval.options.delayed_name_removal && return_bool {
            labels = labels.without_metadata();
        }
        if let Some(slot) = one_at.and_then(|at| self.matched.get_mut(at)) {
            let known = slot.is_some();
            if matching.cardinality == Cardinality::OneToOne {
                if known {
                    return Err(invalid(span, MANY_TO_ONE));
                }
                *slot = Some(HashSet::new());
            } else if !slot.get_or_insert_default().insert(labels.clone()) {
                let message =
                    "multiple matches for labels: grouping labels must ensure unique matches";
                return Err(invalid(span, message));
            }
        }
        if !result.keep && !return_bool {
            return Ok(());
        }
        let value = if return_bool {
            f64::from(u8::from(result.keep)).into()
        } else {
            result.value
        };
        let drop_name = return_bool || many.drop_name;
        self.out.push(Sample {
            labels,
            value,
            drop_name,
        });
        Ok(())
    }
}

fn result_labels(op: BinaryOp, matching: &Matching, many: &Labels, one: &Labels) -> Labels {
    let mut labels = if op.changes_metric() {
        many.without_metadata()
    } else {
        many.clone()
    };
    if matching.cardinality == Cardinality::OneToOne {
        labels = if matching.on {
            labels.only(&matching.labels)
        } else {
            labels.without(&matching.labels)
        };
    }
    if matching.include.is_empty() {
        return labels;
    }
    let mut builder = LabelsBuilder::from(&labels);
    for name in &matching.include {
        builder.set(name, one.get(name));
    }
    builder.build()
}
