//! One page: starts the player, acts by plan, and writes down what the page tells.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;
use url::Url;

use super::super::player::Act;
use super::super::session::Session;
use super::Browser;
use super::cdp::{Message, Target};
use crate::truth::{Event, Reason, Stamp, WaitingFor};

const SCRIPT: &str = include_str!("page.js");

/// What one viewer does; times are seconds since the session began.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The multivariant playlist.
    pub(crate) url: Url,
    /// In order of time.
    pub(crate) acts: Vec<(f64, Act)>,
    pub(crate) leave_at: f64,
    /// Configuration of hls.js beyond its defaults.
    pub(crate) config: serde_json::Value,
}

/// A page that is ready to play.
pub(crate) struct Page {
    pub(super) context: String,
    pub(super) id: Target,
    pub(super) told: mpsc::Receiver<Message>,
}

/// What the page tells; the wall clock is the same as ours, read in another process.
#[derive(Debug, Deserialize)]
struct Told {
    wall_ms: f64,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum What {
    Startup {
        ms: f64,
        latency_s: Option<f64>,
        rung_bps: u64,
    },
    StallBegin {
        playhead_s: f64,
    },
    StallEnd {
        playhead_s: f64,
        recovered: bool,
    },
    Switch {
        from_bps: u64,
        to_bps: u64,
    },
    Level {
        buffer_s: f64,
        playhead_s: f64,
        latency_s: Option<f64>,
        bytes: u64,
        estimate_bps: u64,
    },
    Failure {
        what: String,
        detail: String,
    },
    Pause {
        playhead_s: f64,
    },
    Resume {
        playhead_s: f64,
    },
    Seek {
        from_s: f64,
        to_s: f64,
    },
    Seeked {},
}

/// Sums of one page.
#[derive(Debug, Default)]
struct Sums {
    stall_ns: Option<u64>,
    seek_ns: Option<u64>,
    stalled_ms: f64,
    stalls: u32,
    switches: u32,
    bytes: u64,
    first_s: f64,
    playhead_s: f64,
}

/// Plays until the plan or the run ends, or the page does; the session's last lines are written
/// in any case.
pub(super) async fn run(browser: &Browser, page: &mut Page, session: &Session, plan: &Plan) {
    let mut sums = Sums::default();
    let played = play(browser, page, session, plan, &mut sums).await;
    if let Err(error) = &played {
        tracing::warn!(session = %session.name, "the browser's player: {error:#}");
    }
    finish(session, &mut sums, played);
}

/// Whether the user left before the run ended.
async fn play(
    browser: &Browser,
    page: &mut Page,
    session: &Session,
    plan: &Plan,
    sums: &mut Sums,
) -> Result<bool> {
    let Page { id, told, .. } = page;
    let options =
        json!({ "url": plan.url.as_str(), "session": &*session.name, "config": plan.config });
    browser
        .evaluate(id, &format!("window.options = {options};"))
        .await?;
    browser.evaluate(id, SCRIPT).await?;
    let clock = session.clock;
    let mut acts = plan.acts.iter().copied().peekable();
    let quit = loop {
        let next = acts
            .peek()
            .map_or(f64::INFINITY, |(at, _)| *at)
            .min(plan.leave_at);
        tokio::select! {
            message = told.recv() => {
                let message = message.context("the page is gone: it crashed, or Chromium ended")?;
                note(session, sums, &message);
            }
            () = tokio::time::sleep_until(clock.instant(next)) => {}
            () = session.shared.stop.cancelled() => break false,
        }
        let now = clock.now_s();
        if now >= plan.leave_at {
            break true;
        }
        if let Some((_, act)) = acts.next_if(|(at, _)| *at <= now) {
            browser.evaluate(id, &call(act)).await?;
        }
    };
    let _gone = browser.evaluate(id, "window.act('leave')").await;
    // What it told last is on its way.
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(50), told.recv()).await
    {
        note(session, sums, &message);
    }
    Ok(quit)
}

