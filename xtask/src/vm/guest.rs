//! What the guest does: which modules it loads, its init script, and the marks
//! by which the host finds results in the guest's console output.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};

/// Begins every line of the init script's own, followed by one of the words below.
pub(super) const MARK: &str = "WEIR-VM";
/// The guest's user space runs.
pub(super) const UP: &str = "up";
/// What follows is printed by this program; `end NAME CODE` ends it.
pub(super) const BEGIN: &str = "begin";
pub(super) const END: &str = "end";
/// Everything was run.
pub(super) const DONE: &str = "done";
/// The program whose output is the state of the probes as JSON.
pub(super) const DOCTOR: &str = "doctor";

/// The guest gives up by itself: the host may be gone.
pub(super) const LIMIT_S: u64 = 480;

/// Modules that tests need; built-in ones and those a kernel lacks are left out.
const MODULES: [&str; 25] = [
    "veth",
    "dummy",
    "ifb",
    "sch_tbf",
    "sch_netem",
    "sch_fq",
    "sch_htb",
    "sch_prio",
    "sch_ingress",
    "cls_matchall",
    "cls_u32",
    "act_gact",
    "act_mirred",
    "nf_tables",
    "nft_numgen",
    "nft_limit",
    "nft_counter",
    "nft_ct",
    "nft_quota",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_chain_nat",
    "tcp_diag",
    "inet_diag",
    "tcp_bbr",
];

/// The module files to load, each after those it depends on, from `modules.dep`:
/// one line per module, `path: dependencies`, the nearest dependency first.
pub(super) fn load_order(dependencies: &str) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for wanted in MODULES {
        let line = dependencies.lines().find_map(|line| {
            let (path, needs) = line.split_once(':')?;
            (module_file(path) == format!("{wanted}.ko")).then_some((path, needs))
        });
        let Some((path, needs)) = line else { continue };
        for module in needs.split_whitespace().rev().chain([path]) {
            if !order.iter().any(|known| known == module) {
                order.push(module.to_owned());
            }
        }
    }
    order
}

/// The name of a module file without its directory and its compression.
pub(super) fn module_file(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.trim_end_matches(".xz").trim_end_matches(".zst");
    name.to_owned()
}

/// Writes `/init` and what it reads.
pub(super) fn write(root: &Path, modules: &[String], tests: &[String]) -> Result<()> {
    let init = root.join("init");
    fs::write(&init, script(modules, tests)).context("writing init")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("making init executable")
}

fn script(modules: &[String], tests: &[String]) -> String {
    let mut script = String::from(include_str!("init.sh"));
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = writeln!(script, "{text}");
    };
    line(format_args!("watchdog {LIMIT_S}"));
    line(format_args!("echo {MARK} {UP}"));
    for module in modules {
        line(format_args!(
            "insmod /modules/{module} || echo 'cannot load {module}'"
        ));
    }
    let mut step = |name: &str, command: &str| {
        line(format_args!("echo {MARK} {BEGIN} {name}"));
        line(format_args!("{command} </dev/null 2>&1"));
        line(format_args!(
            "code=$?; echo; echo {MARK} {END} {name} $code"
        ));
    };
    step(DOCTOR, "/weir/weir doctor --json");
    for test in tests {
        step(test, &format!("/weir/{test} --test-threads=1 --nocapture"));
    }
    line(format_args!("echo {MARK} {DONE}"));
    line(format_args!("poweroff -f"));
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_after_what_it_needs() {
        let dependencies = "\
            kernel/net/netfilter/nfnetlink.ko.xz:\n\
            kernel/net/netfilter/nf_tables.ko.xz: kernel/net/netfilter/nfnetlink.ko.xz kernel/lib/libcrc32c.ko.xz\n\
            kernel/net/netfilter/nft_limit.ko.xz: kernel/net/netfilter/nf_tables.ko.xz kernel/net/netfilter/nfnetlink.ko.xz kernel/lib/libcrc32c.ko.xz\n";
        let order: Vec<String> = load_order(dependencies)
            .iter()
            .map(|path| module_file(path))
            .collect();
        assert_eq!(
            order,
            [
                "libcrc32c.ko",
                "nfnetlink.ko",
                "nf_tables.ko",
                "nft_limit.ko"
            ]
        );
    }

    #[test]
    fn the_script_runs_doctor_before_the_tests_and_then_stops() {
        let script = script(&["veth.ko".to_owned()], &["kernel".to_owned()]);
        let at = |text: &str| script.find(text).expect(text);
        assert!(at("insmod /modules/veth.ko") < at("/weir/weir doctor --json"));
        assert!(at("/weir/weir doctor --json") < at("/weir/kernel --test-threads=1"));
        assert!(script.ends_with("poweroff -f\n"));
    }
}
