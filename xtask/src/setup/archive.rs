//! Debian's archive beyond the release that this machine runs: later packages
//! are downloaded by the ordinary apt client with its own lists, checked by the
//! machine's own keys, and unpacked into the cache. Nothing is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{find, note, output, run, step},
    workspace::cache,
};

/// Releases that kernels and receivers are taken from, oldest first.
const SUITES: [&str; 5] = ["bullseye", "bookworm", "trixie", "trixie-backports", "sid"];

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An apt client with lists of its own in the cache.
pub(crate) struct Archive {
    directory: PathBuf,
    status: PathBuf,
}

impl Archive {
    /// Points a client at the mirror that this machine is configured with, for all
    /// releases that kernels and receivers are taken from.
    pub(crate) fn open() -> Result<Self> {
        // An empty package status: what is installed here has no say.
        let archive = Self::at("apt", &SUITES)?;
        archive.write("status", "")?;
        Ok(archive)
    }

    /// The same for later packages that run on this machine's own release, with
    /// the libraries installed here in mind.
    pub(crate) fn open_for_this_release() -> Result<Self> {
        let codename = codename()?;
        let backports = format!("{codename}-backports");
        let mut archive = Self::at("apt-here", &[&codename, &backports])?;
        archive.status = PathBuf::from("/var/lib/dpkg/status");
        Ok(archive)
    }

    /// Fetches the package lists. A release that the mirror does not have is left out.
    fn at(name: &str, suites: &[&str]) -> Result<Self> {
        if find("apt-get").is_none() || find("dpkg").is_none() {
            bail!("apt-get and dpkg are needed to fetch Debian packages");
        }
        let directory = cache()?.join(name);
        let status = directory.join("status");
        let archive = Self { directory, status };
        for sub in ["lists/partial", "archives/partial", "none"] {
            let path = archive.directory.join(sub);
            fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        let mirror = mirror()?;
        let sources: String = suites
            .iter()
            .map(|suite| format!("deb [arch=amd64 signed-by={KEYRING}] {mirror} {suite} main\n"))
            .collect();
        archive.write("sources.list", &sources)?;
        step!(
            "apt-get update (own lists): packages of {}",
            suites.join(", ")
        );
        if let Err(error) = run(archive.client("apt-get").args(["-qq", "update"])) {
            note!("some package lists could not be fetched: {error}");
        }
        Ok(archive)
    }

    /// What an installation of a package would install beside what is there, as
    /// `name=version`; the package from backports is preferred.
    pub(crate) fn missing(&self, package: &str) -> Result<Vec<String>> {
        let simulate = |release: &str| {
            let mut client = self.client("apt-get");
            client.args(["install", "--simulate", "--no-install-recommends"]);
            output(client.args(["--target-release", release, package]))
        };
        let release = codename()?;
        // What it depends on may have to be of backports too.
        let plan = simulate(&format!("{release}-backports")).or_else(|_| simulate(&release))?;
        let missing = installations(&plan);
        if missing.is_empty() {
            bail!("nothing later than the installed {package} on this machine's mirror");
        }
        Ok(missing)
    }

    /// Names of all packages that begin with a prefix.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = output(self.client("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Downloads packages, given by name or `name/suite`, into a directory.
    pub(crate) fn download(&self, packages: &[String], into: &Path) -> Result<()> {
        fs::create_dir_all(into).with_context(|| format!("making {}", into.display()))?;
        run(self
            .client("apt-get")
            .current_dir(into)
            .args(["-qq", "download"])
            .args(packages))
    }

    fn client(&self, program: &str) -> Command {
        let mut client = Command::new(program);
        let path = |name: &str| self.directory.join(name).display().to_string();
        let options = [
            ("Dir::Etc::SourceList", path("sources.list")),
            ("Dir::Etc::SourceParts", path("none")),
            ("Dir::State::Lists", path("lists")),
            ("Dir::State::Status", self.status.display().to_string()),
            ("Dir::Cache", self.directory.display().to_string()),
            ("Dir::Cache::pkgcache", String::new()),
            ("Acquire::Languages", "none".to_owned()),
            // Descriptions for software centres: as large as the package lists.
            (
                "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled",
                "false".to_owned(),
            ),
            // The unprivileged download user cannot write into a user's cache.
            ("APT::Sandbox::User", String::new()),
        ];
        for (name, value) in options {
            client.arg("-o").arg(format!("{name}={value}"));
        }
        client
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.directory.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }
}

/// Unpacks every package file of a directory into another and removes the files.
pub(crate) fn unpack(packages: &Path, into: &Path) -> Result<()> {
    let entries =
        fs::read_dir(packages).with_context(|| format!("reading {}", packages.display()))?;
    for entry in entries {
        let path = entry.context("reading a directory")?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg").arg("-x").arg(&path).arg(into))?;
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// The Debian mirror that this machine's apt uses.
fn mirror() -> Result<String> {
    let targets = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(LABEL) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    targets
        .lines()
        .find_map(|line| line.strip_prefix("Debian "))
        .map(str::to_owned)
        .context("no Debian mirror among this machine's apt sources: run `apt-get update` once")
}

/// This machine's Debian release.
fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("reading /etc/os-release")?;
    release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context("/etc/os-release has no VERSION_CODENAME")
}

/// Reads `Inst name [installed version] (version origin)` lines of a simulated run.
fn installations(plan: &str) -> Vec<String> {
    plan.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("Inst ")?;
            let name = rest.split_whitespace().next()?;
            let version = rest.split_once('(')?.1.split_whitespace().next()?;
            Some(format!("{name}={version}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_with_versions() {
        let plan = "Inst libfdt1 (1.6.1-4+b1 Debian:12/stable [amd64])\n\
                    Inst seabios [1.16.2-1] (1.16.3-2~bpo12+1 Debian Backports [all]) []\n\
                    Conf libfdt1 (1.6.1-4+b1 Debian:12/stable [amd64])\n";
        assert_eq!(
            installations(plan),
            ["libfdt1=1.6.1-4+b1", "seabios=1.16.3-2~bpo12+1"]
        );
    }
}
