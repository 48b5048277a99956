//! Paths as the runtimes write them, one case for each runtime and driver.

use super::*;
use proptest::prelude::*;

const UID: &str = "2e5c4a1b-77d0-4b7e-9f3a-0c1d2e3f4a5b";
const STATIC: &str = "9f3a0c1d2e3f4a5b2e5c4a1b77d04b7e";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const INNER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// Fills in `{uid}` (as systemd's driver writes it: `{u_d}`), `{static}`, `{id}` and `{inner}`.
fn fill(path: &str) -> String {
    path.replace("{uid}", UID)
        .replace("{u_d}", &UID.replace('-', "_"))
        .replace("{static}", STATIC)
        .replace("{id}", ID)
        .replace("{inner}", INNER)
}

fn check_pod(path: &str, uid: &str, container: &str) {
    assert_eq!(
        place(&fill(path)),
        Placement::At(Place::Pod {
            uid: uid.to_owned(),
            container: container.to_owned()
        }),
        "{path}"
    );
}

fn check_container(path: &str, runtime: &'static str) {
    let id = ID.to_owned();
    assert_eq!(
        place(&fill(path)),
        Placement::At(Place::Container { runtime, id }),
        "{path}"
    );
}

fn check_unit(path: &str, unit: &str) {
    assert_eq!(
        place(path),
        Placement::At(Place::Unit(unit.to_owned())),
        "{path}"
    );
}

#[test]
fn containerd_pods_are_found() {
    for path in [
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u_d}.slice/cri-containerd-{id}.scope",
        "/kubepods.slice/kubepods-pod{u_d}.slice/cri-containerd-{id}.scope",
        "/kubepods/besteffort/pod{uid}/{id}",
        "/kubepods/pod{uid}/{id}",
        // systemd's notation given to the cgroupfs driver
        "/system.slice/containerd.service/kubepods-burstable-pod{u_d}.slice:cri-containerd:{id}",
        // kind: the node is a container itself
        "/system.slice/docker-{inner}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{u_d}.slice/cri-containerd-{id}.scope",
        "/docker/{inner}/kubelet/kubepods/besteffort/pod{uid}/{id}",
    ] {
        check_pod(path, UID, ID);
    }
}

#[test]
fn crio_pods_are_found_with_cruns_child_cgroups() {
    for path in [
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{u_d}.slice/crio-{id}.scope",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{u_d}.slice/crio-{id}.scope/container",
        "/kubepods/burstable/pod{uid}/crio-{id}",
        "/kubepods/burstable/pod{uid}/crio-{id}/container",
    ] {
        check_pod(path, UID, ID);
    }
}

#[test]
fn docker_pods_are_found() {
    for path in [
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u_d}.slice/docker-{id}.scope",
        "/kubepods/burstable/pod{uid}/{id}",
    ] {
        check_pod(path, UID, ID);
    }
}

#[test]
fn static_pods_have_a_hash_for_a_uid() {
    check_pod(
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{static}.slice/cri-containerd-{id}.scope",
        STATIC,
        ID,
    );
    check_pod("/kubepods/burstable/pod{static}/{id}", STATIC, ID);
}

#[test]
fn a_pod_is_the_pod_whatever_its_container_runs() {
    for path in [
        "/kubepods/burstable/pod{uid}/{id}/docker/{inner}",
        "/kubepods/burstable/pod{uid}/{id}/system.slice/nginx.service",
        "/kubepods.slice/kubepods-pod{u_d}.slice/cri-containerd-{id}.scope/init.scope",
    ] {
        check_pod(path, UID, ID);
    }
    check_pod("/kubepods.slice/kubepods-pod{u_d}.slice", UID, "");
}

#[test]
fn pods_are_found_from_a_private_cgroup_namespace() {
    check_pod(
        "/../../kubepods-burstable-pod{u_d}.slice/cri-containerd-{id}.scope",
        UID,
        ID,
    );
    check_pod("/../../../burstable/pod{uid}/{id}", UID, ID);
    assert!(is_cut_off("/../../x") && is_cut_off("/"));
    assert!(!is_cut_off("/system.slice"));
}

#[test]
fn a_runtimes_monitor_is_no_part_of_the_pod() {
    for path in [
        "/kubepods.slice/kubepods-pod{u_d}.slice/crio-conmon-{id}.scope",
        "/kubepods/burstable/pod{uid}/crio-conmon-{id}",
        "/machine.slice/libpod-conmon-{id}.scope",
    ] {
        assert_eq!(place(&fill(path)), Placement::Nowhere, "{path}");
    }
}

#[test]
fn containers_without_a_pod_are_named_by_runtime() {
    check_container("/system.slice/docker-{id}.scope", "docker");
    check_container("/docker/{id}", "docker");
    check_container("/docker/{id}/worker", "docker");
    check_container("/machine.slice/libpod-{id}.scope/container", "podman");
    check_container(
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope",
        "podman",
    );
    check_container("/system.slice/nerdctl-{id}.scope", "nerdctl");
    check_container("/../cri-containerd-{id}.scope", "containerd");
    check_container("/default/{id}", "container");
}

