//! Sorting of vectors: by value, or by labels in natural order.

use std::cmp::Ordering;

use crate::value::Sample;

/// Sorts numbers; NaN comes last, histograms are left out.
pub(super) fn by_value(mut vector: Vec<Sample>, descending: bool) -> Vec<Sample> {
    vector.retain(|sample| sample.value.float().is_some());
    let value = |sample: &Sample| sample.value.float().unwrap_or(f64::NAN);
    vector.sort_by(|a, b| order(value(a), value(b), descending));
    vector
}

/// Order of two numbers with NaN last.
pub(super) fn order(a: f64, b: f64, descending: bool) -> Ordering {
    let by_size = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
    let by_size = if descending {
        by_size.reverse()
    } else {
        by_size
    };
    a.is_nan().cmp(&b.is_nan()).then(by_size)
}

/// Sorts by the values of labels, then by all labels.
pub(super) fn by_label(mut vector: Vec<Sample>, names: &[String], descending: bool) -> Vec<Sample> {
    vector.sort_by(|a, b| {
        let by_names = names
            .iter()
            .map(|name| natural(a.labels.get(name), b.labels.get(name)));
        let ordering = by_names.fold(Ordering::Equal, Ordering::then);
        let ordering = ordering.then_with(|| a.labels.cmp(&b.labels));
        if descending {
            ordering.reverse()
        } else {
            ordering
        }
    });
    vector
}

/// Compares runs of digits by their number, everything else as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (left, right) = (run(&mut a), run(&mut b));
        match (left, right) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => {
                let numbers = (left.parse::<u64>(), right.parse::<u64>());
                let ordering = match numbers {
                    (Ok(left), Ok(right)) => left.cmp(&right),
                    _ => left.cmp(right),
                };
                if ordering != Ordering::Equal {
                    return ordering;
                }
            }
        }
    }
}

/// Takes the leading run of digits, or of anything but digits.
fn run<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let digits = rest.chars().next()?.is_ascii_digit();
    let end = rest
        .find(|c: char| c.is_ascii_digit() != digits)
        .unwrap_or(rest.len());
    let (head, tail) = rest.split_at(end);
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_within_names_sort_as_numbers() {
        let mut names = ["cpu10", "cpu9", "cpu", "1", "10", "2", "a1b10", "a1b2"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            ["1", "2", "10", "a1b2", "a1b10", "cpu", "cpu9", "cpu10"]
        );
    }
}
