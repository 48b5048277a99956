//! The guest's initramfs: busybox, the static agent and its tests, network
//! tools with their libraries, the kernel modules that the tests use.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{guest, kernel::Kernel};
use crate::{
    command::{find, output, step, succeeds},
    dist::musl_compiler,
    workspace::{MUSL, cargo, target},
};

/// Programs of the host that tests start, beside busybox's.
const TOOLS: [&str; 6] = ["sh", "ip", "tc", "ss", "nft", "nstat"];

/// What is the same for every kernel.
pub(super) struct Payload {
    /// Name in the guest and the static program.
    programs: Vec<(String, PathBuf)>,
    /// Names of those that are test programs.
    pub(super) tests: Vec<String>,
    /// Host tools and their libraries, at the same place in the guest.
    tools: BTreeSet<PathBuf>,
    busybox: PathBuf,
}

impl Payload {
    /// Builds the agent and its kernel tests as static programs.
    pub(super) fn build() -> Result<Self> {
        step!("build ({MUSL}): the agent and its kernel tests, for guests without libraries");
        let mut programs = vec![("weir".to_owned(), agent()?)];
        let tests = test_programs()?;
        if tests.is_empty() {
            bail!("agent/tests has no kernel tests");
        }
        let names = tests.iter().map(|(name, _)| name.clone()).collect();
        programs.extend(tests);
        let mut tools = BTreeSet::new();
        for tool in TOOLS {
            let path = find(tool).with_context(|| format!("{tool} is missing"))?;
            tools.extend(libraries(&path)?);
            tools.insert(path);
        }
        let busybox = find("busybox").context("busybox is missing")?;
        Ok(Self {
            programs,
            tests: names,
            tools,
            busybox,
        })
    }
}

/// Packs the image for a kernel and says where it is.
pub(super) fn pack(kernel: &Kernel, payload: &Payload) -> Result<PathBuf> {
    let directory = target()?.join("vm").join(&kernel.version);
    let root = directory.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
    }
    for sub in ["bin", "modules", "weir"] {
        let path = root.join(sub);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    }
    copy(&payload.busybox, &root.join("bin/busybox"))?;
    for (name, program) in &payload.programs {
        let to = root.join("weir").join(name);
        copy(program, &to)?;
        // Symbols are most of a test program's size, and the guest's memory is small.
        if !succeeds(Command::new("strip").arg(&to)) {
            bail!("strip {}: failed", to.display());
        }
    }
    for tool in &payload.tools {
        copy(tool, &root.join(tool.strip_prefix("/").unwrap_or(tool)))?;
    }
    let modules = copy_modules(kernel, &root)?;
    guest::write(&root, &modules, &payload.tests)?;
    let image = directory.join("initramfs");
    archive(&root, &image)?;
    Ok(image)
}

/// Copies the modules, uncompressed, and gives their file names in load order.
fn copy_modules(kernel: &Kernel, root: &Path) -> Result<Vec<String>> {
    let dependencies = kernel.modules.join("modules.dep");
    let dependencies = fs::read_to_string(&dependencies)
        .with_context(|| format!("reading {}", dependencies.display()))?;
    let mut loaded = Vec::new();
    for path in guest::load_order(&dependencies) {
        let from = kernel.modules.join(&path);
        let name = guest::module_file(&path);
        let to = root.join("modules").join(&name);
        match from.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => decompress("xz", &from, &to)?,
            Some("zst") => decompress("zstd", &from, &to)?,
            _ => copy(&from, &to)?,
        }
        loaded.push(name);
    }
    Ok(loaded)
}

fn agent() -> Result<PathBuf> {
    let executables = executables(static_cargo("build").args(["--bin", "weir"]))?;
    let agent = executables.into_iter().find(|(name, _)| name == "weir");
    Ok(agent.context("cargo built no agent")?.1)
}

fn test_programs() -> Result<Vec<(String, PathBuf)>> {
    let (serial, _) = crate::test::agent_tests()?;
    let mut cargo = static_cargo("test");
    cargo.arg("--no-run");
    for name in &serial {
        cargo.args(["--test", name]);
    }
    let mut programs = executables(&mut cargo)?;
    programs.retain(|(name, _)| serial.contains(name));
    Ok(programs)
}

fn static_cargo(command: &str) -> Command {
    let mut cargo = cargo();
    cargo
        .args([command, "--quiet", "--package", "weir", "--target", MUSL])
        .arg("--message-format=json-render-diagnostics")
        .envs(musl_compiler())
        // Emulation is slow: a little optimisation pays, debug information does not.
        .envs([
            ("CARGO_PROFILE_DEV_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_DEV_DEBUG", "0"),
        ]);
    cargo
}

/// Runs cargo and gives name and path of each executable that it made.
fn executables(cargo: &mut Command) -> Result<Vec<(String, PathBuf)>> {
    let built = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("starting cargo")?;
    if !built.status.success() {
        bail!("cargo: {}", built.status);
    }
    let messages = String::from_utf8(built.stdout).context("cargo's messages")?;
    let mut executables = Vec::new();
    for line in messages.lines() {
        let message: serde_json::Value =
            serde_json::from_str(line).context("reading cargo's messages")?;
        if let (Some(name), Some(path)) = (
            message["target"]["name"].as_str(),
            message["executable"].as_str(),
        ) {
            executables.push((name.to_owned(), PathBuf::from(path)));
        }
    }
    Ok(executables)
}

/// The shared libraries of a program, its loader among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let list = output(Command::new("ldd").arg(program))?;
    Ok(list
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

fn decompress(program: &str, from: &Path, to: &Path) -> Result<()> {
    let file = File::create(to).with_context(|| format!("making {}", to.display()))?;
    let status = Command::new(program)
        .args(["-dc"])
        .arg(from)
        .stdout(file)
        .status();
    if !status
        .with_context(|| format!("starting {program}"))?
        .success()
    {
        bail!("{program} -dc {}: failed", from.display());
    }
    Ok(())
}

fn archive(root: &Path, image: &Path) -> Result<()> {
    let file = File::create(image).with_context(|| format!("making {}", image.display()))?;
    // Unpacking a compressed image under emulation takes longer than loading it plain.
    let status = Command::new("sh")
        .current_dir(root)
        .args([
            "-c",
            "find . | cpio --quiet --create --format=newc --owner=0:0",
        ])
        .stdout(file)
        .status()
        .context("starting cpio")?;
    if !status.success() {
        bail!("cpio: {status}");
    }
    Ok(())
}
