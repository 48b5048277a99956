use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use super::{Test, run};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rules")
}

/// Runs one file of tests: standard output, standard error and whether all passed.
fn ours(path: &Path) -> (String, String, bool) {
    let test = Test {
        files: vec![path.to_owned()],
        ..Test::default()
    };
    let (out, err, code) = run(&test).unwrap();
    (out, err, code == ExitCode::SUCCESS)
}

fn promtool(path: &Path) -> Option<(String, String, bool)> {
    let output = Command::new("promtool")
        .args(["test", "rules"])
        .arg(path)
        .output();
    let Ok(output) = output else {
        eprintln!("SKIP side by side with promtool: not found (Debian package prometheus)");
        return None;
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Some((
        text(output.stdout),
        text(output.stderr),
        output.status.success(),
    ))
}

/// What Prometheus 3 words otherwise than 2.42.
fn as_prometheus_3(text: &str) -> String {
    text.replace("Value float64 }", "Value interface {} }")
}

#[test]
fn our_own_files_get_the_verdict_and_the_words_of_promtool() {
    let mut compared = 0;
    let mut names: Vec<_> = std::fs::read_dir(data())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.sort();
    for path in names
        .iter()
        .filter(|path| path.to_string_lossy().ends_with("-test.yml"))
    {
        let Some((out, err, passed)) = promtool(path) else {
            return;
        };
        let (our_out, our_err, our_passed) = ours(path);
        assert_eq!(our_passed, passed, "{}\n{our_err}", path.display());
        assert_eq!(our_out, out, "{}", path.display());
        if !err.contains("duplicate series for the match group") {
            assert_eq!(our_err, as_prometheus_3(&err), "{}", path.display());
        }
        compared += 1;
    }
    assert!(compared >= 7, "only {compared} files");
}

#[test]
fn a_file_that_passes_and_one_that_fails_are_told_apart() {
    for (name, wanted) in [
        ("service-test.yml", true),
        ("mistaken-test.yml", false),
        ("no-name-test.yml", false),
        ("order-test.yml", false),
        ("failing-rule-test.yml", false),
        ("number-test.yml", false),
        ("fuzzy.yml", true),
        ("missing.yml", false),
    ] {
        let (_, err, passed) = ours(&data().join(name));
        assert_eq!(passed, wanted, "{name}: {err}");
    }
}

/// promtool's own files with the exit codes that its tests of v3.14 expect; they stand beside the
/// workspace if at all.
#[test]
fn promtools_own_files_get_its_verdicts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/promtool");
    let folder = std::env::var_os("WEIR_PROMTOOL_FILES").map_or(folder, PathBuf::from);
    if !folder.is_dir() {
        eprintln!(
            "SKIP promtools_own_files_get_its_verdicts: no {}",
            folder.display()
        );
        return;
    }
    for (name, wanted) in [
        ("unittest.yml", true),
        ("long-period.yml", true),
        ("no-test-group-interval.yml", true),
        ("at-modifier-test.yml", true),
        ("bad-input-series.yml", false),
        ("bad-promql.yml", false),
        ("bad-rules-syntax-test.yml", false),
        ("failing.yml", false),
    ] {
        let (_, err, passed) = ours(&folder.join(name));
        assert_eq!(passed, wanted, "{name}: {err}");
    }
}

#[test]
fn only_tests_whose_name_matches_are_run() {
    let test = |name: &str| Test {
        files: vec![data().join("mistaken-test.yml")],
        run: vec![name.to_owned()],
        ..Test::default()
    };
    let (_, _, none) = run(&test("^nothing$")).unwrap();
    assert_eq!(none, ExitCode::SUCCESS);
    let (_, _, some) = run(&test("labels, .* differ")).unwrap();
    assert_eq!(some, ExitCode::FAILURE);
    assert!(run(&test("(")).is_err());
}

