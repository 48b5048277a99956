//! The rules that Weir ships: that both judges accept them and their tests, that every alert is
//! documented and tested both ways, and that they read nothing that Weir does not measure.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use weir::alert::file::{Action, Rule, RuleFile, Text};
use weir::metrics;
use weir_promql::ast::{Expr, ExprKind};

const WEIR: &str = env!("CARGO_BIN_EXE_weir");

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dashboards")
}

fn yaml(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dashboards().join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    assert!(!files.is_empty());
    files
}

fn rules() -> Vec<Rule> {
    let files = yaml("rules").into_iter();
    let files =
        files.map(|path| RuleFile::load(&path, false).unwrap_or_else(|why| panic!("{why}")));
    let groups = files.flat_map(|file| file.groups);
    groups.flat_map(|group| group.rules).collect()
}

fn alerts() -> Vec<Rule> {
    let mut alerts = rules();
    alerts.retain(|rule| matches!(rule.action, Action::Alert(_)));
    assert!(!alerts.is_empty());
    alerts
}

/// What tells rules of one name apart.
fn key(name: &str, labels: &BTreeMap<String, String>) -> (String, Option<String>) {
    (name.to_owned(), labels.get("cause").cloned())
}

fn run(program: &str, words: [&str; 2], files: &[PathBuf]) -> Option<Output> {
    let mut command = Command::new(program);
    match command.args(words).args(files).output() {
        Ok(output) => Some(output),
        Err(_) => {
            eprintln!("SKIP {program} is missing (Debian: prometheus)");
            None
        }
    }
}

fn passes(program: &str, words: [[&str; 2]; 2]) {
    for (words, folder) in words.into_iter().zip(["rules", "rules/tests"]) {
        let Some(output) = run(program, words, &yaml(folder)) else {
            return;
        };
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{program} {words:?}: {said}");
        assert!(said.contains("SUCCESS"), "{program} {words:?}: {said}");
    }
}

#[test]
fn weir_accepts_the_rules_and_their_tests() {
    passes(WEIR, [["rules", "check"], ["rules", "test"]]);
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    passes("promtool", [["check", "rules"], ["test", "rules"]]);
}

#[test]
fn every_alert_says_what_how_bad_and_where_to_read_on() {
    for rule in alerts() {
        let Action::Alert(alert) = &rule.action else {
            continue;
        };
        let name = &rule.name;
        let severity = rule.labels.get("severity").map(String::as_str);
        assert!(
            matches!(severity, Some("critical" | "warning")),
            "{name}: {severity:?}"
        );
        let annotations: BTreeMap<_, _> = alert
            .annotations
            .iter()
            .map(|(name, text)| match text {
                Text::Template(template) => (name.as_str(), template.text()),
                Text::Broken(why) => panic!("{name}: {why}"),
            })
            .collect();
        for wanted in ["summary", "description"] {
            let text = annotations
                .get(wanted)
                .unwrap_or_else(|| panic!("{name}: no {wanted}"));
            assert!(text.len() > 20, "{name}: {wanted} {text:?}");
        }
        runbook(name, annotations["runbook_url"]);
    }
}

/// The file is there, its title is the alert's name, and it has the section that is pointed at.
fn runbook(name: &str, url: &str) {
    let (path, section) = url
        .split_once('#')
        .map_or((url, None), |(a, b)| (a, Some(b)));
    let file = dashboards().join("..").join(path);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{name}: {url}: {why}"));
    let titles: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(titles[0], format!("# {name}"), "{url}");
    for part in ["## Meaning", "## Confirm", "## Do", "## Silence"] {
        assert!(titles.contains(&part), "{url} has no {part}");
    }
    if let Some(section) = section {
        let wanted = format!("### {section}");
        assert!(titles.contains(&wanted.as_str()), "{url}: no {wanted}");
    }
}

#[test]
fn every_runbook_is_of_an_alert() {
    let alerts: BTreeSet<_> = alerts().into_iter().map(|rule| rule.name).collect();
    let files = std::fs::read_dir(dashboards().join("runbooks")).unwrap();
    let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_owned());
    let names: BTreeSet<_> = names.map(|name| name.into_string().unwrap()).collect();
    assert_eq!(names, alerts);
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    exp_alerts: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    exp_labels: BTreeMap<String, String>,
}

#[test]
fn every_alert_has_a_test_that_fires_and_one_that_does_not() {
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for path in yaml("rules/tests") {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: TestFile = serde_saphyr::from_str(&text).unwrap();
        for test in file.tests.iter().flat_map(|test| &test.alert_rule_test) {
            let labels = test.exp_alerts.iter().map(|alert| &alert.exp_labels);
            fires.extend(labels.map(|labels| key(&test.alertname, labels)));
            if test.exp_alerts.is_empty() {
                silent.insert(test.alertname.clone());
            }
        }
    }
    for rule in alerts() {
        let key = key(&rule.name, &rule.labels);
        assert!(fires.contains(&key), "{key:?} has no test that fires");
        assert!(
            silent.contains(&rule.name),
            "{key:?} has no test that does not fire"
        );
    }
}

/// The names of what an expression selects.
fn selected(expr: &Expr, names: &mut BTreeSet<String>) {
    if let ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } = &expr.kind {
        let name = selector
            .matchers
            .iter()
            .find(|matcher| matcher.name == "__name__");
        names.insert(name.expect("a rule names its metrics").value.clone());
    }
    expr.children().for_each(|child| selected(child, names));
}

#[test]
fn rules_read_what_weir_measures_or_what_they_record() {
    let mut known = BTreeSet::new();
    for metric in metrics::ALL {
        let name = metric.prometheus_name();
        if metric.kind.classic_exponents().is_some() {
            known.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
        } else {
            known.insert(name);
        }
    }
    let recorded = rules().into_iter();
    let recorded = recorded.filter(|rule| matches!(rule.action, Action::Record));
    let recorded: BTreeSet<_> = recorded.map(|rule| rule.name).collect();
    let mut read = BTreeSet::new();
    for rule in rules() {
        let mut names = BTreeSet::new();
        selected(rule.expr.tree(), &mut names);
        for name in &names {
            let is_known = known.contains(name) || recorded.contains(name);
            assert!(is_known, "{}: nothing is called {name}", rule.name);
        }
        read.extend(names);
    }
    let idle: Vec<_> = recorded.difference(&read).collect();
    assert!(idle.is_empty(), "recorded and never read: {idle:?}");
}
