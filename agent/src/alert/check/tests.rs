use std::process::{Command, ExitCode};

use super::{Check, Lint, run};

const TWICE: &str = "groups:\n- name: a\n  rules:\n  - {record: x, expr: 1}\n  - {record: x, expr: 2}\n  - {record: x, expr: 3}\n  - {record: y, expr: 1, labels: {b: c, a: d}}\n  - {record: y, expr: 1, labels: {b: c, a: d}}\n";
const GOOD: &str = "groups:\n- name: a\n  rules:\n  - {record: x, expr: 1}\n";
const BAD: &str = "groups:\n- name: a\n  rules:\n  - {record: x, expr: 1, for: 1m}\n";

fn check(folder: &tempfile::TempDir, files: &[&str]) -> Check {
    for (name, text) in [("twice.yml", TWICE), ("good.yml", GOOD), ("bad.yml", BAD)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Check {
        files: files.iter().map(|name| folder.path().join(name)).collect(),
        ..Check::default()
    }
}

#[test]
fn output_and_exit_code_are_promtools() {
    let folder = tempfile::tempdir().unwrap();
    for (files, fatal, code) in [
        (&["good.yml"][..], false, 0),
        (&["twice.yml"], false, 0),
        (&["twice.yml", "good.yml"], true, 3),
        (&["bad.yml"], false, 1),
        (&["good.yml", "bad.yml", "twice.yml"], true, 1),
    ] {
        let check = Check {
            lint_fatal: fatal,
            ..check(&folder, files)
        };
        let (out, err, ours) = run(&check);
        assert_eq!(ours, ExitCode::from(code), "{files:?}");
        let mut command = Command::new("promtool");
        command
            .args(["check", "rules"])
            .args(fatal.then_some("--lint-fatal"));
        let Ok(theirs) = command.args(&check.files).output() else {
            eprintln!(
                "SKIP output_and_exit_code_are_promtools: no promtool (Debian package prometheus)"
            );
            return;
        };
        assert_eq!(theirs.status.code(), Some(i32::from(code)), "{files:?}");
        assert_eq!(out, String::from_utf8(theirs.stdout).unwrap(), "{files:?}");
        assert_eq!(err, String::from_utf8(theirs.stderr).unwrap(), "{files:?}");
    }
}

#[test]
fn lint_can_be_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let check = Check {
        lint: Lint::None,
        lint_fatal: true,
        ..check(&folder, &["twice.yml"])
    };
    assert_eq!(run(&check).2, ExitCode::SUCCESS);
}

#[test]
fn json_has_the_place_of_every_problem() {
    let folder = tempfile::tempdir().unwrap();
    let check = Check {
        json: true,
        ..check(&folder, &["bad.yml", "good.yml"])
    };
    let (out, err, _) = run(&check);
    assert_eq!(err, "");
    let all: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(all[0]["problems"][0]["line"], 4);
    assert_eq!(all[0]["problems"][0]["name"], "x");
    assert_eq!(
        (&all[1]["usable"], &all[1]["rules"]),
        (&true.into(), &1.into())
    );
}
