//! The webhook, a process of its own, and what it says of its pages.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, bail};

use super::Pages;
use crate::bench::agent::end;

/// Ends when dropped.
pub(super) struct Pager {
    child: Child,
    pages: Arc<Mutex<Pages>>,
    /// Where it listens.
    pub(super) port: u16,
}

impl Pager {
    pub(super) fn start() -> Result<Self> {
        let program = std::env::current_exe().context("looking for this program")?;
        let mut child = Command::new(program)
            .args(["bench", "page-worker", "webhook"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the webhook")?;
        let answers = child.stdout.take().context("a webhook without stdout")?;
        let mut lines = BufReader::new(answers);
        let mut port = String::new();
        lines.read_line(&mut port)?;
        let Ok(port) = port.trim().parse() else {
            end(&mut child);
            bail!("the webhook ended early");
        };
        let pages = Arc::<Mutex<Pages>>::default();
        let shared = pages.clone();
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some((service, ns)) = parse(&line) {
                    let mut pages = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    pages.entry(service).or_default().push(ns);
                }
            }
        });
        Ok(Self { child, pages, port })
    }

    /// All pages so far that said that something fires.
    pub(super) fn finish(&mut self) -> Result<Pages> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(pages.clone())
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A line such as `1234567 firing pager-7`.
fn parse(line: &str) -> Option<(usize, u64)> {
    let mut words = line.split(' ');
    let ns = words.next()?.parse().ok()?;
    let fires = words.next()? == "firing";
    let service = words.next()?.strip_prefix("pager-")?.parse().ok()?;
    fires.then_some((service, ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fires_is_taken() {
        assert_eq!(parse("12 firing pager-7"), Some((7, 12)));
        assert_eq!(parse("12 resolved pager-7"), None);
        assert_eq!(parse("12 firing other"), None);
    }
}