#[test]
fn results_are_written_as_junit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("junit.xml");
    let test = Test {
        files: vec![
            data().join("mistaken-test.yml"),
            data().join("order-test.yml"),
        ],
        junit: Some(path.clone()),
        ..Test::default()
    };
    run(&test).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text.contains("tests=\"2\" failures=\"2\" errors=\"0\""),
        "{text}"
    );
    assert!(
        text.contains("exp:[\n") && !text.contains("line\nbreak"),
        "{text}"
    );
    assert!(text.contains("<system-err>group name repeated"), "{text}");
}

#[test]
fn a_test_may_begin_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.yml");
    for start in ["1767225600", "2026-01-01T00:00:00Z"] {
        let text = format!(
            "tests:\n- start_timestamp: {start}\n  input_series: [{{series: x, values: 1 2}}]\n  \
             promql_expr_test:\n  - {{expr: 'timestamp(x) + year()', eval_time: 1m, \
             exp_samples: [{{value: 1767227686}}]}}\n"
        );
        std::fs::write(&path, text).unwrap();
        let (_, err, passed) = ours(&path);
        assert!(passed, "{err}");
    }
}

/// A cheap source of numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Rules and series by chance. Samples are 61 s apart and none is at 0, so that none lies at the left end of a window,
/// which Prometheus 3 leaves out and 2.42 does not. All series of all alerts are asked for at every minute, and nothing is
/// expected, so that both engines print what they have.
fn scenario(dice: &mut Dice) -> (String, String) {
    let mut rules = String::from("groups:\n- name: g\n  rules:\n");
    for index in 0..6 {
        let hold = ["0s", "1m", "90s", "2m", "5m"][dice.roll(5) as usize];
        let keep = ["0s", "1m", "3m", "150s"][dice.roll(4) as usize];
        let expr = [
            "x > 0",
            "sum by (a) (x) > 1",
            "avg_over_time(x[3m]) > 0.4",
            "absent(x{a=\"1\"})",
            "r",
            "changes(x[5m]) > 1 unless x == 0",
        ][dice.roll(6) as usize];
        let _ = writeln!(
            rules,
            "  - {{alert: A{index}, expr: '{expr}', for: {hold}, keep_firing_for: {keep}, \
             labels: {{l: 'v{{{{ $labels.a }}}}'}}}}"
        );
        if index == 2 {
            rules.push_str("  - {record: r, expr: 'x * 2 > 1', labels: {z: q}}\n");
        }
    }
    let mut test =
        String::from("rule_files: [rules.yml]\ntests:\n- interval: 61s\n  input_series:\n");
    for series in 0..4 {
        let mut value = "1";
        let values: Vec<_> = (0..60)
            .map(|_| {
                if dice.roll(4) == 0 {
                    value = ["0", "1", "1", "_", "stale"][dice.roll(5) as usize];
                }
                value
            })
            .collect();
        let (a, b) = (series % 2, series);
        let values = values.join(" ");
        let _ = writeln!(
            test,
            "  - {{series: 'x{{a=\"{a}\", b=\"{b}\"}}', values: '_ {values}'}}"
        );
    }
    test.push_str("  promql_expr_test:\n");
    for minute in 0..60 {
        for expr in ["ALERTS", "ALERTS_FOR_STATE", "r"] {
            let _ = writeln!(
                test,
                "  - {{expr: '{{__name__=\"{expr}\"}}', eval_time: {minute}m, exp_samples: [{{value: -1}}]}}"
            );
        }
    }
    (rules, test)
}

#[test]
fn alerts_go_through_the_same_states_as_in_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(0x5eed_1234_9876_0001);
    for round in 0..12 {
        let (rules, test) = scenario(&mut dice);
        let path = folder.path().join("test.yml");
        std::fs::write(folder.path().join("rules.yml"), &rules).unwrap();
        std::fs::write(&path, &test).unwrap();
        let Some((_, err, _)) = promtool(&path) else {
            return;
        };
        let (_, our_err, _) = ours(&path);
        assert!(err.matches("ALERTS").count() > 200, "alerts happen: {err}");
        let both = our_err.lines().zip(err.lines());
        for (at, (got, wanted)) in both.enumerate() {
            assert_eq!(got, wanted, "round {round}, line {at}\n{rules}{test}");
        }
        assert_eq!(our_err.lines().count(), err.lines().count());
    }
}
