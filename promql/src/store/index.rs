//! Which series carry a label's value: lists of series by name and value.

use std::collections::HashMap;

use crate::labels::Labels;
use crate::matcher::Matcher;

/// Series that may match.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Ascending.
    pub(super) ids: Vec<u32>,
    /// Places of the matchers that are still to be asked; the others hold.
    pub(super) open: Vec<usize>,
}

/// Lists of series ids, ascending, by label name and value.
#[derive(Default)]
pub(super) struct Index {
    names: HashMap<Box<str>, HashMap<Box<str>, Vec<u32>>>,
    bytes: usize,
}

impl Index {
    pub(super) fn insert(&mut self, id: u32, labels: &Labels) {
        for (name, value) in labels.iter() {
            let values = match self.names.get_mut(name) {
                Some(values) => values,
                None => {
                    self.bytes += name.len() + size_of::<(Box<str>, HashMap<(), ()>)>();
                    self.names.entry(name.into()).or_default()
                }
            };
            let ids = match values.get_mut(value) {
                Some(ids) => ids,
                None => {
                    self.bytes += value.len() + size_of::<(Box<str>, Vec<u32>)>();
                    values.entry(value.into()).or_default()
                }
            };
            let before = ids.capacity();
            if let Err(at) = ids.binary_search(&id) {
                ids.insert(at, id);
            }
            self.bytes += (ids.capacity() - before) * size_of::<u32>();
        }
    }

    pub(super) fn remove(&mut self, id: u32, labels: &Labels) {
        for (name, value) in labels.iter() {
            let Some(values) = self.names.get_mut(name) else {
                continue;
            };
            let Some(ids) = values.get_mut(value) else {
                continue;
            };
            if let Ok(at) = ids.binary_search(&id) {
                ids.remove(at);
            }
            if ids.is_empty() {
                let held = ids.capacity() * size_of::<u32>();
                let pair = value.len() + size_of::<(Box<str>, Vec<u32>)>();
                self.bytes = self.bytes.saturating_sub(held + pair);
                values.remove(value);
            }
        }
    }

    /// Series that may match: those with all values that `=` asks for, or else those of the matcher
    /// that leaves the fewest. None if no matcher names values, so that all series may match.
    pub(super) fn candidates(&self, matchers: &[Matcher]) -> Option<Candidates> {
        let mut exact: Vec<&[u32]> = Vec::new();
        let mut fewest: Option<Vec<&[u32]>> = None;
        let mut open = Vec::new();
        for (at, matcher) in matchers.iter().enumerate() {
            // A matcher that takes the empty value also takes series without the label.
            let wanted = matcher.candidates();
            let Some(wanted) = wanted.filter(|all| all.iter().all(|value| !value.is_empty()))
            else {
                open.push(at);
                continue;
            };
            let lists = self.lists(&matcher.name, wanted);
            match lists.as_slice() {
                [] => return Some(Candidates::default()),
                [one] => exact.push(one),
                _ => {
                    open.push(at);
                    if fewest.as_ref().is_none_or(|few| count(&lists) < count(few)) {
                        fewest = Some(lists);
                    }
                }
            }
        }
        exact.sort_unstable_by_key(|list| list.len());
        let ids = match (exact.split_first(), fewest) {
            (Some((first, others)), _) => intersect(first, others),
            (None, Some(lists)) => {
                let mut ids = lists.concat();
                ids.sort_unstable();
                ids
            }
            (None, None) => return None,
        };
        Some(Candidates { ids, open })
    }

    fn lists(&self, name: &str, wanted: &[String]) -> Vec<&[u32]> {
        let Some(values) = self.names.get(name) else {
            return Vec::new();
        };
        let found = wanted.iter().filter_map(|value| values.get(value.as_str()));
        found.map(Vec::as_slice).collect()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes
    }
}

fn count(lists: &[&[u32]]) -> usize {
    lists.iter().map(|list| list.len()).sum()
}

/// What stands in the first list and in all others; all ascend.
fn intersect(first: &[u32], others: &[&[u32]]) -> Vec<u32> {
    let mut ids = first.to_vec();
    for other in others {
        let mut rest = *other;
        ids.retain(|id| {
            // Few are looked for in many: steps that double find the place.
            let mut step = 1;
            while rest.get(step).is_some_and(|have| have < id) {
                step *= 2;
            }
            let near = rest.get(..=step).unwrap_or(rest);
            let at = near.partition_point(|have| have < id);
            rest = rest.get(at..).unwrap_or_default();
            rest.first() == Some(id)
        });
    }
    ids
}
