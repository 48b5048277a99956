//! Label sets: sorted by name, packed into one shared string, cheap to clone
//! and to compare. A set knows its hash, so grouping never walks it twice.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

/// The label that carries a metric's name.
pub const NAME: &str = "__name__";
/// The label that carries the upper bound of a classic histogram's bucket.
pub const BUCKET: &str = "le";
/// The label that carries a metric's type (OpenMetrics words).
pub const TYPE: &str = "__type__";
/// The label that carries a metric's unit.
pub const UNIT: &str = "__unit__";

/// Longest name or value a set can carry, in bytes; what is longer is cut.
pub const MAX_LABEL_BYTES: usize = (1 << 21) - 1;

/// From this length on a size takes four bytes instead of one.
const LONG: usize = 127;

/// A set of labels: sorted, unique names, no empty values.
#[derive(Clone, Eq)]
pub struct Labels {
    hash: u64,
    packed: Arc<str>,
}

impl PartialEq for Labels {
    /// Clones share their text, and then it need not be read.
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && (Arc::ptr_eq(&self.packed, &other.packed) || self.packed == other.packed)
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::from_packed(Arc::default())
    }
}

impl Labels {
    /// The set without any label.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Builds a set; a name that comes twice keeps its last value, an empty
    /// value removes the label.
    pub fn new<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(&name.into(), &value.into());
        }
        builder.build()
    }

    fn from_packed(packed: Arc<str>) -> Self {
        Self {
            hash: xxh64(packed.as_bytes(), 0),
            packed,
        }
    }

    /// XXH64 over the packed form. For labels shorter than 127 bytes it is the
    /// hash of Prometheus's default build, which `limit_ratio` samples by.
    pub fn hash64(&self) -> u64 {
        self.hash
    }

    /// Whether no label is set.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// The labels in order of their names.
    pub fn iter(&self) -> LabelIter<'_> {
        LabelIter { rest: &self.packed }
    }

    /// The value of a label; "" if it is not set.
    pub fn get(&self, name: &str) -> &str {
        for (have, value) in self.iter() {
            if have == name {
                return value;
            }
            if have > name {
                break;
            }
        }
        ""
    }

    /// The metric's name; "" if it has none.
    pub fn name(&self) -> &str {
        self.get(NAME)
    }

    /// The set reduced to the named labels.
    pub fn only(&self, names: &[String]) -> Self {
        self.retain(|name| names.iter().any(|wanted| wanted == name))
    }

    /// The set without the named labels.
    pub fn without(&self, names: &[String]) -> Self {
        self.retain(|name| !names.iter().any(|unwanted| unwanted == name))
    }

    /// The set without name, type and unit: what is left when a value no
    /// longer is what the metric's name says.
    pub fn without_metadata(&self) -> Self {
        self.retain(|name| name != NAME && name != TYPE && name != UNIT)
    }

    /// The set with labels changed, added, or, where the value is empty, taken
    /// out; the last of a name counts.
    pub fn with(&self, changes: &[(&str, &str)]) -> Self {
        let mut changes: Vec<_> = changes.iter().rev().collect();
        changes.sort_by_key(|(name, _)| *name);
        changes.dedup_by_key(|(name, _)| *name);
        let more: usize = changes
            .iter()
            .map(|(name, value)| name.len() + value.len() + 8)
            .sum();
        let mut packed = String::with_capacity(self.packed.len() + more);
        let mut put = |name: &str, value: &str| {
            if !value.is_empty() {
                push(&mut packed, name);
                push(&mut packed, value);
            }
        };
        let mut changes = changes.into_iter().peekable();
        for (have, value) in self.iter() {
            while let Some((name, value)) = changes.next_if(|(name, _)| *name < have) {
                put(name, value);
            }
            match changes.next_if(|(name, _)| *name == have) {
                Some((name, value)) => put(name, value),
                None => put(have, value),
            }
        }
        for (name, value) in changes {
            put(name, value);
        }
        Self::from_packed(packed.into())
    }

    fn retain(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        let mut packed = String::with_capacity(self.packed.len());
        for (name, value) in self.iter().filter(|(name, _)| keep(name)) {
            push(&mut packed, name);
            push(&mut packed, value);
        }
        Self::from_packed(packed.into())
    }

    /// Bytes that the set occupies on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.packed.len() + 2 * size_of::<usize>()
    }

    /// Writes the labels chosen by `keep` in packed form, as a key to group by.
    pub(crate) fn write_key(&self, key: &mut String, keep: impl Fn(&str) -> bool) {
        for (name, value) in self.iter().filter(|(name, _)| keep(name)) {
            push(key, name);
            push(key, value);
        }
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.iter().cmp(other.iter())
    }
}

