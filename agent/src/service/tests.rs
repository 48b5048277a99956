use super::*;
use proptest::prelude::*;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const UID: &str = "2e5c4a1b-77d0-4b7e-9f3a-0c1d2e3f4a5b";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A child that is stopped when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn_sleep() -> Running {
    let child = Running(Command::new("sleep").arg("60").spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(5);
    // Until exec the child is a copy of the test.
    while fs::read_to_string(format!("/proc/{}/comm", child.0.id())).unwrap() != "sleep\n" {
        assert!(Instant::now() < deadline, "sleep did not start");
        std::thread::yield_now();
    }
    child
}

/// A tree like /proc with one process.
fn fake_proc(tgid: u32, ticks: u64, cgroup: &[u8], exe: Option<&str>) -> tempfile::TempDir {
    let proc = tempfile::tempdir().unwrap();
    let dir = proc.path().join(tgid.to_string());
    fs::create_dir(&dir).unwrap();
    fs::write(
        dir.join("stat"),
        format!("{tgid} (x) S{} {ticks} 0\n", " 0".repeat(18)),
    )
    .unwrap();
    fs::write(dir.join("cgroup"), cgroup).unwrap();
    if let Some(exe) = exe {
        std::os::unix::fs::symlink(exe, dir.join("exe")).unwrap();
    }
    proc
}

fn owner(tgid: u32) -> Owner {
    Owner {
        tgid,
        start_boottime_ns: 1_000_000_000,
        cgroup_id: 0,
        comm: "comm".to_owned(),
    }
}

fn resolver(proc: &Path, cgroup: Option<&Path>) -> Resolver {
    Resolver::with_roots(
        proc.to_owned(),
        cgroup.map(Path::to_owned),
        Box::new(NoPodNames),
    )
}

#[test]
fn cgroup_names_before_executable_and_executable_before_command() {
    let exe = Some("/usr/sbin/nginx (deleted)");
    let check = |cgroup: &str, exe: Option<&str>, name: &str, source: Source| {
        let proc = fake_proc(7, 100, cgroup.as_bytes(), exe);
        let service = resolver(proc.path(), None).resolve(&owner(7));
        assert_eq!((service.name.as_str(), service.source), (name, source));
        service
    };
    let unit = "0::/system.slice/web.service\n";
    check(unit, exe, "web.service", Source::Systemd);
    check("0::/\n", exe, "nginx", Source::Executable);
    check("0::/\n", None, "comm", Source::Command);
    let hybrid = "4:memory:/x\n1:name=systemd:/system.slice/web.service\n0::/\n";
    check(hybrid, exe, "web.service", Source::Systemd);
    let docker = check(
        &format!("0::/docker/{ID}\n"),
        exe,
        "docker-0123456789ab",
        Source::Container,
    );
    assert_eq!(docker.container.as_deref(), Some("0123456789ab"));
    let pod = check(
        &format!("0::/kubepods/pod{UID}/{ID}\n"),
        exe,
        &format!("{UID}/0123456789ab"),
        Source::Kubernetes,
    );
    assert_eq!(pod.pod.as_deref(), Some(UID));
    assert_eq!(pod.container.as_deref(), Some("0123456789ab"));
    assert_eq!(pod.namespace, None);
}

#[test]
fn a_known_pod_is_named_by_its_names() {
    struct Shop;
    impl PodNames for Shop {
        fn pod(&self, uid: &str, container_id: &str) -> Option<PodInfo> {
            assert_eq!((uid, container_id), (UID, ID));
            Some(PodInfo {
                service: "checkout".to_owned(),
                namespace: "shop".to_owned(),
                pod: "checkout-5d4f\n".to_owned(),
                container: "app".to_owned(),
            })
        }
    }
    let cgroup = format!("0::/kubepods/pod{UID}/{ID}\n");
    let proc = fake_proc(7, 100, cgroup.as_bytes(), None);
    let mut resolver = Resolver::with_roots(proc.path().to_owned(), None, Box::new(Shop));
    assert_eq!(
        resolver.resolve(&owner(7)),
        Service {
            name: "checkout".to_owned(),
            namespace: Some("shop".to_owned()),
            pod: Some("checkout-5d4f".to_owned()),
            container: Some("app".to_owned()),
            source: Source::Kubernetes,
        }
    );
}

#[test]
fn a_pid_used_again_does_not_name_the_one_before() {
    let unit = b"0::/system.slice/other.service\n";
    let proc = fake_proc(7, 102, unit, Some("/bin/other"));
    let cgroup = tempfile::tempdir().unwrap();
    let first = cgroup.path().join("system.slice/first.service");
    fs::create_dir_all(&first).unwrap();
    let mut resolver = resolver(proc.path(), Some(cgroup.path()));
    let mut gone = owner(7);
    assert_eq!(resolver.resolve(&gone).name, "comm");
    gone.cgroup_id = fs::metadata(&first).unwrap().ino();
    assert_eq!(resolver.resolve(&gone).name, "first.service");
    gone.start_boottime_ns += 20_000_000;
    assert_eq!(resolver.resolve(&gone).name, "other.service");
}

#[test]
fn a_path_cut_off_by_a_cgroup_namespace_is_completed_from_the_tree() {
    let proc = fake_proc(7, 100, format!("0::/../{ID}\n").as_bytes(), None);
    let cgroup = tempfile::tempdir().unwrap();
    let dir = cgroup.path().join(format!("kubepods/pod{UID}/{ID}"));
    fs::create_dir_all(&dir).unwrap();
    let mut owner = owner(7);
    owner.cgroup_id = fs::metadata(&dir).unwrap().ino();
    let service = resolver(proc.path(), Some(cgroup.path())).resolve(&owner);
    assert_eq!(service.name, format!("{UID}/0123456789ab"));
    let service = resolver(proc.path(), None).resolve(&owner);
    assert_eq!(service.name, "container-0123456789ab");
}

#[test]
fn a_running_process_is_named_by_executable_and_a_gone_one_by_command() {
    let mut resolver = Resolver::new(Box::new(NoPodNames));
    let mut sleep = spawn_sleep();
    let tgid = sleep.0.id();
    let mut owner = resolver.owner(tgid).unwrap();
    assert_eq!(owner.comm, "sleep");
    let own_unit = resolver.resolve(&Resolver::owner(&resolver, std::process::id()).unwrap());
    let service = resolver.resolve(&owner);
    if own_unit.source == Source::Executable {
        assert_eq!(service.source, Source::Executable);
        let exe = fs::read_link(format!("/proc/{tgid}/exe")).unwrap();
        assert_eq!(service.name, exe.file_name().unwrap().to_str().unwrap());
    } else {
        assert_eq!(service, own_unit);
    }
    owner.start_boottime_ns += 30_000_000;
    owner.cgroup_id = 0;
    assert_eq!(resolver.resolve(&owner).source, Source::Command);

    owner.start_boottime_ns -= 30_000_000;
    sleep.0.kill().unwrap();
    sleep.0.wait().unwrap();
    let service = resolver.resolve(&owner);
    assert_eq!(
        (service.name.as_str(), service.source),
        ("sleep", Source::Command)
    );
    assert!(resolver.owner(tgid).is_err());
}

/// A cgroup of the real v2 tree, removed when the test ends.
struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_gone_process_is_named_from_its_real_cgroup() {
    let mut resolver = Resolver::new(Box::new(NoPodNames));
    let Some(root) = resolver.cgroup_root() else {
        eprintln!("skipped: no cgroup v2 tree is mounted");
        return;
    };
    let name = format!("weir-test-{}.service", std::process::id());
    let dir = root.join(&name);
    if let Err(error) = fs::create_dir(&dir) {
        eprintln!("skipped: no cgroup may be made here: {error}");
        return;
    }
    let cgroup = Cgroup(dir);
    let mut sleep = spawn_sleep();
    fs::write(cgroup.0.join("cgroup.procs"), sleep.0.id().to_string()).unwrap();
    let owner = resolver.owner(sleep.0.id()).unwrap();
    assert_eq!(owner.cgroup_id, fs::metadata(&cgroup.0).unwrap().ino());
    let mut late = Resolver::new(Box::new(NoPodNames));
    assert_eq!(resolver.resolve(&owner).name, name);
    sleep.0.kill().unwrap();
    sleep.0.wait().unwrap();
    let service = late.resolve(&owner);
    assert_eq!(
        (service.name.as_str(), service.source),
        (name.as_str(), Source::Systemd)
    );
    drop(cgroup);
    assert_eq!(late.resolve(&owner).name, name);
    let mut later = Resolver::new(Box::new(NoPodNames));
    assert_eq!(later.resolve(&owner).name, "sleep");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_content_of_the_files_gives_a_service(cgroup: Vec<u8>, stat: Vec<u8>, start: u64) {
        let proc = fake_proc(7, 100, &cgroup, None);
        let mut resolver = resolver(proc.path(), None);
        prop_assert!(!resolver.resolve(&owner(7)).name.is_empty());
        fs::write(proc.path().join("7/stat"), &stat).unwrap();
        let mut owner = owner(7);
        owner.start_boottime_ns = start;
        prop_assert_eq!(resolver.resolve(&owner).name, "comm");
        let _ = resolver.owner(7);
    }
}
