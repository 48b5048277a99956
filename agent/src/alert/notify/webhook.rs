//! A webhook: the payload of Alertmanager, version 4, for each `alertname`.

use std::time::SystemTime;

use super::credential::Credential;
use super::verdict::Verdict;
use crate::alert::page::Page;
use crate::alert::page::webhook::Payload;
use crate::client::post::Poster;

pub(super) struct Webhook {
    pub(super) receiver: String,
    pub(super) external_url: String,
    pub(super) poster: Poster,
    pub(super) credential: Credential,
}

impl Webhook {
    /// One try; also what is wrong with the credentials.
    pub(super) async fn send(&mut self, pages: &[Page]) -> (Verdict, Option<String>) {
        let payload = Payload::new(&self.receiver, &self.external_url, pages);
        let body =
            serde_json::to_vec(&payload).expect("maps with text keys can be written as JSON");
        let (headers, why) = self.credential.headers();
        let answer = self.poster.post(headers, body.into()).await;
        (Verdict::of(answer, SystemTime::now()), why)
    }
}
