//! The endpoint that Prometheus scrapes: `/metrics` in three formats, `/healthz`, `/readyz`.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

mod answer;
mod config;
mod encoder;
mod negotiation;
mod protobuf;
#[cfg(test)]
mod tests;
mod text;

pub use config::Prometheus;
pub use encoder::Encoder;
pub use negotiation::Format;
pub(crate) use text::bound;

use super::http::auth::Auth;
use super::http::{self, tls};
use crate::metrics::{ExportCounts, Source};
use crate::seldom::Seldom;
use answer::Answer;

/// Whether the agent can give true numbers yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It can.
    Yes,
    /// It cannot, for this reason.
    No(String),
}

/// The endpoint, with its port open and its secrets read, not yet serving.
pub struct Server {
    listener: TcpListener,
    tls: Option<tls::Acceptor>,
    auth: Auth,
    limits: http::Limits,
    max_scrapes: usize,
    /// What else is served, for those who may come in.
    more: Option<Router>,
}

impl Prometheus {
    /// Checks everything that can be checked without the port: numbers and files.
    ///
    /// # Errors
    /// One line that begins with the key to change.
    pub fn check(&self) -> anyhow::Result<()> {
        open(self).map(drop)
    }
}

impl Server {
    /// Opens the port and reads certificate and secrets, so that all that can be wrong with the
    /// configuration shows at start.
    ///
    /// # Errors
    /// One line that names the key of `[prometheus]` to change.
    pub fn bind(config: &Prometheus) -> anyhow::Result<Self> {
        let (auth, tls) = open(config)?;
        let listener = http::listen(config.listen)
            .map_err(|error| anyhow::anyhow!("{error}; set [prometheus] listen"))?;
        if !auth.is_open() && tls.is_none() && !config.listen.ip().is_loopback() {
            tracing::warn!(
                "[prometheus] credentials travel unencrypted; set cert_file and key_file"
            );
        }
        Ok(Self {
            listener,
            tls,
            auth,
            limits: http::Limits {
                connections: config.max_connections,
                header: Duration::from_secs(config.header_timeout_seconds.into()),
                write: Duration::from_secs(config.answer_timeout_seconds.into()),
            },
            max_scrapes: config.max_scrapes,
            more: None,
        })
    }

    /// Serves these routes, too, behind the same credentials and limits of connections and time.
    /// A router without routes is refused by a panic of axum's.
    #[must_use]
    pub fn mount(mut self, more: Router) -> Self {
        self.more = Some(more);
        self
    }

    /// Where it listens; tells the port if the configuration said 0.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop`, then ends answers under way within two seconds.
    ///
    /// # Errors
    /// If the runtime cannot use the listener; failures of single connections do not end it.
    pub async fn serve(
        self,
        source: Arc<dyn Source>,
        counts: Arc<ExportCounts>,
        ready: watch::Receiver<Ready>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let state = Arc::new(Endpoint {
            source,
            counts,
            ready,
            auth: self.auth,
            scrapes: Arc::new(Semaphore::new(self.max_scrapes)),
            answer_timeout: self.limits.write,
            refusals: Seldom::default(),
        });
        let more = self.more.map(|more| {
            more.route_layer(middleware::from_fn_with_state(Arc::clone(&state), guard))
        });
        let router = Router::new()
            .route("/", get(index))
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(readyz))
            .fallback(|| async {
                (
                    StatusCode::NOT_FOUND,
                    "nothing here; metrics are at /metrics\n",
                )
            })
            .with_state(state)
            .merge(more.unwrap_or_default());
        http::serve(self.listener, self.tls, self.limits, router, stop)
            .await
            .context("[prometheus] endpoint")
    }
}

