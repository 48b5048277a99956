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

/// Who waits for what; none once Chromium is gone, so that nobody begins to wait in vain.
struct Routes(Mutex<Option<Waiting>>);

#[derive(Default)]
struct Waiting {
    answers: HashMap<u64, oneshot::Sender<Message>>,
    events: HashMap<Target, mpsc::Sender<Message>>,
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
        let routes = Arc::new(Routes(Mutex::new(Some(Waiting::default()))));
        let route = Arc::clone(&routes);
        let sending = Arc::clone(&routes);
        tokio::spawn(async move {
            while let Some(call) = waiting.recv().await {
                if to.send(Frame::text(call)).await.is_err() {
                    return sending.close();
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
            .with(|waiting| waiting.answers.insert(id, answer))
            .with_context(|| format!("Chromium is gone, calling {method}"))?;
        let mut call = json!({ "id": id, "method": method, "params": params });
        if let Some(target) = target {
            call["sessionId"] = Value::from(&**target);
        }
        self.calls
            .send(call.to_string())
            .await
            .with_context(|| format!("Chromium is gone, calling {method}"))?;
        let answer = tokio::time::timeout(ANSWER, answered).await;
        self.routes.with(|waiting| waiting.answers.remove(&id));
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

    /// Events of a page go there from now on; what finds it full is dropped. The sender is let go
    /// when the page is gone.
    pub(super) fn listen(&self, target: &Target, events: mpsc::Sender<Message>) {
        self.routes
            .with(|waiting| waiting.events.insert(Arc::clone(target), events));
    }
}

impl Routes {
    /// None once Chromium is gone.
    fn with<T>(&self, act: impl FnOnce(&mut Waiting) -> T) -> Option<T> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .map(act)
    }

    fn pass_on(&self, message: Message) {
        self.with(|waiting| waiting.pass_on(message));
    }

    /// Nobody will be answered any more.
    fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Waiting {
    fn pass_on(&mut self, message: Message) {
        if let Some(id) = message.id {
            if let Some(waiting) = self.answers.remove(&id) {
                // Who gave up waiting needs no answer.
                let _unwanted = waiting.send(message);
            }
        } else if let Some(target) = &message.target {
            let is_last = matches!(
                message.method.as_str(),
                "Inspector.targetCrashed" | "Inspector.detached"
            );
            if is_last {
                self.events.remove(target.as_str());
            } else if let Some(listener) = self.events.get(target.as_str()) {
                let _full = listener.try_send(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one call, tells one event, and is gone.
    async fn short_lived(listener: TcpListener) {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        let call = socket.next().await.unwrap().unwrap().into_text().unwrap();
        let call: Value = serde_json::from_str(&call).unwrap();
        let answer = json!({ "id": call["id"], "result": { "was": call["method"] } });
        socket.send(Frame::text(answer.to_string())).await.unwrap();
        let event = json!({ "method": "Runtime.bindingCalled", "sessionId": "page", "params": 1 });
        socket.send(Frame::text(event.to_string())).await.unwrap();
        let _second = socket.next().await;
    }

    #[tokio::test]
    async fn when_chromium_is_gone_nobody_waits() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("ws://{}", listener.local_addr().unwrap());
        let chromium = tokio::spawn(short_lived(listener));
        let cdp = Cdp::connect(&address).await.unwrap();
        let (events, mut told) = mpsc::channel(4);
        cdp.listen(&"page".into(), events);
        let answer = cdp.call(None, "Browser.getVersion", json!({})).await;
        assert_eq!(answer.unwrap()["was"], "Browser.getVersion");
        assert_eq!(told.recv().await.unwrap().params, 1);
        // Its answer never comes; far below the time allowed for one, the end of all is known.
        let gone = tokio::time::timeout(ANSWER / 2, async {
            let unanswered = cdp.call(None, "Page.enable", json!({})).await.unwrap_err();
            let next = cdp.call(None, "Page.enable", json!({})).await.unwrap_err();
            (
                unanswered.to_string(),
                next.to_string(),
                told.recv().await.is_none(),
            )
        });
        let (unanswered, next, silent) = gone.await.unwrap();
        assert!(unanswered.contains("gone") && next.contains("gone") && silent);
        chromium.await.unwrap();
    }
}
