//! The routes: rooms over WebSocket, publishing and history over plain HTTP, health and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::batch;
use super::connection::{self, Visit};
use super::hub::{Hub, NoRoom};
use super::protocol::{ClientMessage, Refusal, Refused, Tally, is_name};
use super::room::Room;
use crate::daemon;

/// Messages in one POST.
const POSTED: usize = 256;
/// For the body of a POST.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Items in one page of history.
const PAGE: usize = 1000;
/// Between the answer to an upgrade and the stream.
const UPGRADE_WITHIN: Duration = Duration::from_secs(10);

/// All routes.
pub(crate) fn router(hub: Arc<Hub>, table: daemon::Table) -> Router {
    let health = hub.shared.metrics.health.clone();
    Router::new()
        .route("/rooms/{room}", get(history).post(post))
        .route("/rooms/{room}/tally", get(sums))
        .route("/rooms/{room}/ws", get(upgrade))
        .route_layer(from_fn(check_name))
        .with_state(hub)
        .merge(daemon::router(table, health))
        .layer(from_fn(daemon::trace))
}

/// Lets only rooms through that may be called so.
async fn check_name(Path(name): Path<String>, request: Request, next: Next) -> Response {
    if !is_name(&name) {
        return text(
            StatusCode::NOT_FOUND,
            "a room is called 1 to 64 of A-Z a-z 0-9 _ -\n".into(),
        );
    }
    next.run(request).await
}

async fn sums(State(hub): State<Arc<Hub>>, Path(name): Path<String>) -> Response {
    match hub.room(&name).await {
        Ok(room) => json(
            StatusCode::OK,
            &TallyOnly {
                tally: room.tally(),
            },
        ),
        Err(error) => unavailable(&error),
    }
}

/// Holds one of the places for WebSockets.
struct Place(Arc<Hub>);

impl Place {
    fn take(hub: &Arc<Hub>) -> Option<Self> {
        let most = hub.shared.config.max_connections;
        let taken = |count: &AtomicUsize| {
            count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < most).then_some(n + 1)
            })
        };
        taken(&hub.upgraded).ok().map(|_| Self(Arc::clone(hub)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.upgraded.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn upgrade(
    State(hub): State<Arc<Hub>>,
    Path(name): Path<String>,
    mut request: Request,
) -> Response {
    let metrics = &hub.shared.metrics;
    let visit = match visit(request.uri().query()) {
        Ok(visit) => visit,
        Err(why) => {
            metrics.not_accept("handshake");
            return text(StatusCode::BAD_REQUEST, why.into());
        }
    };
    let response = match create_response_with_body(&request, Body::empty) {
        Ok(response) => response,
        Err(error) => {
            metrics.not_accept("handshake");
            return text(
                StatusCode::BAD_REQUEST,
                format!("not a WebSocket handshake: {error}\n"),
            );
        }
    };
    let Some(place) = Place::take(&hub) else {
        metrics.not_accept("full");
        let mut refusal = text(
            StatusCode::SERVICE_UNAVAILABLE,
            "no more connections\n".into(),
        );
        // Kept alive it would hold a place that the next one waits for.
        let close = HeaderValue::from_static("close");
        refusal.headers_mut().insert(CONNECTION, close);
        return refusal;
    };
    let room = match hub.room(&name).await {
        Ok(room) => room,
        Err(error) => {
            metrics.not_accept("no_room");
            return unavailable(&error);
        }
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let parts = match tokio::time::timeout(UPGRADE_WITHIN, upgraded).await {
            Ok(Ok(upgraded)) => upgraded.downcast::<TokioIo<TcpStream>>().ok(),
            _ => None,
        };
        match parts {
            Some(parts) => {
                // The buffers of the handshake are gone; what stays is the task of the reader.
                let early = Vec::from(parts.read_buf);
                tokio::spawn(hold(place, room, parts.io.into_inner(), early, visit));
            }
            None => place.0.shared.metrics.not_accept("upgrade"),
        }
    });
    response
}

async fn hold(place: Place, room: Arc<Room>, stream: TcpStream, early: Vec<u8>, visit: Visit) {
    connection::serve(Arc::clone(&place.0.shared), room, stream, early, visit).await;
}

fn visit(query: Option<&str>) -> Result<Visit, &'static str> {
    let (mut user, mut from) = ("guest", None);
    for (key, value) in pairs(query) {
        match key {
            "user" if is_name(value) => user = value,
            "user" => return Err("user is 1 to 64 of A-Z a-z 0-9 _ -\n"),
            "from" => {
                from = Some(
                    value
                        .parse()
                        .map_err(|_| "from is a revision, a number\n")?,
                )
            }
            _ => {}
        }
    }
    Ok(Visit {
        user: user.into(),
        from,
    })
}

