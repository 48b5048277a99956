//! An item of the array that `POST /api/v2/alerts` takes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Page, filled, rfc3339};

/// `postableAlert` of Alertmanager's OpenAPI document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'a str, &'a str>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'a str,
}

impl<'a> Alert<'a> {
    /// A page as sent now with this end, in milliseconds since the Unix epoch: Alertmanager takes
    /// an alert whose end has passed for resolved.
    pub fn new(page: &'a Page, ends_at_ms: i64) -> Self {
        Self {
            labels: filled(&page.labels),
            annotations: filled(&page.annotations),
            starts_at: rfc3339(page.starts_at_ms),
            // It refuses an alert that ends before it starts.
            ends_at: rfc3339(ends_at_ms.max(page.starts_at_ms)),
            generator_url: &page.generator_url,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Status, tests::page};
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_api() {
        let page = page("Stall", "web", Status::Firing);
        let json = serde_json::to_value(Alert::new(&page, 2_000_000)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "labels": {"alertname": "Stall", "service": "web"},
                "annotations": {"summary": "it stalls"},
                "startsAt": "1970-01-01T00:16:40.000Z",
                "endsAt": "1970-01-01T00:33:20.000Z",
                "generatorURL": "http://node/graph?g0.expr=up",
            })
        );
    }

    #[test]
    fn an_alert_never_ends_before_it_starts() {
        let page = page("Stall", "web", Status::Resolved);
        let json = serde_json::to_value(Alert::new(&page, 5)).unwrap();
        assert_eq!(json["endsAt"], json["startsAt"]);
    }
}
