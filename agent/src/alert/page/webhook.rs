//! The webhook payload of Alertmanager, version 4, which commands get too.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Page, Status, filled, rfc3339};

/// Alertmanager prints Go's zero time for an end that is not known yet.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// All pages of one delivery. Pages that go together have the same `alertname`, which is what they
/// are grouped by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload<'a> {
    version: &'static str,
    group_key: String,
    /// None is ever left out: what does not fit comes in the next delivery.
    truncated_alerts: u64,
    status: Status,
    receiver: &'a str,
    group_labels: BTreeMap<&'a str, &'a str>,
    common_labels: BTreeMap<&'a str, &'a str>,
    common_annotations: BTreeMap<&'a str, &'a str>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    alerts: Vec<Alert<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert<'a> {
    status: Status,
    labels: BTreeMap<&'a str, &'a str>,
    annotations: BTreeMap<&'a str, &'a str>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

impl<'a> Payload<'a> {
    /// What `receiver` gets. The delivery is firing if one of its alerts is.
    pub fn new(receiver: &'a str, external_url: &'a str, pages: &'a [Page]) -> Self {
        let name = pages.first().map_or("", Page::name);
        let alerts: Vec<_> = pages.iter().map(Alert::new).collect();
        let is_firing = pages.iter().any(Page::is_firing);
        Self {
            version: "4",
            group_key: format!("{{}}:{{alertname={name:?}}}"),
            truncated_alerts: 0,
            status: if is_firing {
                Status::Firing
            } else {
                Status::Resolved
            },
            receiver,
            group_labels: BTreeMap::from([("alertname", name)]),
            common_labels: common(alerts.iter().map(|alert| &alert.labels)),
            common_annotations: common(alerts.iter().map(|alert| &alert.annotations)),
            external_url,
            alerts,
        }
    }
}

impl<'a> Alert<'a> {
    fn new(page: &'a Page) -> Self {
        Self {
            status: page.status,
            labels: filled(&page.labels),
            annotations: filled(&page.annotations),
            starts_at: rfc3339(page.starts_at_ms),
            ends_at: match page.status {
                Status::Firing => NO_TIME.to_owned(),
                Status::Resolved => rfc3339(page.ends_at_ms),
            },
            generator_url: &page.generator_url,
            fingerprint: page.fingerprint().to_string(),
        }
    }
}

/// The pairs that all have.
fn common<'a, 'b>(
    mut all: impl Iterator<Item = &'b BTreeMap<&'a str, &'a str>>,
) -> BTreeMap<&'a str, &'a str>
where
    'a: 'b,
{
    let mut common = all.next().cloned().unwrap_or_default();
    for other in all {
        common.retain(|name, value| other.get(name) == Some(value));
    }
    common
}

#[cfg(test)]
mod tests {
    use super::super::tests::page;
    use super::*;

    #[test]
    fn the_payload_is_version_4() {
        let pages = [
            page("Stall", "web", Status::Firing),
            page("Stall", "db", Status::Resolved),
        ];
        let json = serde_json::to_value(Payload::new("ops", "http://node", &pages)).unwrap();
        assert_eq!(json["version"], "4");
        assert_eq!(json["status"], "firing");
        assert_eq!(json["receiver"], "ops");
        assert_eq!(json["groupKey"], "{}:{alertname=\"Stall\"}");
        assert_eq!(
            json["groupLabels"],
            serde_json::json!({"alertname": "Stall"})
        );
        assert_eq!(
            json["commonLabels"],
            serde_json::json!({"alertname": "Stall"})
        );
        assert_eq!(
            json["commonAnnotations"],
            serde_json::json!({"summary": "it stalls"})
        );
        assert_eq!(json["truncatedAlerts"], 0);
        assert_eq!(json["externalURL"], "http://node");
        let alerts = json["alerts"].as_array().unwrap();
        assert_eq!(alerts[0]["endsAt"], NO_TIME);
        assert_eq!(alerts[1]["endsAt"], "1970-01-01T00:20:40.000Z");
        assert_eq!(alerts[1]["status"], "resolved");
        assert_eq!(alerts[0]["fingerprint"], pages[0].fingerprint().to_string());
    }

    #[test]
    fn a_delivery_without_a_firing_alert_is_resolved() {
        let pages = [page("Stall", "web", Status::Resolved)];
        let json = serde_json::to_value(Payload::new("ops", "", &pages)).unwrap();
        assert_eq!(json["status"], "resolved");
    }
}
