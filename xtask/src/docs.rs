//! `docs`: references that the agent writes about itself, so that they cannot
//! be wrong: METRICS.md from the metric table, CONFIG.md from the config's types.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    command::{note, output, step},
    workspace::root,
};

/// File in the root of the tree, and the subject of `weir docs` that prints it.
const REFERENCES: [(&str, &str); 2] = [("METRICS.md", "metrics"), ("CONFIG.md", "config")];

/// Writes the references.
pub(crate) fn write() -> Result<()> {
    for (file, text) in references()? {
        let path = root().join(file);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            note!("{file} is up to date");
            continue;
        }
        fs::write(&path, text).with_context(|| format!("writing {file}"))?;
        note!("{file} written");
    }
    Ok(())
}

/// Fails if a reference differs from what the agent says now.
pub(crate) fn compare() -> Result<()> {
    let mut stale = Vec::new();
    for (file, text) in references()? {
        if fs::read_to_string(root().join(file)).unwrap_or_default() != text {
            stale.push(file);
        }
    }
    if !stale.is_empty() {
        bail!("{} out of date: run `cargo xtask docs`", stale.join(", "));
    }
    Ok(())
}

fn references() -> Result<Vec<(&'static str, String)>> {
    step!("docs: what the agent says about its metrics and its configuration");
    let agent = build::agent(false)?;
    REFERENCES
        .into_iter()
        .map(|(file, subject)| {
            let text = output(Command::new(&agent).args(["docs", subject]))?;
            if text.trim().is_empty() {
                bail!("`weir docs {subject}` printed nothing");
            }
            Ok((file, text))
        })
        .collect()
}