/// Reads certificate and secrets, and checks the numbers.
fn open(config: &Prometheus) -> anyhow::Result<(Auth, Option<tls::Acceptor>)> {
    let auth = Auth::open(
        &config.username,
        &config.password_file,
        &config.bearer_token_file,
    )
    .context("prometheus.username, password_file, bearer_token_file")?;
    let (cert, key) = (&config.cert_file, &config.key_file);
    let tls = match (cert.as_os_str().is_empty(), key.as_os_str().is_empty()) {
        (true, true) => None,
        (false, false) => {
            Some(tls::Acceptor::open(cert, key).context("prometheus.cert_file, key_file")?)
        }
        _ => anyhow::bail!("prometheus.cert_file and key_file go together: set both or neither"),
    };
    for (name, value) in [
        ("max_connections", config.max_connections),
        ("max_scrapes", config.max_scrapes),
        (
            "header_timeout_seconds",
            config.header_timeout_seconds as usize,
        ),
        (
            "answer_timeout_seconds",
            config.answer_timeout_seconds as usize,
        ),
    ] {
        ensure!(
            (1..=65_536).contains(&value),
            "prometheus.{name}: must be 1 to 65536"
        );
    }
    Ok((auth, tls))
}

/// What the handlers share.
struct Endpoint {
    source: Arc<dyn Source>,
    counts: Arc<ExportCounts>,
    ready: watch::Receiver<Ready>,
    auth: Auth,
    scrapes: Arc<Semaphore>,
    answer_timeout: Duration,
    refusals: Seldom,
}

impl Endpoint {
    /// An answer for those who may not come in.
    fn turn_away(&self, headers: &HeaderMap) -> Option<Response> {
        if self.auth.allows(headers) {
            return None;
        }
        self.refuse("no or wrong credentials");
        let challenge = [(header::WWW_AUTHENTICATE, self.auth.challenge())];
        Some((StatusCode::UNAUTHORIZED, challenge, "credentials needed\n").into_response())
    }

    fn refuse(&self, why: &str) {
        ExportCounts::add(&self.counts.scrapes_refused, 1);
        self.refusals
            .run(|| tracing::warn!("refused a scrape: {why}"));
    }
}

async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><title>Weir</title><h1>Weir</h1><ul>\
         <li><a href=\"/metrics\">/metrics</a>: for Prometheus\
         <li><a href=\"/healthz\">/healthz</a>: 200 while the agent is alive\
         <li><a href=\"/readyz\">/readyz</a>: 200 once its probes are attached</ul>\n",
    )
}

async fn readyz(State(endpoint): State<Arc<Endpoint>>) -> Response {
    match &*endpoint.ready.borrow() {
        Ready::Yes => "ready\n".into_response(),
        Ready::No(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        )
            .into_response(),
    }
}

/// Before whatever is mounted: credentials, and a bound on a request that comes in drop by drop.
async fn guard(State(endpoint): State<Arc<Endpoint>>, request: Request, next: Next) -> Response {
    if let Some(refusal) = endpoint.turn_away(request.headers()) {
        return refusal;
    }
    let answer = next.run(request);
    match tokio::time::timeout(endpoint.answer_timeout, answer).await {
        Ok(answer) => answer,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response(),
    }
}

async fn metrics(State(endpoint): State<Arc<Endpoint>>, headers: HeaderMap) -> Response {
    if let Some(refusal) = endpoint.turn_away(&headers) {
        return refusal;
    }
    let Ok(permit) = Arc::clone(&endpoint.scrapes).try_acquire_owned() else {
        endpoint.refuse("too many at once; see [prometheus] max_scrapes");
        let retry = [(header::RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, "too many scrapes\n").into_response();
    };
    let began = Instant::now();
    let format = Format::negotiate(&headers);
    let gzip = negotiation::accepts_gzip(&headers);
    let encoder = Encoder::new(endpoint.source.snapshot(), format, gzip);
    let deadline = began + endpoint.answer_timeout;
    let answer = Answer::new(encoder, permit, Arc::clone(&endpoint.counts), deadline);
    add_time(&endpoint.counts.scrape_ns, began);
    let mut response = Response::new(Body::new(answer));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(format.content_type()),
    );
    headers.insert(
        header::VARY,
        header::HeaderValue::from_static("accept, accept-encoding"),
    );
    if gzip {
        headers.insert(
            header::CONTENT_ENCODING,
            header::HeaderValue::from_static("gzip"),
        );
    }
    response
}

fn nanoseconds_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Adds the time since `began`.
fn add_time(count: &AtomicU64, began: Instant) {
    ExportCounts::add(count, nanoseconds_since(began));
}