/// As Prometheus prints a set: `{__name__="up", job="node"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (name, value)) in self.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            if is_plain(name) {
                write!(f, "{comma}{name}={value:?}")?;
            } else {
                write!(f, "{comma}{name:?}={value:?}")?;
            }
        }
        f.write_str("}")
    }
}

/// Whether a label may be called so: any UTF-8, but not nothing. Bytes of a
/// string literal that are no UTF-8 have become U+FFFD by then.
pub(crate) fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('\u{fffd}')
}

/// Whether a label's name needs no quotes.
fn is_plain(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(word) && !name.starts_with(|c: char| c.is_ascii_digit())
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Walks a label set in order of names.
pub struct LabelIter<'a> {
    rest: &'a str,
}

impl<'a> Iterator for LabelIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let name = pull(&mut self.rest)?;
        let value = pull(&mut self.rest)?;
        Some((name, value))
    }
}

/// Appends a size and a text. Sizes are ASCII, so the whole stays UTF-8.
fn push(packed: &mut String, text: &str) {
    let mut end = text.len().min(MAX_LABEL_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end < LONG {
        packed.push(char::from(end as u8));
    } else {
        packed.push(char::from(LONG as u8));
        for shift in [0, 7, 14] {
            packed.push(char::from((end >> shift & 0x7f) as u8));
        }
    }
    packed.push_str(&text[..end]);
}

fn pull<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let bytes = rest.as_bytes();
    let first = usize::from(*bytes.first()?);
    let (size, start) = if first < LONG {
        (first, 1)
    } else {
        let part = |at: usize| usize::from(bytes.get(at).copied().unwrap_or(0));
        (part(1) | part(2) << 7 | part(3) << 14, 4)
    };
    let text = rest.get(start..start + size)?;
    *rest = rest.get(start + size..)?;
    Some(text)
}

/// Collects changes to a label set.
#[derive(Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Starts from a set.
    pub fn from(labels: &Labels) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            pairs: labels.iter().map(own).collect(),
        }
    }

    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) {
        match self
            .pairs
            .binary_search_by(|(have, _)| have.as_str().cmp(name))
        {
            Ok(at) if value.is_empty() => {
                self.pairs.remove(at);
            }
            Ok(at) => value.clone_into(&mut self.pairs[at].1),
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
    }

    /// The value of a label; "" if it is not set.
    pub fn get(&self, name: &str) -> &str {
        let found = self
            .pairs
            .binary_search_by(|(have, _)| have.as_str().cmp(name));
        found.map_or("", |at| self.pairs[at].1.as_str())
    }

    /// The set with all changes.
    pub fn build(&self) -> Labels {
        let mut packed = String::new();
        for (name, value) in &self.pairs {
            push(&mut packed, name);
            push(&mut packed, value);
        }
        Labels::from_packed(packed.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_an_empty_value_is_no_label() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!(labels.get("c"), "");
        assert_eq!(labels.to_string(), r#"{a="1", b="2"}"#);
    }

    #[test]
    fn changes_are_those_of_a_builder() {
        let labels = Labels::new([("b", "2"), ("d", "4"), ("f", "6")]);
        for changes in [
            &[][..],
            &[("a", "x"), ("g", "y")],
            &[("d", ""), ("b", "new"), ("c", "")],
            &[("f", ""), ("e", "5"), ("e", "50"), ("d", "40")],
            &[("b", ""), ("d", ""), ("f", "")],
        ] {
            let mut builder = LabelsBuilder::from(&labels);
            for (name, value) in changes {
                builder.set(name, value);
            }
            assert_eq!(labels.with(changes), builder.build(), "{changes:?}");
        }
    }

    #[test]
    fn long_values_come_back_whole() {
        for size in [0, 1, 126, 127, 128, 20_000, MAX_LABEL_BYTES] {
            let value = "é".repeat(size / 2) + if size % 2 == 1 { "x" } else { "" };
            let labels = Labels::new([("a", value.clone()), ("z", "end".to_owned())]);
            assert_eq!(labels.get("a"), value, "size {size}");
            assert_eq!(labels.get("z"), "end", "size {size}");
        }
    }

    #[test]
    fn dropping_labels_gives_the_same_set_as_never_setting_them() {
        let full = Labels::new([(NAME, "m"), (TYPE, "counter"), ("a", "1"), ("b", "2")]);
        assert_eq!(
            full.without_metadata(),
            Labels::new([("a", "1"), ("b", "2")])
        );
        assert_eq!(full.only(&["b".to_owned()]), Labels::new([("b", "2")]));
        assert_eq!(full.without(&["b".to_owned()]).get("b"), "");
    }
}