fn call(act: Act) -> String {
    match act {
        Act::Pause => "window.act('pause')".to_owned(),
        Act::Resume => "window.act('resume')".to_owned(),
        Act::Seek(by) => format!("window.act('seek', {by})"),
    }
}

fn note(session: &Session, sums: &mut Sums, message: &Message) {
    if message.method != "Runtime.bindingCalled" {
        return;
    }
    let Some(told) = message
        .params
        .get("payload")
        .and_then(|payload| serde_json::from_str::<Told>(payload.as_str()?).ok())
    else {
        return;
    };
    let at = stamp(told.wall_ms);
    let since_ms = |since: Option<u64>| {
        since.map_or(0.0, |since| milliseconds(at.mono_ns.saturating_sub(since)))
    };
    let event = match told.what {
        What::Startup {
            ms,
            latency_s,
            rung_bps,
        } => Event::Startup {
            ms,
            latency_s,
            rung_bps,
        },
        What::StallBegin { playhead_s } => {
            sums.stall_ns = Some(at.mono_ns);
            sums.stalls += 1;
            Event::StallBegin {
                playhead_s,
                waiting_for: WaitingFor::Nothing,
            }
        }
        What::StallEnd {
            playhead_s,
            recovered,
        } => {
            let duration_ms = since_ms(sums.stall_ns.take());
            sums.stalled_ms += duration_ms;
            Event::StallEnd {
                duration_ms,
                playhead_s,
                recovered,
            }
        }
        What::Switch { from_bps, to_bps } => {
            sums.switches += 1;
            Event::Switch { from_bps, to_bps }
        }
        What::Level {
            buffer_s,
            playhead_s,
            latency_s,
            bytes,
            estimate_bps,
        } => {
            if sums.playhead_s == 0.0 {
                sums.first_s = playhead_s;
            }
            sums.playhead_s = playhead_s;
            sums.bytes += bytes;
            Event::Level {
                buffer_s,
                playhead_s,
                latency_s,
                bytes,
                estimate_bps,
            }
        }
        What::Failure { what, detail } => Event::Failure {
            what,
            reason: Reason::Other,
            detail,
        },
        What::Pause { playhead_s } => Event::Pause { playhead_s },
        What::Resume { playhead_s } => Event::Resume { playhead_s },
        What::Seek { from_s, to_s } => {
            sums.seek_ns = Some(at.mono_ns);
            Event::Seek { from_s, to_s }
        }
        What::Seeked {} => Event::Seeked {
            ms: since_ms(sums.seek_ns.take()),
        },
    };
    session.put_stamped(at, event);
}

/// The page's wall clock on both of ours.
fn stamp(wall_ms: f64) -> Stamp {
    let now = Stamp::now();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates"
    )]
    let wall_ns = (wall_ms * 1e6) as u64;
    let ago = i64::try_from(now.wall_ns.saturating_sub(wall_ns)).unwrap_or_default();
    now.shifted(-ago)
}

fn finish(session: &Session, sums: &mut Sums, played: Result<bool>) {
    let now = Stamp::now();
    // A page that is gone cannot tell how its stall ended.
    if let Some(since) = sums.stall_ns.take() {
        let duration_ms = milliseconds(now.mono_ns.saturating_sub(since));
        sums.stalled_ms += duration_ms;
        let playhead_s = sums.playhead_s;
        session.put(Event::StallEnd {
            duration_ms,
            playhead_s,
            recovered: false,
        });
    }
    let (reason, detail, quit) = match played {
        Ok(quit) => (Reason::Done, String::new(), quit),
        Err(error) => (Reason::Other, format!("{error:#}"), false),
    };
    session.put(Event::Disconnect { reason, detail });
    session.put(Event::End {
        quit,
        lasted_ms: session.clock.now_s() * 1e3,
        played_s: (sums.playhead_s - sums.first_s).max(0.0),
        stalled_ms: sums.stalled_ms,
        stalls: sums.stalls,
        switches: sums.switches,
        parts: 0,
        late_parts: 0,
        bytes: sums.bytes,
        sent: 0,
        received: 0,
    });
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sessions fit 53 bits of nanoseconds"
)]
fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}
