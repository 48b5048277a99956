//! Aggregations over groups of series.

use super::hash::QuickMap;
use super::{Eval, Evaluated, group, invalid, math, sort};
use crate::ast::{AggregateOp, Expr, ExprKind, Span, Type};
use crate::histogram::Histogram;
use crate::labels::{Labels, LabelsBuilder, NAME, TYPE, UNIT, is_valid_name};
use crate::number::{Kahan, Mean, general, plain};
use crate::value::{Sample, SampleValue};

/// Samples that belong together, by their place in the vector.
struct Group {
    labels: Labels,
    members: Vec<usize>,
}

/// How samples are put into groups.
struct Grouping<'a> {
    names: &'a [String],
    without: bool,
}

impl Grouping<'_> {
    fn keeps(&self, name: &str) -> bool {
        let listed = self.names.iter().any(|wanted| wanted == name);
        if self.without {
            !listed && name != NAME
        } else {
            listed
        }
    }

    fn labels(&self, labels: &Labels) -> Labels {
        if !self.without {
            return labels.only(self.names);
        }
        let mut names = self.names.to_vec();
        names.push(NAME.to_owned());
        labels.without(&names)
    }

    /// The groups of a vector, in order of their first sample.
    fn groups(&self, vector: &[Sample]) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut known: QuickMap<String, usize> = QuickMap::default();
        let (mut key, mut last) = (String::new(), None::<(String, usize)>);
        for (at, sample) in vector.iter().enumerate() {
            key.clear();
            sample.labels.write_key(&mut key, |name| self.keeps(name));
            // Neighbours are often of one group.
            let near = last.as_ref().filter(|(before, _)| *before == key);
            let group = match near.map(|(_, group)| group).or_else(|| known.get(&key)) {
                Some(group) => *group,
                None => {
                    known.insert(key.clone(), groups.len());
                    let labels = self.labels(&sample.labels);
                    groups.push(Group {
                        labels,
                        members: Vec::new(),
                    });
                    groups.len() - 1
                }
            };
            groups[group].members.push(at);
            match &mut last {
                Some((before, number)) if *number != group => {
                    before.clone_from(&key);
                    *number = group;
                }
                Some(_) => {}
                None => last = Some((key.clone(), group)),
            }
        }
        groups
    }
}