#[test]
fn the_innermost_unit_counts() {
    check_unit("/system.slice/nginx.service", "nginx.service");
    check_unit("/system.slice/nginx.service/worker/3", "nginx.service");
    check_unit(
        "/system.slice/system-postgresql.slice/postgresql@15-main.service",
        "postgresql@15-main.service",
    );
    check_unit(
        "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service",
        "foo.service",
    );
    check_unit(
        "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service",
        "nginx.service",
    );
    check_unit("/system.slice/_cpu.service", "cpu.service");
    check_unit("/system.slice/runner.service", "runner.service");
    check_unit("/system.slice/run-report.service", "run-report.service");
    check_unit("/system.slice/game-7.scope", "game-7.scope");
}

#[test]
fn logins_slices_and_nameless_calls_are_no_units() {
    for path in [
        "/init.scope",
        "/system.slice",
        "/user.slice/user-1000.slice",
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice/session-c12.scope",
        "/user.slice/user-1000.slice/user@1000.service/init.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4711.scope",
        "/system.slice/run-u42.service",
        "/system.slice/run-u42.scope",
        "/system.slice/run-p12-i34.service",
        "/system.slice/run-r0123456789abcdef0123456789abcdef.scope",
        "/process_api/175e9deb0cd210a2a920e1810791bd0b",
    ] {
        assert_eq!(place(path), Placement::Nowhere, "{path}");
    }
    assert_eq!(place("/"), Placement::Root);
    assert_eq!(place(""), Placement::Root);
    assert_eq!(place("/../.."), Placement::Root);
}

#[test]
fn what_only_looks_like_a_pod_or_a_container_is_none() {
    for path in [
        "/kubepods/burstable/pod1234/x",
        "/podman/2e5c4a1b",
        "/kubepods.slice/kubepods-burstable.slice",
        "/system.slice/docker-0123456789ab.scopes",
        "/x/0123456789abcdef0123456789abcdef",
    ] {
        assert_eq!(place(path), Placement::Nowhere, "{path}");
    }
    check_unit("/system.slice/docker.service", "docker.service");
    check_unit("/system.slice/containerd.service", "containerd.service");
}

#[test]
fn the_file_of_a_hybrid_host_gives_all_hierarchies() {
    let paths = parse_file(
        b"8:pids:/user.slice\n4:cpu,cpuacct:/docker/a:b\n1:name=systemd:/system.slice/a.service\n0::/x (deleted)\nnonsense\n",
    );
    assert_eq!(paths.v2.as_deref(), Some("/x"));
    assert_eq!(paths.systemd.as_deref(), Some("/system.slice/a.service"));
    assert_eq!(paths.v1, ["/user.slice", "/docker/a:b"]);
}

fn check_file(file: &str, expected: Option<Place>) {
    let paths = parse_file(fill(file).as_bytes());
    let v2 = paths.v2.clone().unwrap();
    assert_eq!(paths.place(&v2), expected, "{file}");
}

#[test]
fn containers_of_hybrid_hosts_are_not_their_runtime() {
    let pod = Place::Pod {
        uid: UID.to_owned(),
        container: ID.to_owned(),
    };
    check_file(
        "4:memory:/kubepods/burstable/pod{uid}/{id}\n1:name=systemd:/kubepods/burstable/pod{uid}/{id}\n0::/system.slice/containerd.service\n",
        Some(pod.clone()),
    );
    check_file(
        "4:memory:/kubepods/burstable/pod{uid}/{id}\n2:cpu:/docker/{inner}\n0::/\n",
        Some(pod),
    );
    check_file(
        "4:memory:/docker/{id}\n0::/system.slice/docker.service\n",
        Some(Place::Container {
            runtime: "docker",
            id: ID.to_owned(),
        }),
    );
    // Of a process that is gone only the path in v2 is known.
    assert_eq!(place_by_path("/system.slice/containerd.service"), None);
    let nginx = Place::Unit("nginx.service".to_owned());
    assert_eq!(place_by_path("/system.slice/nginx.service"), Some(nginx));
}

#[test]
fn units_of_hybrid_hosts_are_told_by_systemd_alone() {
    let unit = |name: &str| Some(Place::Unit(name.to_owned()));
    check_file(
        "4:memory:/system.slice/b.service\n1:name=systemd:/system.slice/a.service\n0::/\n",
        unit("a.service"),
    );
    check_file(
        "4:memory:/system.slice/b.service\n1:name=systemd:/system.slice/c.service\n0::/system.slice/a.service\n",
        unit("a.service"),
    );
    check_file(
        "4:memory:/system.slice/ssh.service\n0::/user.slice/user-0.slice/session-1.scope\n",
        None,
    );
    check_file("4:memory:/system.slice/ssh.service\n0::/\n", None);
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes: Vec<u8>) {
        for path in parse_file(&bytes).v1 {
            let _ = place(&path);
        }
        let _ = place(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_parts_in_any_order_are_read(
        parts in proptest::collection::vec(
            prop_oneof![
                Just(format!("pod{UID}")), Just(format!("kubepods-pod{}.slice", UID.replace('-', "_"))),
                Just(ID.to_owned()), Just(format!("crio-{ID}.scope")), Just(":".to_owned()),
                Just("..".to_owned()), Just("a.service".to_owned()), Just("run-r.scope".to_owned()),
                "\\PC{0,8}",
            ],
            0..8,
        )
    ) {
        let path = format!("/{}", parts.join("/"));
        prop_assert_eq!(place(&path), place(&format!("/../..{path}")));
        let file = parse_file(format!("0::{path}\n").as_bytes());
        prop_assert_eq!(file.v2, Some(path));
    }
}
