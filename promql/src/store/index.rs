//! Which series carry a label's value: lists of series by name and value.

use std::collections::HashMap;

use crate::labels::Labels;
use crate::matcher::Matcher;

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

    /// Series that may match: those of the matcher that leaves the fewest.
    /// None if no matcher names values, so that all series may match.
    pub(super) fn candidates(&self, matchers: &[Matcher]) -> Option<Vec<u32>> {
        let lists = matchers.iter().filter_map(|matcher| {
            let wanted = matcher.candidates()?;
            // A matcher that takes the empty value also takes series without the label.
            let selective = wanted.iter().all(|value| !value.is_empty());
            selective.then(|| self.lists(&matcher.name, wanted))
        });
        let size = |lists: &Vec<&[u32]>| lists.iter().map(|list| list.len()).sum::<usize>();
        let lists = lists.min_by_key(size)?;
        let mut ids = lists.concat();
        if lists.len() > 1 {
            ids.sort_unstable();
        }
        Some(ids)
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
