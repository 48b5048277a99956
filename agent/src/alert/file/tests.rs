use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::{Action, RuleFile};

fn problems(text: &str) -> Vec<String> {
    match RuleFile::parse("f.yml", text, false) {
        Ok(_) => Vec::new(),
        Err(why) => why.to_string().lines().map(str::to_owned).collect(),
    }
}

/// A file with one rule.
fn rule(text: &str) -> String {
    format!("groups:\n- name: g\n  rules:\n  - {text}\n")
}

/// Rule files, and whether they can be used. Those of the third list are judged otherwise by
/// Prometheus 2.42: names are UTF-8 since 3.0, and it did not know some keys.
fn usable() -> Vec<String> {
    let mut files: Vec<String> = [
        "",
        "# only a comment\n",
        "groups:\n",
        "groups: []\n",
        "---\ngroups: []\n---\nfoo: 1\n",
        "groups:\n- name: g\n",
        "groups:\n- name: g\n  interval: 1h30m\n  limit: 5\n  rules: []\n",
        "groups:\n- name: g\n  interval: 0\n  rules:\n",
        "groups:\n- name: g\n  interval: null\n  rules: null\n",
        "groups:\n- name: 1\n- name: 1.5\n- name: true\n",
        "groups:\n- name: a\n  limit: -1\n",
    ]
    .map(str::to_owned)
    .to_vec();
    files.extend(
        [
            "{record: 'a:b:c', expr: 'sum(rate(x[5m]))', labels: {a: b}}",
            "{record: a, expr: 1, for: 0, keep_firing_for: 0, annotations: {}}",
            "{alert: A, expr: up == 0, for: 5m, keep_firing_for: 1d, labels: {a: '{{ $value }}'}, annotations: {b: '{{ $labels.x }}'}}",
            "{alert: A, expr: 1, labels: {a: 1, b: true, c: 1.50, d: null, e: 2020-01-01}}",
            "{alert: 'any text at all', expr: 'vector(1)'}",
            "{alert: A, expr: 1, labels: null, annotations: null, for: null}",
            "{alert: A, expr: 'count_over_time(x[1h:5m] offset 1d) > bool 1'}",
            "{alert: A, expr: 1, annotations: {a: '{{ range query \"up\" }}{{ .Value | humanize }}{{ end }}'}}",
            "{record: a, expr: 1, labels: {b: '{{ nope'}}",
        ]
        .map(rule),
    );
    files
}

fn unusable() -> Vec<String> {
    let mut files: Vec<String> = [
        "foo: 1\n",
        "groups: 5\n",
        "[]\n",
        "a string\n",
        "groups: [\n- a: : b",
        "groups:\n\t- a",
        "groups:\n- name: ''\n",
        "groups:\n- rules: []\n",
        "groups:\n- name: a\n- name: a\n",
        "groups:\n- name: a\n  name: b\n",
        "groups:\n- name: a\n  interval: 1x\n",
        "groups:\n- name: a\n  interval: 5\n",
        "groups:\n- name: a\n  interval: ''\n",
        "groups:\n- name: a\n  interval: 30m1h\n",
        "groups:\n- name: a\n  interval: 300y\n",
        "groups:\n- name: a\n  limit: many\n",
        "groups:\n- name: a\n  namespace: b\n",
        "groups:\n- name: [a]\n",
        "groups:\n- {name: a, rules: {record: b, expr: 1}}\n",
        "groups:\n- {name: a, rules: [&x {record: b, expr: 1}, *y]}\n",
    ]
    .map(str::to_owned)
    .to_vec();
    files.extend(
        [
            "{}",
            "{expr: 1}",
            "{record: a}",
            "{record: a, expr: ''}",
            "{record: a, alert: b, expr: 1}",
            "{record: a, expr: 'up ='}",
            "{record: a, expr: 'rate(x)'}",
            "{record: a, expr: 'sum(x) by'}",
            "{record: a, expr: 'x{', labels: {a: b}}",
            "{record: 'a{b=\"c\"}', expr: 1}",
            "{record: a, expr: 1, for: 1m}",
            "{record: a, expr: 1, keep_firing_for: 1m}",
            "{record: a, expr: 1, annotations: {a: b}}",
            "{record: a, expr: 1, labels: {__name__: b}}",
            "{record: a, expr: 1, group: b}",
            "{record: a, expr: [1]}",
            "{record: a, expr: 1, labels: [a]}",
            "{record: a, expr: 1, labels: {a: [b]}}",
            "{record: a, expr: 1, expr: 2}",
            "{alert: A, expr: 1, for: 5}",
            "{alert: A, expr: 1, for: 1.5h}",
            "{alert: A, expr: 1, for: -5m}",
            "{alert: A, expr: 1, labels: {'': b}}",
            "{alert: A, expr: 1, annotations: {'': b}}",
            "{alert: A, expr: 1, annotations: {a: '{{ $label.x }}'}}",
            "{alert: A, expr: 1, annotations: {a: '{{ nope }}'}}",
            "{alert: A, expr: 1, labels: {a: '{{ if 1 }}'}}",
            "{alert: A, expr: 1, labels: {a: '{{'}}",
        ]
        .map(rule),
    );
    files
}

