//! What is wrong at the start is said in one line with the way out, and nothing stays behind.

use std::net::TcpListener;
use std::process::Command;

use crate::running::{Agent, fail};

/// The only line on stderr; the exit code is not success.
fn line(config: &str, wrapper: &[&str]) -> (i32, String) {
    let output = fail(config, wrapper);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("weir: "), "{text}");
    (output.status.code().unwrap(), text)
}

#[track_caller]
fn check(config: &str, wrapper: &[&str], code: i32, words: &[&str]) {
    let (found, text) = line(config, wrapper);
    assert_eq!(found, code, "{text}");
    for word in words {
        assert!(text.contains(word), "{word} is not in: {text}");
    }
}

const NOBODY: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

#[test]
fn without_root_the_capabilities_are_named() {
    let target = env!("CARGO_BIN_EXE_weir");
    // Nobody may not look into root's directories.
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let copy = place.path().join("weir");
    std::fs::copy(target, &copy).unwrap();
    for path in [place.path(), copy.as_path()] {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = Command::new(NOBODY[0])
        .args(&NOBODY[1..])
        .arg(&copy)
        .arg("doctor")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("without CAP_BPF and CAP_PERFMON: run as root"),
        "{text}"
    );
}

#[test]
fn a_missing_capability_is_named() {
    for (dropped, said) in [
        ("-bpf,-sys_admin", "without CAP_BPF:"),
        ("-perfmon,-sys_admin", "without CAP_PERFMON:"),
    ] {
        let bound = format!("--bounding-set={dropped}");
        check(
            "",
            &["setpriv", &bound, "--inh-caps=-all"],
            1,
            &[said, "run as root"],
        );
    }
}

#[test]
fn the_two_capabilities_are_enough_to_attach() {
    let bound = "--bounding-set=-all,+bpf,+perfmon";
    let agent = Agent::start_by("", &["setpriv", bound, "--inh-caps=-all"]);
    assert!(agent.scrape().sum("weir_probe_attached", &[]) >= 7.0);
}

#[test]
fn a_kernel_without_types_is_told_what_it_needs() {
    let hide = "mount --bind /dev/null /sys/kernel/btf/vmlinux && exec \"$@\"";
    let words = ["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"];
    check("", &["unshare", "-m", "sh", "-c", hide, "sh"], 1, &words);
    let garbage = "head -c 100000 /dev/urandom >/tmp/btf && \
        mount --bind /tmp/btf /sys/kernel/btf/vmlinux && exec \"$@\"";
    let private = format!("mount -t tmpfs none /tmp/ 2>/dev/null; {garbage}");
    // The configuration is in the directory that is hidden, so it comes from elsewhere.
    let script = private.replace("/tmp", "/mnt");
    check("", &["unshare", "-m", "sh", "-c", &script, "sh"], 1, &words);
}

#[test]
fn tracefs_is_not_needed() {
    let hide = "umount -R /sys/kernel/tracing /sys/kernel/debug 2>/dev/null; \
        mount -t tmpfs none /sys/kernel/tracing && exec \"$@\"";
    let agent = Agent::start_by("", &["unshare", "-m", "sh", "-c", hide, "sh"]);
    let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", agent.pid())).unwrap();
    assert!(!mounts.contains(" tracefs "), "{mounts}");
    let series = agent.scrape();
    for probe in ["tcp_state", "tcp_ack", "tcp_retransmit", "sched_delay"] {
        let attached = series.sum("weir_probe_attached", &[("probe", probe)]);
        assert!(attached > 0.0, "{probe}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = format!("[prometheus]\nlisten = '{address}'");
    let words = [&*address.to_string(), "in use", "set [prometheus] listen"];
    check(&config, &[], 1, &words);
}

#[test]
fn a_wrong_configuration_is_told_with_its_place() {
    for (config, words) in [
        (
            "[kernel]\nring_byte = 1",
            &["weir.toml:2:1", "did you mean `ring_bytes`?"][..],
        ),
        (
            "[limits]\nmax_services = 'x'",
            &["weir.toml:2:16", "expected u32"],
        ),
        ("[log", &["weir.toml:1:"]),
        (
            "[otlp]\nendpoint = '%%::garbage'",
            &["weir.toml:2:1", "otlp.endpoint", "http://host:port"],
        ),
        (
            "[otlp]\nendpoint = 'ftp://x:1'",
            &["weir.toml:2:1", "otlp.endpoint", "http://host:port"],
        ),
        (
            "[otlp]\nendpoint = 'https://x'\nca_file = '/nowhere/ca'",
            &["weir.toml:", "ca_file", "/nowhere/ca"],
        ),
        (
            "[prometheus]\nlisten = '127.0.0.1:0'\ncert_file = '/nowhere/cert'\nkey_file = '/nowhere/key'",
            &["weir.toml:3:1", "cert_file", "/nowhere/"],
        ),
        (
            "[prometheus]\nlisten = '127.0.0.1:0'\ncert_file = '/etc/hostname'\nkey_file = '/etc/hostname'",
            &["weir.toml:3:1", "/etc/hostname"],
        ),
    ] {
        check(config, &[], 78, words);
    }
}

#[test]
fn a_probe_that_does_not_exist_is_told_with_those_that_do() {
    check(
        "[kernel]\nrequired = ['tcp_sent']",
        &[],
        1,
        &["tcp_sent", "tcp_send"],
    );
}

#[test]
fn config_check_says_whether_a_file_can_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.toml");
    let check = |text: Option<&str>| {
        if let Some(text) = text {
            std::fs::write(&file, text).unwrap();
        }
        let output = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["config", "check", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), said)
    };
    let (code, said) = check(None);
    assert!(
        code == 78 && said.contains("x.toml") && said.contains("--config"),
        "{said}"
    );
    assert_eq!(check(Some("[log]\nlevel = 'debug'")).0, 0);
    let (code, said) = check(Some("[log]\nlevel = 'loud'"));
    assert!(code == 78 && said.contains("x.toml:2:9"), "{said}");
    let (code, said) = check(Some("[otlp]\nendpoint = 'x y'"));
    assert!(code == 78 && said.contains("x.toml:2:1"), "{said}");
}
