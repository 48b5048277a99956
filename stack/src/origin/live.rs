//! Serves streams: playlists that wait for what they are asked to hold, parts that are given as
//! soon as they are there.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::address::{Directives, File};
use super::answer::{Found, refuse};
use super::cmcd;
use super::looped::Clock;
use super::metric::{Players, Requests};
use super::session::Sessions;
use super::stream::{Rendition, Stream, Streams, View};
use super::timeline::{Edge, Reach};

/// How long caches may keep media, in seconds: it never changes.
const MEDIA_LIFETIME: u64 = 3600;

const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// What the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) streams: Streams,
    pub(crate) requests: Requests,
    pub(crate) players: Players,
    pub(crate) sessions: Sessions,
    /// Requests that may be held at a time.
    pub(crate) held: Arc<Semaphore>,
    pub(crate) clock: Clock,
}

/// An answer that is a refusal: code, lifetime in caches in seconds, name for counts, words.
type Refusal = (StatusCode, u64, &'static str, String);

/// The routes of streams.
pub(crate) fn router(live: Live) -> Router {
    Router::new()
        .route("/live/{stream}/master.m3u8", get(answer_master))
        .route("/live/{stream}/{rung}/{file}", get(answer_file))
        .with_state(live)
}

async fn answer_master(
    State(live): State<Live>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    live.listen(&headers, query.as_deref().unwrap_or(""));
    let found = live.stream(&name).map(|stream| Found {
        chunks: [stream.master.clone()].into_iter().collect(),
        kind: PLAYLIST,
        tag: format!("{:x}-master", stream.tag),
        lifetime: 1,
    });
    live.answer("master", found, &headers)
}

async fn answer_file(
    State(live): State<Live>,
    Path((name, rung, file)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    live.listen(&headers, &query);
    let Some(file) = File::parse(&file) else {
        return live.answer("other", Err(missing("no such file")), &headers);
    };
    let found = match live.stream(&name) {
        Ok(stream) => match stream.rendition(&rung) {
            Some(rendition) => live.find(&stream, rendition, file, &query).await,
            None => Err(missing("no such rung")),
        },
        Err(refusal) => Err(refusal),
    };
    live.answer(file.what(), found, &headers)
}

impl Live {
    fn stream(&self, name: &str) -> Result<Arc<Stream>, Refusal> {
        self.streams
            .find(name)
            .ok_or_else(|| missing("no such stream"))
    }

    /// Hears what the player says in a request. A set that is not taken is counted, and the
    /// request answered all the same.
    fn listen(&self, headers: &HeaderMap, query: &str) {
        match cmcd::of_request(headers, query) {
            Ok(Some(set)) => self.sessions.take(&set, self.clock.now_ms()),
            Ok(None) => {}
            Err(fault) => self.players.refuse(fault.name()),
        }
    }

    fn answer(
        &self,
        what: &'static str,
        found: Result<Found, Refusal>,
        request: &HeaderMap,
    ) -> Response {
        let (answer, bytes) = match found {
            Ok(found) => {
                let answer = found.answer(request);
                let length = http_body::Body::size_hint(answer.body()).lower();
                (answer, length)
            }
            Err((code, lifetime, why, words)) => {
                self.requests.refuse(why);
                (refuse(code, lifetime, &words), 0)
            }
        };
        self.requests.answer(what, answer.status().as_u16(), bytes);
        answer
    }

    async fn find(
        &self,
        stream: &Stream,
        rendition: &Rendition,
        file: File,
        query: &str,
    ) -> Result<Found, Refusal> {
        let mut views = rendition.watch();
        let tag = stream.tag;
        match file {
            File::Playlist => self.find_playlist(tag, &mut views, query).await,
            File::Init(number) => {
                let view = Arc::clone(&views.borrow());
                let init = view
                    .timeline
                    .init(number)
                    .ok_or_else(|| missing("no such initialization segment"))?;
                Ok(media(
                    [init.clone()],
                    format!("{tag:x}-i{}", number.unwrap_or(u32::MAX)),
                ))
            }
            File::Segment(msn) => {
                let view = Arc::clone(&views.borrow());
                let segment = view.timeline.find(msn).filter(|segment| segment.complete);
                let segment = segment
                    .ok_or_else(|| missing("no such segment, or not any more, or not yet"))?;
                let mut found = media([], format!("{tag:x}-{msn}"));
                found.chunks = segment.chunks();
                Ok(found)
            }
            File::Part(msn, number) => {
                // The hinted part may be asked for ahead (§ 4.4.5.3); no other.
                let asked = Edge { msn, part: number };
                let there = |view: &View| view.timeline.ended() || view.timeline.edge() > asked;
                let hinted = views.borrow().timeline.hint() == asked;
                if hinted && !there(&views.borrow()) {
                    self.hold(&mut views, there).await?;
                }
                let view = Arc::clone(&views.borrow());
                let part = view
                    .timeline
                    .find(msn)
                    .and_then(|segment| segment.parts.get(number as usize));
                let part =
                    part.ok_or_else(|| missing("no such part, or not any more, or not yet"))?;
                Ok(media(
                    part.chunks.iter().cloned(),
                    format!("{tag:x}-{msn}-{number}"),
                ))
            }
        }
    }

    async fn find_playlist(
        &self,
        tag: u64,
        views: &mut watch::Receiver<Arc<View>>,
        query: &str,
    ) -> Result<Found, Refusal> {
        let directives = Directives::parse(query).map_err(|words| {
            (
                StatusCode::BAD_REQUEST,
                0,
                "bad_directive",
                words.to_owned(),
            )
        })?;
        if let Some(msn) = directives.msn {
            let reach = |view: &View| view.timeline.reach(msn, directives.part);
            let now = reach(&views.borrow());
            match now {
                Reach::There => {}
                Reach::Wait => self.hold(views, |view| reach(view) == Reach::There).await?,
                Reach::TooFar => {
                    let words = "_HLS_msn or _HLS_part is too far ahead of the playlist".to_owned();
                    return Err((StatusCode::BAD_REQUEST, 0, "too_far_ahead", words));
                }
            }
        }
        let view = Arc::clone(&views.borrow());
        let target = view.timeline.shape().target.as_secs();
        let delta = view.delta.as_ref().filter(|_| directives.skip);
        let text = delta.unwrap_or(&view.playlist);
        let Edge { msn, part } = view.timeline.edge();
        let kind = if delta.is_some() { "d" } else { "p" };
        let end = if view.timeline.ended() { "e" } else { "" };
        Ok(Found {
            chunks: [text.clone()].into_iter().collect(),
            kind: PLAYLIST,
            tag: format!("{tag:x}-{kind}{msn}.{part}{end}"),
            // Appendix B.1: what was waited for never changes; what was not, soon does.
            lifetime: if directives.msn.is_some() {
                6 * target
            } else {
                target / 2
            },
        })
    }

    /// Waits until `there`, for three target durations at most (§ 6.2.5.2).
    async fn hold(
        &self,
        views: &mut watch::Receiver<Arc<View>>,
        there: impl Fn(&View) -> bool,
    ) -> Result<(), Refusal> {
        let Ok(_place) = self.held.try_acquire() else {
            let words = "too many held requests (limit: [origin] held)".to_owned();
            return Err((StatusCode::SERVICE_UNAVAILABLE, 0, "too_many_held", words));
        };
        let _counted = Counted::new(self);
        let most = views
            .borrow()
            .timeline
            .shape()
            .target
            .max(Duration::from_secs(1))
            * 3;
        match timeout(most, views.wait_for(|view| there(view))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(missing("the stream is gone")),
            Err(_) => {
                let words = "the stream stands still".to_owned();
                Err((
                    StatusCode::SERVICE_UNAVAILABLE,
                    0,
                    "stream_stands_still",
                    words,
                ))
            }
        }
    }
}

/// A held request in the metrics; also when the client goes away while it waits.
struct Counted<'a>(&'a Live, Instant);

impl<'a> Counted<'a> {
    fn new(live: &'a Live) -> Self {
        live.requests.held.inc();
        Self(live, Instant::now())
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.requests.held.dec();
        self.0
            .requests
            .held_for
            .observe(self.1.elapsed().as_secs_f64());
    }
}

fn media(chunks: impl IntoIterator<Item = bytes::Bytes>, tag: String) -> Found {
    Found {
        chunks: chunks.into_iter().collect(),
        kind: "video/mp4",
        tag,
        lifetime: MEDIA_LIFETIME,
    }
}

/// Kept by caches for a second only, for what is not there yet may come.
fn missing(words: &str) -> Refusal {
    (StatusCode::NOT_FOUND, 1, "not_found", words.to_owned())
}
