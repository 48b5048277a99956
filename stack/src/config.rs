//! The one configuration file. Each service owns its section; unknown keys are refused.

use std::path::Path;

use anyhow::{Context as _, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All sections; every key has a default that works.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) log: crate::log::Config,
    pub(crate) origin: crate::origin::Config,
    pub(crate) chat: crate::chat::Config,
    pub(crate) game: crate::game::Config,
}

impl Config {
    /// Reads a file; the defaults without one. The error names file, line and key.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in the configuration {}", path.display()))
    }

    /// As a file.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("writing the configuration")
    }
}
