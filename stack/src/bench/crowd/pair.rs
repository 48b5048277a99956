//! The model and hls.js in Chromium side by side: each has a link of its own with the same rate at
//! the same moment, and both ask for the stream at the same moment, so that both find the same live
//! edge.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::sync::watch;

use super::agreement::Comparison;
use super::link::{Link, Trace};
use super::{Args, begin, end, page};
use crate::crowd::browser::Browser;
use crate::crowd::playback::Settings;
use crate::crowd::session::Shared;
use crate::crowd::viewer;
use crate::truth::Role;

/// Longest wait for the page's first request.
const FIRST: Duration = Duration::from_secs(10);

/// One run of both on a trace.
pub(super) async fn compare(
    args: &Args,
    browser: &Browser,
    trace: &Trace,
    run: u32,
    folder: &Path,
) -> Result<Comparison> {
    let name = format!("{}-{run}", trace.name);
    let (shared, path) = begin(folder, &name)?;
    let page = browser.open_page().await?;
    let twin = match args.twin {
        true => Some(browser.open_page().await?),
        false => None,
    };
    let links = [
        Link::start(&args.stream, trace).await?,
        Link::start(&args.stream, trace).await?,
    ];
    let lasts_s = args.cut.map_or(trace.seconds, |cut| cut.min(trace.seconds));
    let other = async {
        match twin {
            Some(page) => {
                page::watch(browser, page, &shared, "model", links[0].url(), lasts_s).await
            }
            None => watch_model(&shared, &links, lasts_s).await,
        }
    };
    tokio::join!(
        other,
        page::watch(browser, page, &shared, "chromium", links[1].url(), lasts_s)
    );
    let text = end(&shared, &path)?;
    if args.keep.is_some() {
        keep_transfers(&folder.join(format!("{name}-transfers.jsonl")), &links)?;
    }
    Ok(Comparison::new(trace.name, &text))
}

/// The model begins when the page does, which needs a moment to get going.
async fn watch_model(shared: &Shared, links: &[Link; 2], lasts_s: f64) {
    if tokio::time::timeout(FIRST, links[1].used()).await.is_err() {
        tracing::warn!("the page asks for nothing; the model begins without it");
    }
    let (_valve, gate) = watch::channel(true);
    let url = links[0].url();
    let session = shared.open(
        &Arc::from("model"),
        Role::Player,
        "crowd",
        url.as_str(),
        0.0,
    );
    let plan = viewer::Plan {
        url,
        acts: Vec::new(),
        leave_at: lasts_s,
        settings: Settings::default(),
    };
    viewer::watch(session, gate, plan).await;
}

fn keep_transfers(path: &Path, links: &[Link; 2]) -> Result<()> {
    let mut lines = Vec::new();
    for (whose, link) in ["model", "chromium"].iter().zip(links) {
        for transfer in link.transfers() {
            let line = json!({ "session": whose, "transfer": transfer });
            writeln!(lines, "{line}")?;
        }
    }
    std::fs::write(path, lines).with_context(|| format!("cannot write {}", path.display()))
}
