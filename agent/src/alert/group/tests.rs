use std::cell::Cell;

use weir_promql::eval::Options;
use weir_promql::labels::Labels;
use weir_promql::store::{Need, Store, StoreLimits};
use weir_promql::value::Value;

use super::{Evaluation, Group, Settings};
use crate::alert::expression::Expression;
use crate::alert::file::RuleFile;
use crate::alert::page::{Pairs, Status};
use crate::alert::rule::Health;
use crate::alert::set::{self, RuleSet, SavedRule};
use crate::alert::source::{Append as _, Query as _, Series, vector};
use crate::alert::state::State;

const MINUTE: i64 = 60_000;

/// A store and rules on it.
struct Bench {
    store: Store,
    options: Options,
    settings: Settings,
    set: RuleSet,
}

impl Bench {
    fn new(rules: &str) -> Self {
        let mut store = Store::new(StoreLimits::default());
        store.set_needs(vec![Need {
            matchers: Vec::new(),
            window_ms: i64::MAX,
        }]);
        let settings = Settings::default();
        Self {
            store,
            options: Options::default(),
            set: RuleSet::new(files(rules), &settings),
            settings,
        }
    }

    fn put(&mut self, labels: &[(&str, &str)], at_ms: i64, value: f64) {
        let mut source = Series::new(&mut self.store, &self.options);
        let labels = Labels::new(labels.iter().copied());
        source.append(&labels, at_ms, value.into()).unwrap();
    }

    fn evaluate(&mut self, at_ms: i64) -> Evaluation {
        let mut source = Series::new(&mut self.store, &self.options);
        let ticks = Cell::new(0);
        let clock = || {
            ticks.set(ticks.get() + 5);
            ticks.get()
        };
        self.set.groups[0].evaluate(&mut source, at_ms, &self.settings, &Pairs::new(), &clock)
    }

    fn ask(&mut self, text: &str, at_ms: i64) -> Vec<String> {
        let source = Series::new(&mut self.store, &self.options);
        let value: Value = source
            .instant(&Expression::parse(text).unwrap(), at_ms)
            .unwrap();
        let samples = vector(value).unwrap();
        let mut shown: Vec<_> = samples
            .iter()
            .map(|s| format!("{} {}", s.labels, s.value.float().unwrap()))
            .collect();
        shown.sort();
        shown
    }

    fn reload(&mut self, rules: &str, at_ms: i64) -> Vec<crate::alert::page::Page> {
        self.set.replace(files(rules), &self.settings, at_ms)
    }
}

/// The rules of a group as a file.
fn files(rules: &str) -> Vec<RuleFile> {
    let text = format!("groups:\n- name: g\n{rules}");
    vec![RuleFile::parse("f.yml", &text, false).unwrap_or_else(|why| panic!("{why}"))]
}

