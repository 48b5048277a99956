//! Live ingest: fragmented MP4 by a chunked PUT or POST, as stock ffmpeg sends it. Fragments are
//! published as they come, as parts; nothing is encoded or remuxed. An encoder that goes away may
//! come back within a time and the stream goes on behind a discontinuity; else the stream ends.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

use super::answer::refuse;
use super::boxes::{self, Fault, Splitter};
use super::looped::Clock;
use super::metric::Ingests;
use super::stream::{Streams, is_name};

mod feed;

use feed::Feed;

/// `[origin.ingest]`
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Whether encoders may send at all.
    pub(crate) allow: bool,
    /// Streams at a time.
    pub(crate) streams: usize,
    /// Seconds without a byte after which an encoder is cut.
    pub(crate) silence_seconds: u64,
    /// Seconds for which a stream waits for its encoder to come back before it ends. An ended
    /// stream can be watched for as long again.
    pub(crate) resume_seconds: u64,
    /// Largest `mdat`, in bytes.
    pub(crate) fragment_bytes: usize,
    /// Most bytes kept of each stream; above it the oldest segments go before their time.
    pub(crate) ring_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow: true,
            streams: 16,
            silence_seconds: 10,
            resume_seconds: 15,
            fragment_bytes: 16 << 20,
            ring_bytes: 256 << 20,
        }
    }
}

/// What the handler shares.
#[derive(Clone, Debug)]
pub(crate) struct Ingest {
    pub(crate) config: Arc<Config>,
    pub(crate) streams: Streams,
    pub(crate) metrics: Ingests,
    pub(crate) clock: Clock,
    pub(crate) window: Duration,
    pub(crate) feeds: Arc<Mutex<HashMap<String, Place>>>,
    /// How often encoders may fill the log.
    pub(crate) log: Arc<DefaultDirectRateLimiter>,
}

/// Lines a second that encoders may cause.
pub(crate) fn log_limit() -> Arc<DefaultDirectRateLimiter> {
    Arc::new(RateLimiter::direct(
        Quota::per_second(NonZeroU32::MIN).allow_burst(LOG_BURST),
    ))
}

const LOG_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

/// The place of a stream that is, or was just, sent.
#[derive(Debug)]
pub(crate) enum Place {
    /// An encoder sends.
    Sending,
    /// Until when it may come back.
    Waiting(Box<Feed>),
}

/// Why an ingest ended before its time: code, name for counts, words.
#[derive(Debug)]
struct End(StatusCode, &'static str, String);

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        let code = match fault {
            Fault::Oversized { .. } | Fault::TooMuch(_) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(code, fault.name(), fault.to_string())
    }
}

/// The route of encoders.
pub(crate) fn router(ingest: Ingest) -> Router {
    Router::new()
        .route("/ingest/{name}", put(take).post(take))
        .with_state(ingest)
}