/// Usable since Prometheus 3, refused by 2.42.
fn usable_since_3() -> Vec<String> {
    let mut files = vec![
        "groups:\n- name: a\n  query_offset: 1m\n".to_owned(),
        "groups:\n- name: a\n  labels: {team: x}\n  rules: [{alert: A, expr: 1}]\n".to_owned(),
    ];
    files.extend(
        [
            "{record: 'a b', expr: 1}",
            "{record: 5, expr: 1}",
            "{alert: A, expr: 1, labels: {a-b: c}, annotations: {'é': d}}",
        ]
        .map(rule),
    );
    files
}

/// Refused since Prometheus 3; 2.42 took it for a metric of that name.
fn unusable_since_3() -> Vec<String> {
    vec![rule("{record: a, expr: null}")]
}

#[test]
fn good_files_are_used_and_bad_ones_refused() {
    for text in usable().iter().chain(&usable_since_3()) {
        assert_eq!(problems(text), [""; 0], "{text}");
    }
    for text in unusable().into_iter().chain(unusable_since_3()) {
        let found = problems(&text);
        assert!(!found.is_empty(), "{text}");
        assert!(
            found.iter().all(|why| why.starts_with("f.yml: ")),
            "{found:?}"
        );
    }
}

#[test]
fn promtool_says_the_same() {
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("SKIP promtool_says_the_same: there is no promtool (Debian package prometheus)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let judge = |index: usize, text: &str| {
        let path = folder.path().join(format!("{index}.yml"));
        std::fs::write(&path, text).unwrap();
        let output = Command::new("promtool")
            .args(["check", "rules"])
            .arg(&path)
            .output()
            .unwrap();
        output.status.code()
    };
    let good = usable().into_iter().map(|text| (text, Some(0)));
    let bad = unusable().into_iter().map(|text| (text, Some(1)));
    let differs: Vec<_> = good
        .chain(bad)
        .enumerate()
        .filter_map(|(index, (text, wanted))| (judge(index, &text) != wanted).then_some(text))
        .collect();
    assert!(
        differs.is_empty(),
        "promtool judges otherwise:\n{}",
        differs.join("\n---\n")
    );
}

#[test]
fn messages_say_where_and_what() {
    let text = "\
groups:
  - name: a
    rules:
      - record: x
        expr: 'test +'
      - record: x y
        alert: z
        expr: ''
      - alert: A
        expr: 1
        for: 5x
        labels: {__name__: q}
        annotations: {d: '{{ $x }}', e: '{{ nope 1 }}'}
      - expr: 1
      - record: y
        expr: 1
        for: 1m
  - name: a
    rules: []
";
    let found = problems(text);
    let wanted = [
        "f.yml: 5:15: group \"a\", rule 1, \"x\": could not parse expression: ",
        "f.yml: 6:17: 7:16: group \"a\", rule 2, \"z\": only one of 'record' and 'alert' must be set",
        "f.yml: 8:15: group \"a\", rule 2, \"z\": field 'expr' must be set in rule",
        "f.yml: 11:14: group \"a\", rule 3, \"A\": not a valid duration string: \"5x\"",
        "f.yml: 12:28: group \"a\", rule 3, \"A\": invalid label name: __name__",
        "f.yml: 13:26: group \"a\", rule 3, \"A\": annotation \"d\": template: __alert_A:1: undefined variable \"$x\"",
        "f.yml: 13:41: group \"a\", rule 3, \"A\": annotation \"e\": template: __alert_A:1: function \"nope\" not defined",
        "f.yml: 14:9: group \"a\", rule 4, \"\": one of 'record' or 'alert' must be set",
        "f.yml: 15:17: group \"a\", rule 5, \"y\": invalid field 'for' in recording rule",
        "f.yml: 18:5: groupname: \"a\" is repeated in the same file",
    ];
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.starts_with(wanted), "want {wanted}\ngot  {found}");
    }
    assert_eq!(
        problems("groups:\n- name: a\n  foo: b\n"),
        [
            "f.yml: 3:3: unknown field `foo`, expected one of name, interval, query_offset, limit, labels, rules"
        ]
    );
}