/// The pairs of a query; what needs percent-encoding is not valid here anyway.
fn pairs(query: Option<&str>) -> impl Iterator<Item = (&str, &str)> {
    query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
}

async fn history(
    State(hub): State<Arc<Hub>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let (mut from, mut limit) = (0, PAGE);
    for (key, value) in pairs(query.as_deref()) {
        match (key, value.parse::<u64>()) {
            ("from", Ok(value)) => from = value,
            ("limit", Ok(value)) => limit = PAGE.min(value as usize),
            ("from" | "limit", Err(_)) => {
                return text(
                    StatusCode::BAD_REQUEST,
                    "from and limit are numbers\n".into(),
                );
            }
            _ => {}
        }
    }
    let room = match hub.room(&name).await {
        Ok(room) => room,
        Err(error) => return unavailable(&error),
    };
    match room.read(from, limit).await {
        Ok(mut items) => {
            // Up to the first gap, so that the client's arithmetic holds.
            let run = items
                .chunk_by(|(one, _), (next, _)| one + 1 == *next)
                .next()
                .map_or(0, <[_]>::len);
            items.truncate(run);
            let rev = items.last().map_or(from, |(rev, _)| *rev);
            let items: Vec<&Bytes> = items.iter().map(|(_, item)| item).collect();
            respond(StatusCode::OK, "application/json", batch::page(rev, &items))
        }
        Err(error) => {
            super::hub::report_failure(&hub.shared.metrics, hub.shared.started, "read", &error);
            text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("the log cannot be read: {error:#}\n"),
            )
        }
    }
}

#[derive(Serialize)]
struct TallyOnly {
    tally: Tally,
}

#[derive(Serialize)]
struct Posted<'a> {
    taken: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    err: Option<Refused<'a>>,
}

async fn post(State(hub): State<Arc<Hub>>, Path(name): Path<String>, request: Request) -> Response {
    let user = match visit(request.uri().query()) {
        Ok(visit) => visit.user,
        Err(why) => return text(StatusCode::BAD_REQUEST, why.into()),
    };
    let limit = hub.shared.config.message_bytes as usize * POSTED;
    let body = match tokio::time::timeout(
        BODY_WITHIN,
        Limited::new(request.into_body(), limit).collect(),
    )
    .await
    {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            hub.shared.metrics.refuse(Refusal::Malformed);
            return text(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body is cut short or above {limit} bytes\n"),
            );
        }
        Err(_) => {
            return text(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not come in time\n".into(),
            );
        }
    };
    let room = match hub.room(&name).await {
        Ok(room) => room,
        Err(error) => return unavailable(&error),
    };
    let many = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    let messages = if many {
        serde_json::from_slice(&body)
    } else {
        serde_json::from_slice(&body).map(|one: ClientMessage<'_>| vec![one])
    };
    let Ok(messages) = messages else {
        hub.shared.metrics.refuse(Refusal::Malformed);
        return json(
            StatusCode::BAD_REQUEST,
            &Posted {
                taken: 0,
                err: Some(Refused {
                    code: Refusal::Malformed,
                    id: None,
                }),
            },
        );
    };
    publish(&room, &user, messages)
}

/// Publishes until one is refused.
fn publish(room: &Arc<Room>, user: &str, messages: Vec<ClientMessage<'_>>) -> Response {
    let mut taken = 0;
    for message in messages.into_iter().take(POSTED) {
        if let Err(refused) = room.publish(user, message) {
            let status = match refused.code {
                Refusal::RateLimited | Refusal::RoomRateLimited => StatusCode::TOO_MANY_REQUESTS,
                Refusal::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
                Refusal::Malformed
                | Refusal::BadField
                | Refusal::TooManyKinds
                | Refusal::Personal => StatusCode::BAD_REQUEST,
            };
            let err = Some(refused);
            return json(status, &Posted { taken, err });
        }
        taken += 1;
    }
    json(StatusCode::OK, &Posted { taken, err: None })
}

fn unavailable(error: &NoRoom) -> Response {
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

fn text(status: StatusCode, body: String) -> Response {
    respond(status, "text/plain; charset=utf-8", body.into())
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Strings, numbers and maps with string keys always serialize.
    respond(
        status,
        "application/json",
        serde_json::to_vec(body).unwrap_or_default(),
    )
}

fn respond(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
