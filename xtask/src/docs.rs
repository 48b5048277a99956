//! `docs`: references that the programs write about themselves, so that they cannot be wrong:
//! metrics from the calls or tables that make them, keys and lines from the types' doc comments.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    command::{note, output, step},
    workspace::root,
};

/// A program of the tree that has a subcommand `docs`.
struct Author {
    name: &'static str,
    /// File in the tree, and the subject that prints it.
    references: &'static [(&'static str, &'static str)],
}

/// In the order in which they are built.
static AUTHORS: [Author; 2] = [
    Author {
        name: "weir",
        references: &[("METRICS.md", "metrics"), ("CONFIG.md", "config")],
    },
    Author {
        name: "weir-stack",
        references: &[
            ("stack/METRICS.md", "metrics"),
            ("stack/CONFIG.md", "config"),
            ("stack/TRUTH.md", "truth"),
        ],
    },
];

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

/// Fails if a reference differs from what its program says now.
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
    step!("docs: what agent and stack say about their metrics and their configuration");
    let mut all = Vec::new();
    let programs = build::agent_and_stack(false)?;
    for (author, program) in AUTHORS.iter().zip(&programs) {
        for (file, subject) in author.references {
            let text = output(Command::new(program).args(["docs", subject]))?;
            if text.trim().is_empty() {
                bail!("`{} docs {subject}` printed nothing", author.name);
            }
            all.push((*file, text));
        }
    }
    Ok(all)
}
