//! `label_replace` and `label_join`.

use super::call::{string_arg, string_args};
use super::{Eval, Evaluated, invalid};
use crate::ast::{Expr, Span};
use crate::labels::{LabelsBuilder, NAME, is_valid_name};
use crate::matcher;
use crate::value::Sample;

/// Expressions kept compiled for one query.
const MAX_REGEXES: usize = 100;

impl Eval<'_> {
    pub(super) fn label_replace(
        &mut self,
        span: Span,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let texts = string_args(args.get(1..).unwrap_or_default());
        let [target, replacement, source, pattern] = texts.as_slice() else {
            return Err(invalid(span, "label_replace needs four texts"));
        };
        if !is_valid_name(target) {
            let message = format!("invalid destination label name in label_replace(): {target}");
            return Err(invalid(span, message));
        }
        let regex = match self.regexes.get(pattern) {
            Some(regex) => regex.clone(),
            None => {
                let regex = matcher::compile(pattern).map_err(|_| {
                    let what = "invalid regular expression in label_replace()";
                    invalid(span, format!("{what}: {pattern}"))
                })?;
                if self.regexes.len() < MAX_REGEXES {
                    self.regexes.insert(pattern.clone(), regex.clone());
                }
                regex
            }
        };
        let mut vector = self.vector_arg(span, args, 0, at_ms)?;
        for sample in &mut vector {
            let Some(captures) = regex.captures(sample.labels.get(source)) else {
                continue;
            };
            let mut value = String::new();
            captures.expand(replacement, &mut value);
            relabel(sample, target, &value);
        }
        self.check_unique(&vector, span)?;
        Ok(vector)
    }

    pub(super) fn label_join(
        &mut self,
        span: Span,
        args: &[Expr],
        at_ms: i64,
    ) -> Evaluated<Vec<Sample>> {
        let target = args.get(1).map(string_arg).unwrap_or_default();
        let separator = args.get(2).map(string_arg).unwrap_or_default();
        let sources = string_args(args.get(3..).unwrap_or_default());
        if !sources.iter().all(|source| is_valid_name(source)) {
            return Err(invalid(span, "invalid source label name in label_join(): "));
        }
        if !is_valid_name(&target) {
            return Err(invalid(
                span,
                "invalid destination label name in label_join(): ",
            ));
        }
        let mut vector = self.vector_arg(span, args, 0, at_ms)?;
        for sample in &mut vector {
            let values: Vec<&str> = sources.iter().map(|name| sample.labels.get(name)).collect();
            let value = values.join(&separator);
            relabel(sample, &target, &value);
        }
        self.check_unique(&vector, span)?;
        Ok(vector)
    }
}

fn relabel(sample: &mut Sample, target: &str, value: &str) {
    let mut builder = LabelsBuilder::from(&sample.labels);
    builder.set(target, value);
    sample.labels = builder.build();
    if target == NAME {
        sample.drop_name = false;
    }
}
