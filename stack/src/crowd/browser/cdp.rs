//! The Chrome DevTools Protocol, as much as driving a player takes: calls with answers, and events
//! by target. JSON over one WebSocket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message as Frame;

/// Longest wait for the answer to a call.
const ANSWER: Duration = Duration::from_secs(30);
/// Calls that may wait to be sent.
const CALLS: usize = 256;

/// An attached page, by Chromium's name for the attachment.
pub(super) type Target = Arc<str>;

/// The connection.
pub(super) struct Cdp {
    calls: mpsc::Sender<String>,
    next: AtomicU64,
    routes: Arc<Routes>,
}

#[derive(Default)]
struct Routes {
    answers: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
    events: Mutex<HashMap<Target, mpsc::Sender<Message>>>,
}

/// An answer or an event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    id: Option<u64>,
    #[serde(rename = "sessionId")]
    target: Option<String>,
    /// Of an event.
    pub(super) method: String,
    /// Of an event.
    pub(super) params: Value,
    result: Value,
    error: Option<Value>,
}

impl Cdp {
    pub(super) async fn connect(address: &str) -> Result<Self> {
        let (socket, _) = tokio_tungstenite::connect_async(address)
            .await
            .with_context(|| format!("cannot drive Chromium at {address}"))?;
        let (mut to, mut from) = socket.split();
        let (calls, mut waiting) = mpsc::channel::<String>(CALLS);
        let routes = Arc::new(Routes::default());
        let route = Arc::clone(&routes);
        tokio::spawn(async move {
            while let Some(call) = waiting.recv().await {
                if to.send(Frame::text(call)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some(Ok(frame)) = from.next().await {
                if let Frame::Text(text) = frame
                    && let Ok(message) = serde_json::from_str(&text)
                {
                    route.pass_on(message);
                }
            }
            route.close();
        });
        Ok(Self {
            calls,
            next: AtomicU64::new(1),
            routes,
        })
    }

    /// Calls a method, of the browser or of a page, and returns its result.
    pub(super) async fn call(
        &self,
        target: Option<&Target>,
        method: &str,
        params: Value,
    ) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.routes
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, answer);
        let mut call = json!({ "id": id, "method": method, "params": params });
        if let Some(target) = target {
            call["sessionId"] = Value::from(&**target);
        }
        self.calls
            .send(call.to_string())
            .await
            .with_context(|| format!("Chromium is gone, calling {method}"))?;
        let answer = tokio::time::timeout(ANSWER, answered).await;
        self.routes
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        let message = answer
            .with_context(|| {
                format!(
                    "Chromium did not answer {method} within {} s",
                    ANSWER.as_secs()
                )
            })?
            .with_context(|| format!("Chromium is gone, calling {method}"))?;
        if let Some(error) = message.error {
            bail!("Chromium refused {method}: {error}");
        }
        Ok(message.result)
    }

    /// Events of a page go there from now on; what finds it full is dropped.
    pub(super) fn listen(&self, target: &Target, events: mpsc::Sender<Message>) {
        self.routes
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(Arc::clone(target), events);
    }
}

impl Routes {
    fn pass_on(&self, message: Message) {
        if let Some(id) = message.id {
            let waiting = self
                .answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&id);
            if let Some(waiting) = waiting {
                // Who gave up waiting needs no answer.
                let _unwanted = waiting.send(message);
            }
        } else if let Some(target) = &message.target {
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            if message.method == "Inspector.targetCrashed" || message.method == "Inspector.detached"
            {
                events.remove(target.as_str());
            } else if let Some(listener) = events.get(target.as_str()) {
                let _full = listener.try_send(message);
            }
        }
    }

    /// Nobody will be answered any more.
    fn close(&self) {
        self.answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
