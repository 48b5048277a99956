//! Debian's cloud kernels in the cache: found by the pattern of their package
//! names, downloaded once, unpacked, with their module dependencies worked out.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{find, output, step},
    setup::{Archive, unpack},
    workspace::cache,
};

const FLAVOUR: &str = "-cloud-amd64";

/// An unpacked kernel.
pub(super) struct Kernel {
    /// As asked for: `6.1`.
    pub(super) version: String,
    /// As the kernel calls itself: `6.1.0-50-cloud-amd64`.
    pub(super) release: String,
    /// The bootable image.
    pub(super) image: PathBuf,
    /// The directory with the modules and `modules.dep`.
    pub(super) modules: PathBuf,
}

impl Kernel {
    /// The kernel of that version in the cache, if it is there.
    pub(super) fn cached(version: &str) -> Result<Option<Self>> {
        let home = home(version)?;
        if !home.exists() {
            return Ok(None);
        }
        let modules = home.join("lib/modules");
        let mut builds = entries(&modules)?;
        let Some(modules) = builds.pop().filter(|_| builds.is_empty()) else {
            bail!(
                "not one kernel in {}: remove it and try again",
                home.display()
            );
        };
        let release = name(&modules);
        // Newer packages keep the image beside the modules.
        let image = [
            home.join(format!("boot/vmlinuz-{release}")),
            modules.join("vmlinuz"),
        ]
        .into_iter()
        .find(|image| image.exists())
        .with_context(|| format!("no image in {}: remove it and try again", home.display()))?;
        Ok(Some(Self {
            version: version.to_owned(),
            release,
            image,
            modules,
        }))
    }

    /// Downloads the newest kernel of that version into the cache.
    pub(super) fn fetch(version: &str, archive: &Archive) -> Result<Self> {
        let packages = newest(version, &archive.names("linux-")?);
        if packages.is_empty() {
            bail!("no release on this machine's mirror has a cloud kernel {version}");
        }
        step!("fetch {}", packages.join(", "));
        let home = home(version)?;
        let fresh = home.with_extension("partial");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).with_context(|| format!("removing {}", fresh.display()))?;
        }
        archive.download(&packages, &fresh)?;
        unpack(&fresh, &fresh)?;
        // Newer packages put modules below /usr; depmod looks below /lib.
        if !fresh.join("lib/modules").exists() && fresh.join("usr/lib/modules").exists() {
            std::os::unix::fs::symlink("usr/lib", fresh.join("lib")).context("linking lib")?;
        }
        for modules in entries(&fresh.join("lib/modules"))? {
            let depmod = find("depmod").context("depmod is missing")?;
            // It misses lists that only matter to a distribution's initramfs.
            output(
                Command::new(depmod)
                    .arg("-b")
                    .arg(&fresh)
                    .arg(name(&modules)),
            )?;
        }
        fs::rename(&fresh, &home).with_context(|| format!("making {}", home.display()))?;
        Self::cached(version)?.context("the fetched kernel is gone")
    }
}

/// The packages of the newest build of a version. Until 6.18 one package holds
/// kernel and modules; later the kernel is in `linux-binary-…` and the modules
/// are in `linux-modules-…`.
fn newest(version: &str, names: &[String]) -> Vec<String> {
    let build = |name: &str| {
        let rest = ["linux-image-", "linux-binary-", "linux-modules-"]
            .iter()
            .find_map(|prefix| name.strip_prefix(prefix))?;
        let build = rest.strip_suffix(FLAVOUR)?;
        let patch = build.strip_prefix(version)?;
        patch.starts_with('.').then(|| build.to_owned())
    };
    // A build whose image package is gone from the archive cannot be had.
    let newest = names
        .iter()
        .filter(|name| name.starts_with("linux-image-"))
        .filter_map(|name| build(name))
        .max_by_key(|build| numbers(build));
    let mut packages: Vec<String> = names
        .iter()
        .filter(|name| newest.is_some() && build(name) == newest)
        .cloned()
        .collect();
    packages.sort();
    packages
}

/// The numbers in a version, so that 6.18.15 is newer than 6.18.9.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

fn home(version: &str) -> Result<PathBuf> {
    // Not with_extension on the version: "6.1" would lose its ".1".
    Ok(cache()?.join(format!("kernel-{}", version.replace('.', "-"))))
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(directory)
        .with_context(|| format!("reading {}", directory.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn the_newest_build_is_chosen_by_number() {
        let names = names(&[
            "linux-image-6.18.9+deb13-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64-unsigned",
            "linux-image-6.1.0-50-cloud-amd64",
        ]);
        assert_eq!(
            newest("6.18", &names),
            ["linux-image-6.18.15+deb13-cloud-amd64"]
        );
        assert_eq!(newest("6.1", &names), ["linux-image-6.1.0-50-cloud-amd64"]);
    }

    #[test]
    fn a_split_kernel_is_fetched_whole() {
        let names = names(&[
            "linux-modules-7.2.13+deb14-cloud-amd64",
            "linux-image-7.2.13+deb14-cloud-amd64",
            "linux-binary-7.2.13+deb14-cloud-amd64",
            "linux-binary-unsigned-7.2.13+deb14-cloud-amd64",
            "linux-base-7.2.13+deb14-cloud-amd64",
            "linux-image-7.2.13+deb14-cloud-amd64-dbg",
        ]);
        assert_eq!(newest("7.2", &names).len(), 3);
    }

    #[test]
    fn a_version_that_is_not_there_gives_nothing() {
        assert!(newest("5.10", &names(&["linux-image-5.100.1-cloud-amd64"])).is_empty());
    }
}
