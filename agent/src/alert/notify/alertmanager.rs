//! One Alertmanager: `POST /api/v2/alerts`.

use std::time::SystemTime;

use super::credential::Credential;
use super::verdict::Verdict;
use crate::alert::page::Page;
use crate::alert::page::alertmanager::Alert;
use crate::client::post::Poster;

/// One peer; each has its own queue, since peers do not pass alerts on to one another.
pub(super) struct Alertmanager {
    pub(super) poster: Poster,
    pub(super) credential: Credential,
}

impl Alertmanager {
    /// One try; also what is wrong with the credentials. With `now_ms`, a page that fires stands
    /// from then on as long as it did when it was said: what comes late would be taken for
    /// resolved otherwise. Alertmanager keeps the good alerts of a batch that it answers 400.
    pub(super) async fn send(
        &mut self,
        pages: &[Page],
        now_ms: Option<i64>,
    ) -> (Verdict, Option<String>) {
        let ends_at = |page: &Page| match now_ms {
            Some(now) if page.is_firing() => {
                page.ends_at_ms.max(now.saturating_add(page.stands_ms()))
            }
            _ => page.ends_at_ms,
        };
        let alerts = pages.iter().map(|page| Alert::new(page, ends_at(page)));
        let body = serde_json::to_vec(&alerts.collect::<Vec<_>>())
            .expect("maps with text keys can be written as JSON");
        let (headers, why) = self.credential.headers();
        let answer = self.poster.post(headers, body.into()).await;
        (Verdict::of(answer, SystemTime::now()), why)
    }
}