#[test]
fn labels_of_the_group_are_those_of_its_rules() {
    let text = "groups:\n- name: g\n  interval: 15s\n  query_offset: 1m\n  limit: 7\n  labels: {team: x, severity: low, broken: '{{ nope }}'}\n  rules:\n  - {alert: A, expr: up, for: 90s, labels: {severity: high}}\n  - {record: r, expr: up}\n";
    let file = RuleFile::parse("f.yml", text, false).unwrap();
    assert_eq!(file.rules(), 2);
    let group = &file.groups[0];
    assert_eq!(
        (group.interval_ms, group.query_offset_ms, group.limit),
        (Some(15_000), Some(60_000), 7)
    );
    let labels: Vec<_> = group.rules[0].labels.values().map(String::as_str).collect();
    assert_eq!(labels, ["{{ nope }}", "high", "x"]);
    let Action::Alert(alert) = &group.rules[0].action else {
        panic!("an alert")
    };
    assert_eq!((alert.for_ms, alert.labels.len()), (90_000, 3));
    assert!(matches!(group.rules[1].action, Action::Record));
}

#[test]
fn unknown_keys_are_passed_over_if_that_is_asked() {
    let text = "groups:\n- name: g\n  namespace: n\n  rules:\n  - {record: a, expr: 1, owner: b}\n";
    assert!(RuleFile::parse("f.yml", text, false).is_err());
    assert_eq!(RuleFile::parse("f.yml", text, true).unwrap().rules(), 1);
}

#[test]
fn files_that_are_made_to_blow_up_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = level - 1;
        let aliases = vec![format!("*a{before}"); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    bomb.push_str("groups: *a11\n");
    let deep = format!("groups: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!("groups: [{}]", "{name: a},".repeat(600_000));
    let long = " ".repeat(super::MAX_BYTES + 1);
    for text in [bomb, deep, wide, long] {
        assert!(!problems(&text).is_empty());
    }
}

#[test]
fn an_anchor_may_stand_for_labels() {
    let text = "groups:\n- name: g\n  rules:\n  - {alert: A, expr: 1, labels: &l {a: b}}\n  - {alert: B, expr: 1, labels: *l}\n  - {alert: C, expr: 1, labels: {<<: *l, c: d}}\n";
    let file = RuleFile::parse("f.yml", text, false).unwrap();
    let sizes: Vec<_> = file.groups[0]
        .rules
        .iter()
        .map(|rule| rule.labels.len())
        .collect();
    assert_eq!(sizes, [1, 1, 2]);
}

/// Files of promtool's own tests, which stand beside the workspace if at all.
#[test]
fn promtools_own_files_are_judged_as_promtool_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/promtool");
    let folder = std::env::var_os("WEIR_PROMTOOL_FILES").map_or(folder, PathBuf::from);
    if !folder.is_dir() {
        eprintln!(
            "SKIP promtools_own_files_are_judged_as_promtool_does: no {}",
            folder.display()
        );
        return;
    }
    for (name, ignore, wanted) in [
        ("rules.yml", false, Some(5)),
        ("rules-bad.yml", false, None),
        ("bad-rules-syntax.yml", false, None),
        ("rules_extrafields.yml", false, None),
        ("rules_extrafields.yml", true, Some(5)),
        ("rules_duplicates.yml", false, Some(5)),
        ("rules_large.yml", false, Some(10_002)),
        ("prometheus-rules.lint.yml", false, Some(2)),
        ("at-modifier.yml", false, Some(1)),
    ] {
        let file = RuleFile::load(&folder.join(name), ignore);
        assert_eq!(
            file.as_ref().ok().map(RuleFile::rules),
            wanted,
            "{name}: {:?}",
            file.err()
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,300}") {
        let _ = problems(&text);
    }

    #[test]
    fn no_mix_of_its_words_makes_the_reader_panic(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "groups:", "\n", "- ", "  ", "    ", "name: ", "rules:", "record: ", "alert: ",
                "expr: ", "for: ", "labels:", "annotations:", "a", "1", "5m", "{", "}", "[", "]",
                ":", ", ", "&x ", "*x", "<<: ", "|", ">", "'", "\"", "~", "!!str ", "{{ $x }}", "---\n", "#",
            ]),
            0..60,
        )
    ) {
        let _ = problems(&words.concat());
    }
}
