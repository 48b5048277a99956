//! Series of one store in another: what a query works on while the first goes on.

use super::{Refused, Store};
use crate::matcher::Matcher;
use crate::storage::Storage as _;

impl Store {
    /// Copies the series that satisfy all matchers into another store, with their past, unless it
    /// has them. Of one that keeps no past, the last value stands for `until_ms` if it is at most
    /// `present_ms` newer; else it has nothing to tell of that time and is left out.
    pub fn copy_to(
        &self,
        other: &mut Self,
        matchers: &[Matcher],
        until_ms: i64,
        present_ms: i64,
    ) -> Result<(), Refused> {
        let mut found = Vec::new();
        let full = |_| Refused::Series(other.limits.series);
        self.select(matchers, other.limits.series, &mut found)
            .map_err(full)?;
        for entry in found.into_iter().filter_map(|id| self.entry(id)) {
            let newest_ms = until_ms.saturating_add(present_ms);
            let is_told = entry.history.is_some() || entry.last.at_ms <= newest_ms;
            if is_told && other.find(&entry.labels).is_none() {
                other.check_series()?;
                let mut entry = entry.clone();
                if entry.history.is_none() {
                    entry.last.at_ms = entry.last.at_ms.min(until_ms);
                }
                other.place(entry);
            }
        }
        Ok(())
    }
}
