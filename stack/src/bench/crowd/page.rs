//! A session of hls.js in Chromium, as the benchmarks want it: nobody pauses or seeks, and hls.js
//! has its defaults.

use std::sync::Arc;

use serde_json::json;
use url::Url;

use crate::crowd::browser::{self, Browser, Page};
use crate::crowd::session::Shared;
use crate::truth::Role;

/// Watches for so many seconds; the truth has it under this name.
pub(super) async fn watch(
    browser: &Browser,
    page: Page,
    shared: &Shared,
    name: &str,
    url: Url,
    lasts_s: f64,
) {
    let session = shared.open(
        &Arc::from(name),
        Role::Player,
        "chromium",
        url.as_str(),
        0.0,
    );
    let plan = browser::Plan {
        url,
        acts: Vec::new(),
        leave_at: lasts_s,
        config: json!({}),
    };
    browser.watch(page, &session, &plan).await;
}
