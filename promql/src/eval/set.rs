//! Set operators: `and`, `or`, `unless`.

use std::collections::HashSet;

use super::binary::Key;
use crate::ast::{BinaryOp, Matching};
use crate::value::Sample;

/// Combines two vectors by whether their series find each other.
pub(super) fn combine(
    op: BinaryOp,
    mut left: Vec<Sample>,
    mut right: Vec<Sample>,
    matching: &Matching,
) -> Vec<Sample> {
    let mut key = Key::new(matching);
    let mut keys = |vector: &[Sample]| -> HashSet<String> {
        vector
            .iter()
            .map(|sample| key.of(&sample.labels).to_owned())
            .collect()
    };
    if op == BinaryOp::Or {
        if !left.is_empty() && !right.is_empty() {
            let known = keys(&left);
            right.retain(|sample| !known.contains(key.of(&sample.labels)));
        }
        left.append(&mut right);
        return left;
    }
    if left.is_empty() {
        return left;
    }
    let known = keys(&right);
    left.retain(|sample| known.contains(key.of(&sample.labels)) == (op == BinaryOp::And));
    left
}