#[test]
fn later_rules_see_what_earlier_ones_wrote() {
    let mut bench = Bench::new(
        "  rules:\n  - {record: double, expr: x * 2}\n  - {alert: A, expr: double > 3}\n  - {record: firing, expr: 'count(ALERTS{alertstate=\"firing\"})'}\n",
    );
    bench.put(&[("__name__", "x")], MINUTE, 2.0);
    let evaluation = bench.evaluate(MINUTE);
    assert_eq!(evaluation.transitions.len(), 1);
    assert_eq!(
        (evaluation.written, evaluation.refused, evaluation.failures),
        (4, 0, 0)
    );
    assert_eq!(evaluation.changed, [1]);
    assert_eq!(bench.ask("firing", MINUTE), [r#"{__name__="firing"} 1"#]);
    assert!(bench.set.groups[0].took_ns > 0 && bench.set.groups[0].rules[0].took_ns == 5);
}

#[test]
fn a_rule_that_fails_changes_nothing_and_stops_no_other() {
    let mut bench =
        Bench::new("  rules:\n  - {alert: A, expr: x * on (a) y}\n  - {record: r, expr: x}\n");
    bench.put(&[("__name__", "x"), ("a", "1")], 0, 1.0);
    bench.put(&[("__name__", "y"), ("a", "1"), ("b", "1")], 0, 1.0);
    bench.evaluate(0);
    assert_eq!(bench.set.groups[0].rules[0].alerts.state(), State::Firing);
    bench.put(&[("__name__", "y"), ("a", "1"), ("b", "2")], MINUTE, 1.0);
    let evaluation = bench.evaluate(MINUTE);
    assert_eq!(evaluation.failures, 1);
    assert!(evaluation.reminders.is_empty(), "nothing is sent for it");
    let rules = &bench.set.groups[0].rules;
    assert_eq!(
        (rules[0].health, rules[1].health),
        (Health::Err, Health::Ok)
    );
    assert!(
        rules[0]
            .last_error
            .as_ref()
            .unwrap()
            .contains("duplicate series")
    );
    assert_eq!(rules[0].alerts.state(), State::Firing);
    assert_eq!(bench.ask("r", MINUTE), [r#"{__name__="r", a="1"} 1"#]);
}

#[test]
fn series_that_end_are_marked_and_the_offset_counts_for_queries_and_results() {
    let mut bench = Bench::new("  query_offset: 30s\n  rules:\n  - {record: r, expr: x > 0}\n");
    bench.put(&[("__name__", "x")], 0, 1.0);
    bench.evaluate(30_000);
    assert_eq!(bench.ask("timestamp(r)", 0), ["{} 0"]);
    bench.put(&[("__name__", "x")], MINUTE, 0.0);
    bench.evaluate(MINUTE);
    assert_eq!(
        bench.ask("timestamp(r)", 30_000),
        ["{} 30"],
        "the past is seen"
    );
    bench.evaluate(MINUTE + 30_000);
    assert_eq!(bench.ask("r", MINUTE), [""; 0]);
}

#[test]
fn slots_are_spread_and_those_that_pass_are_counted() {
    let mut bench = Bench::new("  interval: 10s\n  rules: []\n");
    let group = &mut bench.set.groups[0];
    let slot = group.slot(1_000_000);
    assert!(slot <= 1_000_000 && slot > 990_000);
    assert_eq!(group.slot(slot), slot);
    assert_eq!(group.slot(slot + 9_999), slot);
    assert_eq!(
        group.take_due(slot + 3),
        None,
        "the first evaluation waits for a slot"
    );
    assert_eq!(group.take_due(slot + 9_000), None);
    assert_eq!(group.next_due(slot), slot + 10_000);
    assert_eq!(group.take_due(slot + 10_001), Some(slot + 10_000));
    assert_eq!(group.take_due(slot + 10_002), None);
    assert_eq!(group.take_due(slot + 41_000), Some(slot + 40_000));
    assert_eq!(group.missed, 2);
    assert_eq!(
        group.take_due(slot - 55_000),
        Some(slot - 60_000),
        "the clock stepped back"
    );
    let other: Group = {
        let file =
            RuleFile::parse("f.yml", "groups: [{name: other, interval: 10s}]", false).unwrap();
        RuleSet::new(vec![file], &Settings::default())
            .groups
            .remove(0)
    };
    assert_ne!(other.slot(slot), slot, "groups do not all begin at once");
}

#[test]
fn a_reload_keeps_the_state_of_rules_with_the_same_name_and_labels() {
    let rule = |expr: &str, label: &str| {
        format!(
            "  rules:\n  - {{alert: A, expr: '{expr}', labels: {{l: {label}}}}}\n  - {{record: r, expr: x}}\n"
        )
    };
    let mut bench = Bench::new(&rule("x > 0", "a"));
    bench.put(&[("__name__", "x")], 0, 1.0);
    bench.evaluate(0);
    assert!(bench.reload(&rule("x > 0.5", "a"), MINUTE).is_empty());
    let alert = bench.set.groups[0].rules[0].alerts.iter().next().unwrap();
    assert_eq!((alert.state, alert.active_at_ms), (State::Firing, 0));
    assert_eq!(
        bench.evaluate(MINUTE).transitions.len(),
        0,
        "it fires already"
    );

    let pages = bench.reload(&rule("x > 0.5", "b"), 2 * MINUTE);
    assert_eq!(
        pages.len(),
        1,
        "the alert of the rule that is gone is resolved"
    );
    assert_eq!(
        (pages[0].status, pages[0].ends_at_ms),
        (Status::Resolved, 2 * MINUTE)
    );
    bench.evaluate(2 * MINUTE);
    let series = bench.ask("ALERTS", 2 * MINUTE);
    assert_eq!(
        series,
        [r#"{__name__="ALERTS", alertname="A", alertstate="firing", l="b"} 1"#]
    );
    let gone = bench.set.replace(Vec::new(), &bench.settings, 3 * MINUTE);
    assert_eq!(gone.len(), 1);
}

#[test]
fn a_template_that_fails_is_told_and_fails_no_rule() {
    let mut bench = Bench::new(
        "  labels: {broken: '{{ nope }}'}\n  rules:\n  - {alert: A, expr: x, annotations: {a: '{{ humanize \"?\" }}', b: 'fine'}}\n",
    );
    bench.put(&[("__name__", "x")], 0, 1.0);
    let evaluation = bench.evaluate(0);
    assert_eq!(evaluation.expansion_failures, 2);
    assert!(evaluation.expansion_error.is_some());
    assert_eq!(bench.set.groups[0].rules[0].health, Health::Ok);
    let page = &evaluation.transitions[0];
    assert!(
        page.annotations["a"]
            .starts_with("<error expanding template: error executing template __alert_A")
    );
    assert_eq!(page.annotations["b"], "fine");
    assert!(page.labels["broken"].contains("function \"nope\" not defined"));
}

#[test]
fn templates_may_query_and_pages_carry_what_is_added_to_them() {
    let mut bench = Bench::new(
        "  rules:\n  - {alert: A, expr: x > 0, annotations: {a: '{{ query \"sum(x)\" | first | value }}'}}\n",
    );
    bench.put(&[("__name__", "x"), ("n", "1")], 0, 1.0);
    bench.put(&[("__name__", "x"), ("n", "2")], 0, 2.0);
    let mut source = Series::new(&mut bench.store, &bench.options);
    let added: Pairs = [
        ("cause".to_owned(), "network".to_owned()),
        ("a".to_owned(), "not this".to_owned()),
    ]
    .into();
    let evaluation = bench.set.groups[0].evaluate(&mut source, 0, &bench.settings, &added, &|| 0);
    assert_eq!(evaluation.transitions.len(), 2);
    let page = &evaluation.transitions[0];
    assert_eq!(
        (
            page.annotations["a"].as_str(),
            page.annotations["cause"].as_str()
        ),
        ("3", "network")
    );
    assert_eq!(page.generator_url, "/graph?g0.expr=x+%3E+0&g0.tab=1");
}

#[test]
fn a_value_in_a_label_makes_a_new_alert_each_time() {
    let mut bench =
        Bench::new("  rules:\n  - {alert: A, expr: x, for: 1m, labels: {v: '{{ $value }}'}}\n");
    for minute in 0..5 {
        bench.put(&[("__name__", "x")], minute * MINUTE, minute as f64);
        assert!(bench.evaluate(minute * MINUTE).transitions.is_empty());
        assert_eq!(bench.set.groups[0].rules[0].alerts.active().count(), 1);
    }
}

#[test]
fn what_is_over_the_limit_is_told() {
    let mut bench =
        Bench::new("  limit: 2\n  rules:\n  - {alert: A, expr: x}\n  - {record: r, expr: x}\n");
    for n in ["1", "2", "3", "4"] {
        bench.put(&[("__name__", "x"), ("n", n)], 0, 1.0);
    }
    let evaluation = bench.evaluate(0);
    assert_eq!((evaluation.transitions.len(), evaluation.failures), (3, 2));
    let errors: Vec<_> = bench.set.groups[0]
        .rules
        .iter()
        .map(|rule| rule.last_error.clone().unwrap())
        .collect();
    assert_eq!(
        errors,
        [
            "exceeded limit of 2 with 4 alerts",
            "exceeded limit of 2 with 4 series"
        ]
    );
}

#[test]
fn duplicates_and_results_that_are_no_vector_are_errors() {
    let mut bench = Bench::new(
        "  rules:\n  - {alert: A, expr: x, labels: {n: same}}\n  - {record: r, expr: x, labels: {n: same}}\n  - {record: s, expr: '\"text\"'}\n",
    );
    bench.put(&[("__name__", "x"), ("n", "1")], 0, 1.0);
    bench.put(&[("__name__", "x"), ("n", "2")], 0, 1.0);
    assert_eq!(bench.evaluate(0).failures, 3);
    let errors: Vec<_> = bench.set.groups[0]
        .rules
        .iter()
        .map(|rule| rule.last_error.clone().unwrap())
        .collect();
    assert_eq!(
        errors,
        [
            "vector contains metrics with the same labelset after applying alert labels",
            "vector contains metrics with the same labelset after applying rule labels",
            "rule result is not a vector or scalar",
        ]
    );
}

#[test]
fn a_restart_goes_on_where_the_last_run_ended() {
    let rules =
        "  rules:\n  - {alert: A, expr: 'increase(x[10m]) > 0', for: 2m, keep_firing_for: 1h}\n";
    let mut bench = Bench::new(rules);
    for minute in 0..5 {
        bench.put(&[("__name__", "x")], minute * MINUTE, minute as f64);
        bench.evaluate(minute * MINUTE);
    }
    let saved = bench.set.save(5 * MINUTE);
    assert_eq!(saved.len(), 1);
    let bytes = saved[0].to_bytes().unwrap();
    let saved = vec![SavedRule::from_bytes(&bytes).unwrap()];
    assert!(saved[0].key().starts_with("f.yml\0g\0A"));
    let mut again = Bench::new(rules);
    assert_eq!(again.set.restore(saved.clone(), 6 * MINUTE, 5 * MINUTE), 0);
    let evaluation = again.evaluate(7 * MINUTE);
    assert!(
        evaluation.transitions.is_empty(),
        "an empty store resolves nothing"
    );
    assert_eq!(again.set.groups[0].rules[0].alerts.state(), State::Firing);
    assert_eq!(
        Bench::new("  rules: []\n").set.restore(saved, 0, 0),
        1,
        "its rule is gone"
    );
    assert_eq!(SavedRule::from_bytes(b"{\"file\":"), None);
}

#[test]
fn one_bad_file_among_ten_is_named_and_none_is_used() {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..9 {
        let text = format!("groups: [{{name: g{index}, rules: [{{alert: A, expr: up}}]}}]");
        std::fs::write(folder.path().join(format!("{index}.yml")), text).unwrap();
    }
    std::fs::write(folder.path().join("notes.txt"), "no rules").unwrap();
    let paths = [folder.path().to_owned()];
    assert_eq!(set::load(&paths).unwrap().len(), 9);
    std::fs::write(
        folder.path().join("bad.yaml"),
        "groups: [{name: g, rules: [{alert: A, expr: 'up =='}]}]",
    )
    .unwrap();
    let errors = set::load(&paths).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0]
            .to_string()
            .contains("bad.yaml: 1:45: group \"g\", rule 1, \"A\""),
        "{}",
        errors[0]
    );
    assert!(set::load(&[folder.path().join("none")]).is_err());
}

#[test]
fn a_rule_that_needs_more_than_the_window_is_refused_by_name() {
    let settings = Settings::default();
    let short = files("  rules:\n  - {record: r, expr: 'rate(x[5m]) + y offset 2m'}\n");
    let needs = set::demand(&short, &settings, 5 * MINUTE, 60 * MINUTE).unwrap();
    assert_eq!(
        needs.iter().map(|need| need.window_ms).max(),
        Some(7 * MINUTE)
    );
    let long = files(
        "  rules:\n  - {record: r, expr: x}\n  - {alert: Long, expr: 'avg_over_time(x[30d]) > 1'}\n  - {alert: At, expr: x @ 100}\n",
    );
    let errors = set::demand(&long, &settings, 5 * MINUTE, 60 * MINUTE).unwrap_err();
    let text = errors[0].to_string();
    assert!(
        text.contains("f.yml: group \"g\", rule 2, \"Long\": expression needs 30d"),
        "{text}"
    );
    assert!(text.contains("rule 3, \"At\""), "{text}");
}

#[test]
fn the_api_is_shown_rules_with_their_state() {
    let mut bench = Bench::new(
        "  interval: 15s\n  limit: 3\n  rules:\n  - {alert: A, expr: x > 0, for: 90s, annotations: {a: '{{ $value }}'}}\n  - {record: r, expr: x}\n",
    );
    let before = serde_json::to_value(crate::alert::view::groups(&bench.set)).unwrap();
    assert_eq!(before[0]["rules"][0]["state"], "unknown");
    bench.put(&[("__name__", "x")], 0, 2.0);
    bench.evaluate(0);
    let shown = serde_json::to_value(crate::alert::view::groups(&bench.set)).unwrap();
    let (group, rule) = (&shown[0], &shown[0]["rules"][0]);
    assert_eq!(
        (&group["file"], &group["interval"], &group["limit"]),
        (&"f.yml".into(), &15.0.into(), &3.into())
    );
    assert_eq!(
        (&rule["state"], &rule["duration"], &rule["health"]),
        (&"pending".into(), &90.0.into(), &"ok".into())
    );
    assert_eq!(rule["annotations"]["a"], "{{ $value }}");
    assert_eq!(rule["alerts"][0]["annotations"]["a"], "2");
    assert_eq!(group["rules"][1]["type"], "recording");
}