async fn take(State(ingest): State<Ingest>, Path(name): Path<String>, body: Body) -> Response {
    // In a task of its own, for a handler is dropped where it stands when its client goes away, and
    // the stream has to be put aside then.
    let task = tokio::spawn(async move {
        let end = match ingest.enter(&name) {
            Ok(feed) => ingest.send(&name, feed, body).await,
            Err(end) => Err(end),
        };
        if let Err(End(_, why, words)) = &end {
            ingest.metrics.fault(why);
            if ingest.log.check().is_ok() {
                tracing::warn!(
                    stream = name.escape_default().to_string(),
                    why,
                    "ingest refused or cut: {words}"
                );
            }
        }
        end
    });
    match task.await {
        Ok(Ok(())) => StatusCode::CREATED.into_response(),
        Ok(Err(End(code, why, words))) => refuse(code, 0, &format!("{why}: {words}")),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Ingest {
    /// Takes the place of a stream, with what its last encoder left.
    fn enter(&self, name: &str) -> Result<Option<Box<Feed>>, End> {
        let end = |code, why, words: &str| Err(End(code, why, words.to_owned()));
        if !self.config.allow {
            return end(
                StatusCode::FORBIDDEN,
                "not_allowed",
                "[origin.ingest] allow is false",
            );
        }
        if !is_name(name) {
            return end(
                StatusCode::BAD_REQUEST,
                "bad_name",
                "a name has 1 to 64 letters, digits, - and _",
            );
        }
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        match feeds.get(name) {
            Some(Place::Sending) => {
                return end(
                    StatusCode::CONFLICT,
                    "busy",
                    "another encoder sends this stream",
                );
            }
            None if self
                .streams
                .find(name)
                .is_some_and(|stream| !stream.ended()) =>
            {
                return end(
                    StatusCode::CONFLICT,
                    "busy",
                    "a looped stream has this name",
                );
            }
            None if feeds.len() >= self.config.streams => {
                return end(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too_many_streams",
                    "limit: [origin.ingest] streams",
                );
            }
            _ => {}
        }
        match feeds.insert(name.to_owned(), Place::Sending) {
            Some(Place::Waiting(feed)) => Ok(Some(feed)),
            _ => Ok(None),
        }
    }

    async fn send(&self, name: &str, feed: Option<Box<Feed>>, mut body: Body) -> Result<(), End> {
        let resumed = feed.is_some();
        self.metrics.open.inc();
        let mut feed = feed.unwrap_or_else(|| {
            Box::new(Feed::new(
                name,
                self.clock,
                self.window,
                self.config.ring_bytes,
            ))
        });
        feed.resume();
        if self.log.check().is_ok() {
            tracing::info!(stream = name, resumed, "an encoder sends");
        }
        let end = self.read(&mut feed, &mut body).await;
        self.metrics.open.dec();
        let (ingest, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move { ingest.put_aside(name, feed).await });
        end
    }

    async fn read(&self, feed: &mut Feed, body: &mut Body) -> Result<(), End> {
        let limits = boxes::Limits {
            media: self.config.fragment_bytes,
            ..boxes::Limits::default()
        };
        let silence = Duration::from_secs(self.config.silence_seconds.max(1));
        let mut splitter = Splitter::new(limits);
        let mut last = Instant::now();
        loop {
            let frame = timeout(silence, body.frame()).await.map_err(|_| {
                End(
                    StatusCode::REQUEST_TIMEOUT,
                    "silent",
                    "no byte for [origin.ingest] silence_seconds".to_owned(),
                )
            })?;
            let data = match frame {
                None => return Ok(splitter.finish()?),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    return Err(End(StatusCode::BAD_REQUEST, "broken", error.to_string()));
                }
            };
            self.metrics.bytes.inc_by(data.len() as u64);
            splitter.push(&data);
            while let Some(piece) = splitter.next()? {
                let taken = feed.take(piece, &self.metrics)?;
                if taken.fragment {
                    self.metrics.gap.observe(last.elapsed().as_secs_f64());
                    last = Instant::now();
                }
                if let Some(stream) = taken.begun {
                    self.streams.show(stream);
                }
            }
        }
    }

    /// Keeps a stream for its encoder to come back to, then ends it, then forgets it.
    async fn put_aside(&self, name: String, feed: Box<Feed>) {
        let wait = Duration::from_secs(self.config.resume_seconds);
        let id = feed.id();
        self.feeds_with(|feeds| _ = feeds.insert(name.clone(), Place::Waiting(feed)));
        sleep(wait).await;
        let ended = self.feeds_with(|feeds| match feeds.get(&name) {
            // Not one that has come back and gone again meanwhile.
            Some(Place::Waiting(feed)) if feed.id() == id => feeds.remove(&name),
            _ => None,
        });
        let Some(Place::Waiting(mut feed)) = ended else {
            return;
        };
        let Some(stream) = feed.end() else {
            return;
        };
        tracing::info!(stream = name, "the stream has ended");
        sleep(wait).await;
        self.streams.hide(&stream);
    }

    fn feeds_with<T>(&self, with: impl FnOnce(&mut HashMap<String, Place>) -> T) -> T {
        with(&mut self.feeds.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