impl Eval<'_> {
    pub(super) fn aggregate(&mut self, expr: &Expr, at_ms: i64) -> Evaluated<Vec<Sample>> {
        let ExprKind::Aggregate {
            op,
            expr: inner,
            param,
            labels,
            without,
        } = &expr.kind
        else {
            return Err(invalid(expr.span, "expected an aggregation"));
        };
        let grouping = Grouping {
            names: labels,
            without: *without,
        };
        if *op == AggregateOp::CountValues {
            let name = param
                .as_deref()
                .map(super::call::string_arg)
                .unwrap_or_default();
            let vector = self.vector(inner, at_ms)?;
            return count_values(&vector, &grouping, &name, expr.span);
        }
        let param = match param {
            Some(param) => self.scalar(param, at_ms)?,
            None => f64::NAN,
        };
        self.names_unread = self.leaves_names(*op, inner, &grouping);
        let vector = self.vector(inner, at_ms)?;
        self.spend(vector.len() as u64)?;
        match op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                self.first_k(*op, vector, &grouping, (param, expr.span))
            }
            AggregateOp::LimitRatio => self.limit_ratio(vector, (param, expr.span)),
            _ => Ok(self.fold(*op, &vector, &grouping, param)),
        }
    }

    /// Whether the next call is one over ranges whose names do not matter, so
    /// that none has to be taken off.
    fn leaves_names(&self, op: AggregateOp, inner: &Expr, grouping: &Grouping<'_>) -> bool {
        let ExprKind::Call { args, .. } = &inner.unwrap_parens().kind else {
            return false;
        };
        let folds = !matches!(
            op,
            AggregateOp::Topk
                | AggregateOp::Bottomk
                | AggregateOp::Limitk
                | AggregateOp::LimitRatio
        );
        folds
            && !self.options.delayed_name_removal
            && !grouping.without
            && ![NAME, TYPE, UNIT].iter().any(|name| grouping.keeps(name))
            && args.iter().any(|arg| arg.value_type() == Type::Matrix)
    }

    fn fold(
        &mut self,
        op: AggregateOp,
        vector: &[Sample],
        grouping: &Grouping<'_>,
        q: f64,
    ) -> Vec<Sample> {
        if op == AggregateOp::Quantile && !(0.0..=1.0).contains(&q) {
            self.notes.quantile_range(q);
        }
        let groups = grouping.groups(vector);
        let folded = groups.into_iter().filter_map(|group| {
            let members: Vec<&Sample> = group.members.iter().map(|at| &vector[*at]).collect();
            let value = self.fold_group(op, &members, q)?;
            let drop_name = members.iter().any(|sample| sample.drop_name);
            Some(Sample {
                labels: group.labels,
                value,
                drop_name,
            })
        });
        folded.collect()
    }

    fn fold_group(&mut self, op: AggregateOp, members: &[&Sample], q: f64) -> Option<SampleValue> {
        match op {
            AggregateOp::Count => return Some((members.len() as f64).into()),
            AggregateOp::Group => return Some(1.0.into()),
            AggregateOp::Sum | AggregateOp::Avg => return self.sum_or_mean(op, members),
            _ => {}
        }
        let mut floats: Vec<f64> = members.iter().filter_map(|m| m.value.float()).collect();
        if floats.len() < members.len() {
            self.notes.ignored_in_aggregation(word(op));
        }
        let first = *floats.first()?;
        let better = |best: f64, value: f64, takes: bool| {
            if takes || best.is_nan() { value } else { best }
        };
        let value = match op {
            AggregateOp::Max => floats
                .iter()
                .fold(first, |best, v| better(best, *v, best < *v)),
            AggregateOp::Min => floats
                .iter()
                .fold(first, |best, v| better(best, *v, best > *v)),
            AggregateOp::Stdvar => variance(&floats),
            AggregateOp::Stddev => variance(&floats).sqrt(),
            AggregateOp::Quantile => math::quantile(q, &mut floats),
            _ => return None,
        };
        Some(value.into())
    }

    fn sum_or_mean(&mut self, op: AggregateOp, members: &[&Sample]) -> Option<SampleValue> {
        let floats = || members.iter().filter_map(|sample| sample.value.float());
        let histograms = members.iter().filter_map(|sample| named(sample));
        let count = floats().count();
        if count > 0 && count < members.len() {
            self.notes.mixed_types_in_aggregation();
            return None;
        }
        if count == 0 {
            let folded = if op == AggregateOp::Sum {
                group::sum(histograms, &mut self.notes)
            } else {
                group::mean(histograms, &mut self.notes)
            };
            return folded.map(|mut value| {
                value.compact();
                value.into()
            });
        }
        if op == AggregateOp::Sum {
            let mut all = floats();
            let first = Kahan::new(all.next()?);
            return Some(all.fold(first, Kahan::add).total().into());
        }
        let mut all = floats();
        let mut mean = Mean::new(all.next()?);
        all.for_each(|value| mean.add(value));
        Some(mean.value().into())
    }

    /// `topk`, `bottomk` and `limitk`: some samples of every group as they are.
    fn first_k(
        &mut self,
        op: AggregateOp,
        vector: Vec<Sample>,
        grouping: &Grouping<'_>,
        (k, span): (f64, Span),
    ) -> Evaluated<Vec<Sample>> {
        if k.is_nan() {
            return Err(invalid(span, "Parameter value is NaN"));
        }
        if k <= i64::MIN as f64 {
            return Err(invalid(
                span,
                format!("Scalar value {} underflows int64", general(k)),
            ));
        }
        if k >= i64::MAX as f64 {
            return Err(invalid(
                span,
                format!("Scalar value {} overflows int64", general(k)),
            ));
        }
        if k < 1.0 {
            return Ok(Vec::new());
        }
        let k = (k as usize).min(vector.len());
        let limit = op == AggregateOp::Limitk;
        let value = |at: usize| vector[at].value.float();
        let mut chosen = Vec::new();
        for mut group in grouping.groups(&vector) {
            if !limit {
                let all = group.members.len();
                group.members.retain(|at| value(*at).is_some());
                if group.members.len() < all {
                    self.notes.ignored_in_aggregation(word(op));
                }
                let number = |at: &usize| value(*at).unwrap_or(f64::NAN);
                let down = op == AggregateOp::Topk;
                group
                    .members
                    .sort_by(|a, b| sort::order(number(a), number(b), down));
            }
            group.members.truncate(k);
            chosen.append(&mut group.members);
        }
        Ok(chosen.into_iter().map(|at| vector[at].clone()).collect())
    }

    /// A share of all series, chosen by the hash of their labels, so that the
    /// shares r and -(1 - r) complete each other.
    fn limit_ratio(
        &mut self,
        mut vector: Vec<Sample>,
        (ratio, span): (f64, Span),
    ) -> Evaluated<Vec<Sample>> {
        if ratio.is_nan() {
            return Err(invalid(span, "Ratio value is NaN"));
        }
        let capped = ratio.clamp(-1.0, 1.0);
        if capped != ratio {
            self.notes.warn(format!(
                "ratio value should be between -1 and 1, got {}, capping to {}",
                general(ratio),
                general(capped)
            ));
        }
        vector.retain(|sample| {
            let place = sample.labels.hash64() as f64 / u64::MAX as f64;
            if capped >= 0.0 {
                place < capped || capped == 1.0
            } else {
                place >= 1.0 + capped
            }
        });
        Ok(vector)
    }
}

