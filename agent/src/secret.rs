//! Secrets from files.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};

/// The text of the file without the line's end.
pub(crate) fn read(file: &Path) -> anyhow::Result<String> {
    let text =
        fs::read_to_string(file).with_context(|| format!("secret file {}", file.display()))?;
    let secret = text.trim_end_matches(['\n', '\r']);
    ensure!(
        !secret.is_empty(),
        "secret file {} is empty",
        file.display()
    );
    Ok(secret.to_owned())
}
