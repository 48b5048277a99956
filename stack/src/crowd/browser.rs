//! Real players: hls.js in headless Chromium, told apart from the models only by `client` in the
//! truth. One Chromium for all; each viewer has a browser context, so nothing is shared but it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::session::Session;
use cdp::{Cdp, Target};

mod cdp;
mod page;

pub(crate) use page::{Page, Plan};

/// Names under which distributions install Chromium.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
];
/// Longest wait until Chromium can be driven.
const START: Duration = Duration::from_secs(30);
/// Events of one page that may wait.
const EVENTS: usize = 4096;

/// No picture, no sound, no contact with anybody but the stream; timers of pages that nobody sees
/// run as if they were seen, since a throttled page is no true player.
const FLAGS: [&str; 19] = [
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-features=MediaRouter,OptimizationHints,Translate",
];

/// A running Chromium; it ends when this is dropped.
pub(crate) struct Browser {
    cdp: Cdp,
    script: Arc<str>,
    _child: Child,
    _profile: TempDir,
}

impl Browser {
    /// Starts Chromium. `script` is hls.js itself; `program` is looked for if not given. The error
    /// names what is missing and the way out.
    pub(crate) async fn start(program: Option<&Path>, script: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(script).with_context(|| {
            format!(
                "cannot read hls.js at {}: `npm pack hls.js` brings it",
                script.display()
            )
        })?;
        let program = match program {
            Some(program) => program.to_owned(),
            None => find().context(
                "no Chromium found: install Debian's package chromium, or give --chromium PATH",
            )?,
        };
        let profile = tempfile::Builder::new()
            .prefix("weir-crowd-")
            .tempdir()
            .context("making a folder for Chromium's profile")?;
        let child = Command::new(&program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let port = profile.path().join("DevToolsActivePort");
        let address = tokio::time::timeout(START, wait_for_address(&port))
            .await
            .with_context(|| {
                format!(
                    "{} cannot be driven after {} s",
                    program.display(),
                    START.as_secs()
                )
            })?;
        let cdp = Cdp::connect(&address).await?;
        Ok(Self {
            cdp,
            script: text.into(),
            _child: child,
            _profile: profile,
        })
    }

    /// A new page with hls.js in it, ready to play.
    pub(crate) async fn open_page(&self) -> Result<Page> {
        let context = self
            .cdp
            .call(None, "Target.createBrowserContext", json!({}))
            .await?;
        let context = text_of(&context, "browserContextId")?;
        let target = json!({ "url": "about:blank", "browserContextId": context, "newWindow": true, "width": 640, "height": 360 });
        let target = self.cdp.call(None, "Target.createTarget", target).await?;
        let target = text_of(&target, "targetId")?;
        let attached = self
            .cdp
            .call(
                None,
                "Target.attachToTarget",
                json!({ "targetId": target, "flatten": true }),
            )
            .await?;
        let id: Target = text_of(&attached, "sessionId")?.into();
        let (events, told) = mpsc::channel(EVENTS);
        self.cdp.listen(&id, events);
        self.cdp
            .call(Some(&id), "Runtime.enable", json!({}))
            .await?;
        self.cdp
            .call(Some(&id), "Runtime.addBinding", json!({ "name": "tell" }))
            .await?;
        self.evaluate(&id, &self.script).await?;
        Ok(Page { context, id, told })
    }

    /// Plays until the plan or the run ends, and closes the page.
    pub(crate) async fn watch(&self, mut page: Page, session: &Session, plan: &Plan) {
        page::run(self, &mut page, session, plan).await;
        // The context takes its page and connections along.
        let _gone = self
            .cdp
            .call(
                None,
                "Target.disposeBrowserContext",
                json!({ "browserContextId": page.context }),
            )
            .await;
    }

    /// Runs a script in a page; the error carries what it threw.
    async fn evaluate(&self, id: &Target, script: &str) -> Result<()> {
        let outcome = self
            .cdp
            .call(
                Some(id),
                "Runtime.evaluate",
                json!({ "expression": script }),
            )
            .await?;
        if let Some(thrown) = outcome.get("exceptionDetails") {
            bail!("a script in the page threw {thrown}");
        }
        Ok(())
    }
}

/// Where Chromium is, if it is in the path.
pub(crate) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find_map(|folder| {
        NAMES
            .iter()
            .map(|name| folder.join(name))
            .find(|file| file.is_file())
    })
}

/// Chromium writes port and path into a file once it listens.
async fn wait_for_address(file: &Path) -> String {
    loop {
        if let Ok(text) = tokio::fs::read_to_string(file).await
            && let Some((port, path)) = text.split_once('\n')
        {
            return format!("ws://127.0.0.1:{}{}", port.trim(), path.trim());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn text_of(value: &serde_json::Value, key: &str) -> Result<String> {
    let text = value.get(key).and_then(serde_json::Value::as_str);
    text.map(str::to_owned)
        .with_context(|| format!("Chromium's answer has no {key}: {value}"))
}
