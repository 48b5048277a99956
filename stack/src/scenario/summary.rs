//! What a run came to, for people and for scripts: `summary.json`.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::file::Scenario;
use crate::truth::Stamp;

/// Filled in as the run goes on.
pub(crate) struct Summary {
    name: String,
    about: String,
    seed: u64,
    seconds: f64,
    started: Option<Stamp>,
    links: Value,
    crowds: Value,
    problems: Vec<String>,
}

impl Summary {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            name: scenario.name.clone(),
            about: scenario.about.clone(),
            seed: scenario.seed,
            seconds: scenario.seconds,
            started: None,
            links: Value::Null,
            crowds: Value::Null,
            problems: Vec::new(),
        }
    }

    /// The crowds have come: faults count from here.
    pub(crate) fn started(&mut self) {
        self.started = Some(Stamp::now());
    }

    /// What links and crowds did.
    pub(crate) fn sums(&mut self, links: Value, crowds: Value) {
        (self.links, self.crowds) = (links, crowds);
    }

    /// Something did not go as written.
    pub(crate) fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    pub(crate) fn write(&self, out: &Path) -> Result<()> {
        let summary = json!({
            "name": self.name,
            "about": self.about,
            "seed": self.seed,
            "seconds": self.seconds,
            "started": self.started,
            "ran_as_written": self.problems.is_empty(),
            "problems": self.problems,
            "links": self.links,
            "crowds": self.crowds,
        });
        let path = out.join("summary.json");
        let text = serde_json::to_string_pretty(&summary).context("writing the summary")?;
        std::fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}
