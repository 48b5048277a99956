//! Receivers and their cursors: what each has, what it gets next, what nobody needs any more.

use std::collections::BTreeSet;

use super::{Batch, Cursor, Entry, Form, Op, Record, State};

/// Most bytes of pages in a batch.
const MAX_BATCH_BYTES: usize = 1 << 20;

impl State {
    pub(in super::super) fn register(&mut self, names: &[String]) {
        let wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let gone: Vec<_> = self
            .receivers
            .keys()
            .filter(|name| !wanted.contains(name.as_str()))
            .cloned()
            .collect();
        for name in gone {
            self.receivers.remove(&name);
            self.ops.push(Op::Cursor(name, None));
        }
        for name in names {
            if !self.receivers.contains_key(name) {
                self.welcome(name);
            }
        }
        self.sweep(0..=self.last);
    }

    /// A new receiver has missed the past, but gets what fires now.
    fn welcome(&mut self, name: &str) {
        let settled = self.last;
        let sending = settled;
        self.receivers
            .insert(name.to_owned(), Cursor { settled, sending });
        self.ops.push(Op::Cursor(name.to_owned(), Some(settled)));
        for page in self.firing() {
            self.append(page, Some(name.to_owned()));
        }
    }

    pub(in super::super) fn next(&mut self, receiver: &str, form: Form) -> Option<Batch> {
        let cursor = self.receivers.get_mut(receiver)?;
        let mut batch = Batch {
            pages: Vec::new(),
            upto: cursor.settled,
        };
        let mut alerts = BTreeSet::new();
        let mut bytes = 0;
        let waiting = self.entries.range(cursor.settled + 1..);
        for (number, entry) in waiting.take_while(|(number, _)| **number <= self.allowed) {
            if entry.only.as_deref().is_none_or(|only| only == receiver) {
                bytes += entry.body.len();
                let is_full = batch.pages.len() >= form.pages
                    || (bytes > MAX_BATCH_BYTES && !batch.pages.is_empty());
                if is_full || !alerts.insert(entry.alert.0) {
                    break;
                }
                // Made from a record by this program, so it is one.
                let Ok(Record { page, .. }) = serde_json::from_slice(&entry.body) else {
                    continue;
                };
                let first = batch.pages.first();
                if form.one_name && first.is_some_and(|first| first.name() != page.name()) {
                    break;
                }
                batch.pages.push(page);
            }
            batch.upto = *number;
        }
        cursor.sending = batch.upto;
        (batch.upto > cursor.settled).then_some(batch)
    }

    pub(in super::super) fn settle(&mut self, receiver: &str, upto: u64) {
        let Some(cursor) = self.receivers.get_mut(receiver) else {
            return;
        };
        let before = cursor.settled;
        if upto <= before {
            return;
        }
        cursor.settled = upto;
        cursor.sending = upto;
        self.ops.push(Op::Cursor(receiver.to_owned(), Some(upto)));
        self.sweep(before + 1..=upto);
    }

    /// Removes what everyone has.
    fn sweep(&mut self, range: std::ops::RangeInclusive<u64>) {
        let done: Vec<_> = self
            .entries
            .range(range)
            .filter(|(number, entry)| self.lacking(**number, entry).next().is_none())
            .map(|(number, _)| *number)
            .collect();
        for number in done {
            self.remove(number);
        }
    }

    /// The receivers that an entry waits for.
    pub(super) fn lacking(
        &self,
        number: u64,
        entry: &Entry,
    ) -> impl Iterator<Item = (&str, &Cursor)> {
        let concerned = self.receivers.iter().filter(move |(name, cursor)| {
            cursor.settled < number && entry.only.as_ref().is_none_or(|only| only == *name)
        });
        concerned.map(|(name, cursor)| (name.as_str(), cursor))
    }
}
