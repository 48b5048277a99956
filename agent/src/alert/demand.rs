//! Which series the rules select, how long each is kept, and which groups look at it.

use std::collections::HashMap;

use weir_promql::ast::{Expr, ExprKind, Selector};
use weir_promql::labels::{Labels, NAME};
use weir_promql::matcher::{Matcher, matches_all};
use weir_promql::store::{Need, needs};

use super::group::Group;

/// Distinct intervals that are told apart; rarer ones share the last place.
const INTERVALS: usize = 64;

/// A selector of some rule.
#[derive(Debug)]
struct Wanted {
    need: Need,
    intervals: u64,
    immediate: Vec<usize>,
}

/// Who looks at a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Bits of the intervals of its groups, as [`Demand::bit`] gives them.
    pub intervals: u64,
    /// Places of the immediate groups, sorted.
    pub immediate: Vec<usize>,
}

/// What all rules need.
#[derive(Debug, Default)]
pub struct Demand {
    wanted: Vec<Wanted>,
    /// Those that name their metrics, by name.
    by_name: HashMap<String, Vec<usize>>,
    /// Those that do not.
    nameless: Vec<usize>,
    /// In milliseconds, sorted.
    intervals: Vec<i64>,
}

impl Demand {
    /// Of groups, those at the `immediate` places included. Expressions without bound were refused
    /// before.
    pub fn of(groups: &[Group], immediate: &[usize], lookback_ms: i64) -> Self {
        let mut intervals: Vec<i64> = groups.iter().map(|group| group.interval_ms).collect();
        intervals.sort_unstable();
        intervals.dedup();
        let mut demand = Self {
            intervals,
            ..Self::default()
        };
        for (place, group) in groups.iter().enumerate() {
            let bit = demand.bit(group.interval_ms);
            let place = immediate.contains(&place).then_some(place);
            for rule in &group.rules {
                let tree = rule.written.expr.tree();
                let needs = needs(tree, lookback_ms, group.query_offset_ms).unwrap_or_default();
                for need in needs {
                    demand.add(need, bit, place);
                }
            }
        }
        demand
    }

    fn add(&mut self, need: Need, interval: u64, immediate: Option<usize>) {
        let key = names(&need.matchers).and_then(|names| names.first().cloned());
        let near = match &key {
            Some(name) => self.by_name.get(name),
            None => Some(&self.nameless),
        };
        let same = |at: &&usize| self.wanted[**at].need.matchers == need.matchers;
        let known = near.and_then(|near| near.iter().find(same)).copied();
        let at = known.unwrap_or_else(|| self.insert(need.matchers.clone()));
        let wanted = &mut self.wanted[at];
        wanted.need.window_ms = wanted.need.window_ms.max(need.window_ms);
        wanted.intervals |= interval;
        if let Some(place) = immediate
            && !wanted.immediate.contains(&place)
        {
            wanted.immediate.push(place);
        }
    }

    fn insert(&mut self, matchers: Vec<Matcher>) -> usize {
        let at = self.wanted.len();
        match names(&matchers) {
            Some(names) => {
                for name in names {
                    self.by_name.entry(name.clone()).or_default().push(at);
                }
            }
            None => self.nameless.push(at),
        }
        self.wanted.push(Wanted {
            need: Need {
                matchers,
                window_ms: 0,
            },
            intervals: 0,
            immediate: Vec::new(),
        });
        at
    }

    /// For the store.
    pub fn needs(&self) -> Vec<Need> {
        self.wanted
            .iter()
            .map(|wanted| wanted.need.clone())
            .collect()
    }

    /// The bit of an interval.
    pub fn bit(&self, interval_ms: i64) -> u64 {
        let place = self.intervals.partition_point(|known| *known < interval_ms);
        1 << place.min(INTERVALS - 1)
    }

    /// Whether any series of this name may be wanted.
    pub fn may_want(&self, name: &str) -> bool {
        let fits = |at: &usize| {
            let matchers = self.wanted[*at].need.matchers.iter();
            let mut of_name = matchers.filter(|matcher| matcher.name == NAME);
            of_name.all(|matcher| matcher.matches(name))
        };
        self.by_name.contains_key(name) || self.nameless.iter().any(fits)
    }

    /// Who looks at a series; none if nobody does.
    pub fn use_of(&self, labels: &Labels) -> Option<Use> {
        let named = self.by_name.get(labels.name());
        let all = named.into_iter().flatten().chain(&self.nameless);
        let mut found: Option<Use> = None;
        for at in all {
            let wanted = &self.wanted[*at];
            if matches_all(&wanted.need.matchers, labels) {
                let found = found.get_or_insert_default();
                found.intervals |= wanted.intervals;
                found.immediate.extend(&wanted.immediate);
            }
        }
        if let Some(found) = &mut found {
            found.immediate.sort_unstable();
            found.immediate.dedup();
        }
        found
    }
}

/// The metrics that matchers name, if they name any.
fn names(matchers: &[Matcher]) -> Option<&[String]> {
    let mut of_name = matchers.iter().filter(|matcher| matcher.name == NAME);
    of_name.find_map(Matcher::candidates)
}

/// The selectors of an expression.
pub fn selectors(expr: &Expr) -> Vec<&Selector> {
    let mut found = Vec::new();
    let mut waiting = vec![expr];
    while let Some(expr) = waiting.pop() {
        match &expr.kind {
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => {
                found.push(&**selector)
            }
            _ => waiting.extend(expr.children()),
        }
    }
    found
}

/// Names of the metrics that an expression selects; none if a selector does not name its metric.
pub fn metrics(expr: &Expr) -> Option<Vec<String>> {
    let mut all = Vec::new();
    for selector in selectors(expr) {
        all.extend(names(&selector.matchers)?.iter().cloned());
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::file::RuleFile;
    use crate::alert::group::Settings;
    use crate::alert::set::RuleSet;

    fn demand() -> Demand {
        let rules = r#"
groups:
- {name: a, interval: 15s, rules: [{record: x, expr: 'rate(m{k="1"}[5m]) + n'}]}
- {name: b, interval: 1m, rules: [{record: y, expr: 'rate(m{k="1"}[10m]) + {__name__=~"p.*", k!=""}'}]}
"#;
        let files = vec![RuleFile::parse("f", rules, false).unwrap()];
        let set = RuleSet::new(files, &Settings::default());
        Demand::of(&set.groups, &[1], 300_000)
    }

    fn labels(name: &str, k: &str) -> Labels {
        Labels::new([(NAME, name), ("k", k)])
    }

    #[test]
    fn a_series_knows_the_intervals_and_immediate_groups_that_look_at_it() {
        let demand = demand();
        let (fast, slow) = (demand.bit(15_000), demand.bit(60_000));
        let of = |intervals, immediate: &[usize]| Use {
            intervals,
            immediate: immediate.to_vec(),
        };
        assert_eq!(
            demand.use_of(&labels("m", "1")),
            Some(of(fast | slow, &[1]))
        );
        assert_eq!(demand.use_of(&labels("m", "2")), None);
        assert_eq!(demand.use_of(&labels("n", "2")), Some(of(fast, &[])));
        assert_eq!(demand.use_of(&labels("pq", "2")), Some(of(slow, &[1])));
        assert_eq!(demand.use_of(&labels("pq", "")), None);
        assert!(demand.may_want("pq") && !demand.may_want("q"));
    }

    #[test]
    fn the_longest_window_of_a_selector_counts() {
        let needs = demand().needs();
        let windows: Vec<_> = needs.iter().map(|need| need.window_ms).collect();
        assert_eq!(windows, [600_000, 0, 0]);
    }
}
