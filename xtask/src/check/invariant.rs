//! The architecture's invariants, as far as a look at the text can tell: who
//! may read what, who may name a metric, where unsafe code may be.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{output, step},
    workspace::root,
};

/// A larger file is data or a build product and does not belong into the tree.
const LARGEST_BYTES: u64 = 400_000;

/// A text that only some files may contain outside comments and unit tests.
struct Rule {
    invariant: &'static str,
    /// Files looked at, by prefix of their path.
    within: &'static [&'static str],
    /// Exceptions, by prefix of their path.
    allowed: &'static [&'static str],
    forbidden: fn(&str) -> bool,
}

static RULES: &[Rule] = &[
    Rule {
        invariant: "only event.rs reads record bytes",
        within: &["agent/src/"],
        allowed: &["agent/src/event.rs"],
        forbidden: names_record,
    },
    Rule {
        invariant: "only service.rs reads /proc and cgroupfs",
        within: &["agent/src/"],
        allowed: &["agent/src/service.rs", "agent/src/service/"],
        forbidden: |line| {
            ["/proc", "/sys/fs/cgroup"].iter().any(|path| {
                line.contains(&format!("\"{path}\"")) || line.contains(&format!("\"{path}/"))
            })
        },
    },
    Rule {
        invariant: "only metrics.rs names a metric",
        within: &["agent/src/"],
        allowed: &["agent/src/metrics.rs", "agent/src/metrics/"],
        forbidden: names_metric,
    },
    Rule {
        invariant: "unsafe code lives only in ebpf/ and agent/src/kernel/",
        within: &["agent/", "xtask/", "promql/", "stack/"],
        allowed: &["agent/src/kernel/", "agent/src/kernel.rs"],
        forbidden: |line| {
            ["{", "fn", "impl", "extern"]
                .iter()
                .any(|what| line.contains(&["unsafe", what].join(" ")))
        },
    },
];

/// Checks all tracked and new files.
pub(super) fn check() -> Result<()> {
    step!("invariants: who may read what, who may name a metric, where unsafe code may be");
    let mut broken = Vec::new();
    for path in files()? {
        let full = root().join(&path);
        // A file that is deleted but not yet committed is still listed.
        let Ok(metadata) = fs::symlink_metadata(&full) else {
            continue;
        };
        if metadata.len() > LARGEST_BYTES {
            broken.push(format!(
                "{path}: {} bytes: no file above {LARGEST_BYTES}",
                metadata.len()
            ));
        }
        if path.ends_with(".rs") && !path.ends_with("/tests.rs") {
            let text = fs::read_to_string(&full).with_context(|| format!("reading {path}"))?;
            broken.extend(violations(&path, &text));
        }
    }
    if !broken.is_empty() {
        bail!("\n{}", broken.join("\n"));
    }
    Ok(())
}

fn files() -> Result<Vec<String>> {
    let list = output(Command::new("git").current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// What a file has that it should not have, one line each.
fn violations(path: &str, text: &str) -> Vec<String> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
    let rules: Vec<&Rule> = RULES
        .iter()
        .filter(|rule| starts(rule.within) && !starts(rule.allowed))
        .collect();
    code(text)
        .flat_map(|(number, line)| {
            rules
                .iter()
                .filter(move |rule| (rule.forbidden)(line))
                .map(move |rule| format!("{path}:{number}: {}: {}", rule.invariant, line.trim()))
        })
        .collect()
}

/// The numbered lines of a file without its comment lines and without the unit
/// tests at its end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..)
        .zip(text.lines())
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether a line takes the layout of a record (`OwnerRecord`) from the shared crate.
fn names_record(line: &str) -> bool {
    line.contains("weir_ebpf::")
        && line
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| word.ends_with("Record"))
}

/// Whether a string literal begins with the prefix of all metrics. File names
/// such as "weir.toml" do too and are no metrics.
fn names_metric(line: &str) -> bool {
    const FILES: [&str; 2] = ["toml", "service\""];
    line.split("\"weir.")
        .skip(1)
        .any(|rest| !FILES.iter().any(|file| rest.starts_with(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        violations(path, text).len()
    }

    #[test]
    fn proc_is_read_by_service_alone() {
        let text = r#"let path = Path::new("/proc/self/stat");"#;
        assert_eq!(count("agent/src/model.rs", text), 1);
        assert_eq!(count("agent/src/service/process.rs", text), 0);
    }

    #[test]
    fn a_metric_is_named_in_the_table_alone() {
        let text = r#"let name = "weir.tcp.rtt";"#;
        assert_eq!(count("agent/src/app.rs", text), 1);
        assert_eq!(count("agent/src/metrics/table.rs", text), 0);
        assert_eq!(
            count("agent/src/config.rs", r#"let file = "weir.toml";"#),
            0
        );
    }

    #[test]
    fn a_record_is_decoded_by_event_alone() {
        let text = "use weir_ebpf::layout::{OwnerRecord, RecordKind};";
        assert_eq!(count("agent/src/kernel/ring.rs", text), 1);
        assert_eq!(count("agent/src/event.rs", text), 0);
        let kind = "use weir_ebpf::layout::RecordKind;";
        assert_eq!(count("agent/src/kernel/counts.rs", kind), 0);
    }

    #[test]
    fn unsafe_code_stays_in_its_place() {
        let text = "let x = unsafe { y() };";
        assert_eq!(count("agent/src/app.rs", text), 1);
        assert_eq!(count("agent/src/kernel/ring.rs", text), 0);
        assert_eq!(count("ebpf/probes/main.rs", text), 0);
    }

    #[test]
    fn comments_and_unit_tests_may_say_anything() {
        let text =
            "// reads \"/proc/stat\"\n#[cfg(test)]\nmod tests { const P: &str = \"/proc\"; }";
        assert_eq!(count("agent/src/model.rs", text), 0);
    }

    #[test]
    fn a_violation_is_named_by_file_and_line() {
        let found = violations("agent/src/app.rs", "\nlet p = \"/proc\";\n");
        assert!(
            found[0].starts_with("agent/src/app.rs:2: only service.rs"),
            "{found:?}"
        );
    }
}
