//! Points that a kernel event changed, on their way to the groups that wait for them.

use weir_promql::labels::Labels;
use weir_promql::storage::SeriesId;
use weir_promql::store::Store;

use super::newest::News;
use super::series::Reading;
use super::{Feed, Line};
use crate::metrics::{Family, Metric, Value};

/// A series without a sample for longer gets one that says what it was until the event.
const QUIET_MS: i64 = 1_000;

/// A series that an event changed, for a group that waits for it.
pub struct Touch {
    /// The group's place.
    pub place: usize,
    /// Its labels.
    pub labels: Labels,
    /// Its number in the store, if it is there.
    pub id: Option<SeriesId>,
}

impl Feed {
    /// Appends the points that changed since they were last told of, as of `at_ms`, as far as
    /// immediate groups select them; gives these series.
    ///
    /// The kernel tells of these changes as they happen, so until now a counter was what it was when
    /// it was last read, or zero if it was not there. That is appended too if it was read long ago: a
    /// window that is shorter than the group's interval has an increase then.
    pub fn touch(
        &mut self,
        store: &mut Store,
        families: &[Family],
        start_ms: i64,
        at_ms: i64,
    ) -> Vec<Touch> {
        let mut touched = Vec::new();
        for family in families {
            if self.shape(family.metric).forms.is_empty() {
                continue;
            }
            for point in &family.points {
                let known = self.know(family.metric, point, start_ms);
                if !known.is_awaited {
                    continue;
                }
                let Some(mut news) = known.newest.of_event(&point.value, at_ms) else {
                    continue;
                };
                let born_ms = known.born_ms;
                if news.before.is_none() && born_ms > start_ms {
                    news.before = Some((Value::Int(0), born_ms));
                }
                for line in known.lines.iter_mut().filter(|l| !l.immediate.is_empty()) {
                    line.tell(store, family.metric, &news, at_ms, born_ms);
                    let places = line.immediate.iter();
                    touched.extend(places.map(|place| Touch {
                        place: *place,
                        labels: line.labels.clone(),
                        id: line.id,
                    }));
                }
            }
        }
        touched
    }
}

impl Line {
    fn tell(&mut self, store: &mut Store, metric: &Metric, news: &News, at_ms: i64, born_ms: i64) {
        // What is refused is there with the next snapshot, or counted by the store.
        if let Some((before, _)) = news.before.as_ref().filter(|(_, ms)| at_ms - ms > QUIET_MS) {
            let mut reading = Reading::new(metric, before);
            let _ = self.append(store, &mut reading, at_ms - 1, born_ms);
        }
        let mut reading = Reading::new(metric, &news.value);
        let _ = self.append(store, &mut reading, at_ms, born_ms);
    }
}