fn named(sample: &Sample) -> Option<(&Histogram, &str)> {
    let histogram = sample.value.histogram()?;
    Some((histogram, sample.labels.name()))
}

fn word(op: AggregateOp) -> &'static str {
    match op {
        AggregateOp::Max => "max",
        AggregateOp::Min => "min",
        AggregateOp::Stddev => "stddev",
        AggregateOp::Stdvar => "stdvar",
        AggregateOp::Quantile => "quantile",
        AggregateOp::Topk => "topk",
        AggregateOp::Bottomk => "bottomk",
        _ => "",
    }
}

/// Welford's variance of the population.
fn variance(values: &[f64]) -> f64 {
    if values.iter().any(|value| !value.is_finite()) {
        return f64::NAN;
    }
    let (mut count, mut mean, mut total) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        total += delta * (value - mean);
    }
    total / count
}

fn count_values(
    vector: &[Sample],
    grouping: &Grouping<'_>,
    name: &str,
    span: Span,
) -> Evaluated<Vec<Sample>> {
    if !is_valid_name(name) {
        return Err(invalid(span, format!("invalid label name {name:?}")));
    }
    let mut names = grouping.names.to_vec();
    if !grouping.without {
        names.push(name.to_owned());
    }
    let grouping = Grouping {
        names: &names,
        without: grouping.without,
    };
    let relabelled = vector.iter().map(|sample| {
        let mut builder = LabelsBuilder::from(&sample.labels);
        let text = match &sample.value {
            SampleValue::Float(value) => plain(*value),
            SampleValue::Histogram(histogram) => histogram.to_string(),
        };
        builder.set(name, &text);
        Sample {
            labels: builder.build(),
            ..sample.clone()
        }
    });
    let relabelled: Vec<Sample> = relabelled.collect();
    let count = |group: Group| Sample::new(group.labels, group.members.len() as f64);
    Ok(grouping
        .groups(&relabelled)
        .into_iter()
        .map(count)
        .collect())
}
