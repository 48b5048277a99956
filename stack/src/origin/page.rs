//! The player page, and what players post and are asked about: `/`, `/cmcd`, `/sessions`, `/live`.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::answer::refuse;
use super::cmcd;
use super::looped::Clock;
use super::metric::Players;
use super::session::Sessions;
use super::stream::Streams;

/// Largest body of posted events, in bytes, and most sets in one.
const MOST_BYTES: usize = 64 << 10;
const MOST_SETS: usize = 256;

/// Most sessions in one answer.
const MOST_LISTED: usize = 10_000;

/// What the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) streams: Streams,
    pub(crate) sessions: Sessions,
    pub(crate) players: Players,
    pub(crate) clock: Clock,
    /// hls.js.
    pub(crate) player: PathBuf,
}

/// The routes of page and events.
pub(crate) fn router(page: Page) -> Router {
    Router::new()
        .route(
            "/",
            get(|| async { Html(include_str!("page/player.html")) }),
        )
        .route("/player/hls.min.js", get(answer_player))
        .route("/live", get(answer_streams))
        .route("/sessions", get(answer_sessions))
        .route(
            "/cmcd",
            post(take_events).layer(DefaultBodyLimit::max(MOST_BYTES)),
        )
        .with_state(Arc::new(page))
}

async fn answer_player(State(page): State<Arc<Page>>) -> Response {
    match tokio::fs::read(&page.player).await {
        Ok(script) => (
            [
                (header::CONTENT_TYPE, "text/javascript"),
                (header::CACHE_CONTROL, "no-cache"),
            ],
            script,
        )
            .into_response(),
        Err(_) => refuse(
            StatusCode::NOT_FOUND,
            0,
            "no hls.js here: run `weir-stack media`",
        ),
    }
}

async fn answer_streams(State(page): State<Arc<Page>>) -> Response {
    let streams: Vec<_> = page
        .streams
        .all()
        .iter()
        .map(|stream| {
            let rungs: Vec<_> = stream
                .renditions
                .iter()
                .map(|rendition| &rendition.variant.rung)
                .collect();
            serde_json::json!({
                "name": stream.name,
                "master": format!("/live/{}/master.m3u8", stream.name),
                "rungs": rungs,
                "ended": stream.ended(),
            })
        })
        .collect();
    ([(header::CACHE_CONTROL, "no-store")], Json(streams)).into_response()
}

async fn answer_sessions(State(page): State<Arc<Page>>) -> Response {
    (
        [(header::CACHE_CONTROL, "no-store")],
        Json(page.sessions.list(MOST_LISTED)),
    )
        .into_response()
}

/// Events of version 2: one set a line (CTA-5004-B, event mode). Lines that are not taken are
/// counted and the others kept, for the player would only send all of them again.
async fn take_events(State(page): State<Arc<Page>>, body: Bytes) -> Response {
    let Ok(text) = std::str::from_utf8(&body) else {
        page.players.refuse(cmcd::Fault::Malformed.name());
        return refuse(StatusCode::BAD_REQUEST, 0, "events are not UTF-8");
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    for (number, line) in lines.enumerate() {
        if number >= MOST_SETS {
            page.players.refuse("too_many_sets");
            return refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                0,
                "more than 256 sets in one body",
            );
        }
        match cmcd::parse(line) {
            Ok(set) => page.sessions.take(&set, page.clock.now_ms()),
            Err(fault) => page.players.refuse(fault.name()),
        }
    }
    StatusCode::NO_CONTENT.into_response()
}

#[cfg(test)]
mod tests;
