//! A simulated time with a store: series arrive, groups are evaluated, nothing is real.

use std::path::PathBuf;

use weir_promql::eval::Options;
use weir_promql::labels::Labels;
use weir_promql::store::{Need, Store, StoreLimits};
use weir_promql::testscript;
use weir_promql::value::{Sample, SampleValue};

use super::schema::{Series as Input, Test};
use crate::alert::expression::Expression;
use crate::alert::file::RuleFile;
use crate::alert::group::{Group, Settings};
use crate::alert::page::Pairs;
use crate::alert::set::RuleSet;
use crate::alert::source::{Append as _, Query as _, Series, vector};
use crate::alert::template::External;

/// Most samples of all series of a test.
const MAX_SAMPLES: usize = 20_000_000;

/// Series, rules and their state.
pub(super) struct World {
    store: Store,
    options: Options,
    settings: Settings,
    pub(super) groups: Vec<Group>,
    labels: Vec<Labels>,
    /// What is still to arrive, last first: time, series, value.
    coming: Vec<(i64, usize, SampleValue)>,
}

impl World {
    /// The world of a test before it begins.
    ///
    /// # Errors
    /// If a series or a rule file cannot be used.
    pub(super) fn new(
        test: &Test,
        plan: &super::Plan<'_>,
        start_ms: i64,
    ) -> Result<Self, Vec<String>> {
        let limits = StoreLimits {
            series: 1_000_000,
            samples: 100_000_000,
            bytes: 4 << 30,
            idle_ms: i64::MAX,
        };
        let interval_ms = if test.interval == 0 {
            plan.interval_ms
        } else {
            test.interval
        };
        let mut world = Self {
            store: Store::new(limits),
            options: Options {
                subquery_step_ms: plan.interval_ms,
                start_timestamps: false,
                ..Options::default()
            },
            settings: Settings {
                interval_ms,
                external: External {
                    labels: test.external_labels.clone().unwrap_or_default().into(),
                    url: test.external_url.as_deref().unwrap_or_default().into(),
                    // promtool gives its rules no address of their own.
                    address: None,
                },
                ..Settings::default()
            },
            groups: Vec::new(),
            labels: Vec::new(),
            coming: Vec::new(),
        };
        world.store.set_needs(vec![Need {
            matchers: Vec::new(),
            window_ms: i64::MAX,
        }]);
        for input in test.input_series.iter().flatten() {
            world
                .expect(input, interval_ms, start_ms)
                .map_err(|why| vec![why])?;
        }
        // Last first, so that the next to arrive is at the end.
        world
            .coming
            .sort_by_key(|(at_ms, ..)| std::cmp::Reverse(*at_ms));
        world.groups = groups(plan, &world.settings)?;
        Ok(world)
    }

    fn expect(&mut self, input: &Input, interval_ms: i64, start_ms: i64) -> Result<(), String> {
        let (labels, values) = testscript::series(&input.series, &input.values)?;
        if self.coming.len() + values.len() > MAX_SAMPLES {
            return Err(format!("test has more than {MAX_SAMPLES} samples"));
        }
        let series = self.labels.len();
        self.labels.push(labels);
        for (step, value) in (0i64..).zip(values) {
            let at_ms = start_ms.saturating_add(step.saturating_mul(interval_ms));
            self.coming
                .extend(value.map(|value| (at_ms, series, value)));
        }
        Ok(())
    }

    /// Lets samples arrive and evaluates all groups.
    ///
    /// # Errors
    /// If a sample cannot be taken, with the rules that failed.
    pub(super) fn advance(&mut self, at_ms: i64) -> Result<(), Vec<String>> {
        let mut source = Series::new(&mut self.store, &self.options);
        while let Some((time_ms, series, value)) = self.coming.pop_if(|(time, ..)| *time <= at_ms) {
            let labels = &self.labels[series];
            let taken = source.append(labels, time_ms, value);
            taken.map_err(|why| vec![format!("{labels}: {why}")])?;
        }
        let mut errors = Vec::new();
        for group in &mut self.groups {
            group.evaluate(&mut source, at_ms, &self.settings, &Pairs::new(), &|| 0);
            for rule in &group.rules {
                if let Some(why) = &rule.last_error {
                    let name = &rule.written.name;
                    let time = super::go_duration(at_ms);
                    errors.push(format!("    rule: {name}, time: {time}, err: {why}"));
                }
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// The elements of an expression's result.
    ///
    /// # Errors
    /// If it has none.
    pub(super) fn query(&mut self, text: &str, at_ms: i64) -> Result<Vec<Sample>, String> {
        let expr = Expression::parse(text)?;
        let source = Series::new(&mut self.store, &self.options);
        vector(source.instant(&expr, at_ms)?)
    }
}

/// The groups of all files in the order in which they are to be evaluated.
fn groups(plan: &super::Plan<'_>, settings: &Settings) -> Result<Vec<Group>, Vec<String>> {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    for path in plan.rule_files {
        let path: &PathBuf = path;
        match RuleFile::load(path, plan.ignore_unknown) {
            Ok(file) => files.push(file),
            Err(why) => errors.push(why.to_string()),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut groups = RuleSet::new(files, settings).groups;
    // Groups that are not in the list count as its first.
    groups.sort_by_key(|group| {
        let place = plan.order.iter().position(|name| *name == group.name);
        place.unwrap_or(0)
    });
    Ok(groups)
}
