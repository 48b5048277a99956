use std::collections::BTreeMap;
use std::sync::Barrier;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value as Json, json};

use super::*;
use crate::alert::page::Pairs;

/// Knows two series, and tells back what it was asked.
#[derive(Default)]
struct Known {
    /// Whoever asks for `held` waits at it.
    gate: Option<Arc<Barrier>>,
}

fn pairs(list: &[(&str, &str)]) -> Pairs {
    let owned = list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    owned.collect()
}

impl Engine for Known {
    fn instant(&self, query: Query<'_>, at_ms: i64) -> Result<Answer, Failure> {
        match query.text {
            "held" => drop(self.gate.as_ref().unwrap().wait()),
            "panic" => panic!("asked for"),
            "large" => {
                let text = "x".repeat(20 << 20);
                let value = Value::String(at_ms, text);
                return Ok(Answer {
                    value,
                    ..Answer::default()
                });
            }
            "(" => {
                return Err(Failure::bad_data(
                    "invalid parameter \"query\": 1:2: parse error",
                ));
            }
            _ => {}
        }
        Ok(Answer {
            value: Value::String(at_ms, format!("{} {:?}", query.text, query.lookback_ms)),
            warnings: vec!["records were lost".to_owned()],
            infos: Vec::new(),
        })
    }

    fn range(&self, query: Query<'_>, span: Span) -> Result<Answer, Failure> {
        let number = Number::Float(1.0);
        let labels = pairs(&[("asked", query.text)]);
        let points = (span.start_ms..=span.end_ms)
            .step_by(usize::try_from(span.step_ms).unwrap())
            .map(|at_ms| Point {
                at_ms,
                number: number.clone(),
            });
        let points = points.collect();
        let value = Value::Matrix(vec![Series { labels, points }]);
        Ok(Answer {
            value,
            ..Answer::default()
        })
    }

    fn series(
        &self,
        selectors: &[String],
        _: (i64, i64),
        limit: usize,
    ) -> Result<Vec<Pairs>, Failure> {
        let all = [
            pairs(&[("__name__", "up"), ("service", "web")]),
            pairs(&[("__name__", "down"), ("service", "db")]),
        ];
        let wanted = all
            .into_iter()
            .filter(|series| selectors.is_empty() || selectors.contains(&series["__name__"]));
        let most = if limit == 0 { usize::MAX } else { limit };
        Ok(wanted.take(most).collect())
    }

    fn metadata(&self) -> BTreeMap<String, Vec<Metadata>> {
        let metadata = || Metadata {
            kind: "gauge".to_owned(),
            help: "Whether it runs.".to_owned(),
            unit: String::new(),
        };
        let names = ["down", "up"].map(|name| (name.to_owned(), vec![metadata()]));
        BTreeMap::from(names)
    }

    fn groups(&self) -> Vec<Group> {
        let rule = |name: &str, kind| Rule {
            name: name.to_owned(),
            query: "up == 0".to_owned(),
            labels: Pairs::new(),
            health: Health::Ok,
            last_error: String::new(),
            evaluation_time: 0.001,
            last_evaluation: 1_500,
            kind,
        };
        let alert = ActiveAlert {
            labels: pairs(&[("alertname", "Down")]),
            annotations: Pairs::new(),
            state: AlertState::Firing,
            active_at: 1_000,
            keep_firing_since: None,
            value: 1.0,
        };
        let alerting = RuleKind::Alerting {
            state: AlertState::Firing,
            duration: 60.0,
            keep_firing_for: 0.0,
            annotations: pairs(&[("summary", "{{ $value }}")]),
            alerts: vec![alert],
        };
        vec![Group {
            name: "g".to_owned(),
            file: "rules.yaml".to_owned(),
            rules: vec![
                rule("Down", alerting),
                rule("job:up", RuleKind::Recording {}),
            ],
            interval: 15.0,
            limit: 0,
            evaluation_time: 0.002,
            last_evaluation: 1_500,
        }]
    }
}

fn gated(queries: usize, gate: Option<Arc<Barrier>>) -> Router {
    let timeout = Duration::from_secs(60);
    router(Arc::new(Known { gate }), Limits { queries, timeout })
}

fn known(queries: usize) -> Router {
    gated(queries, None)
}

async fn send(router: &Router, method: Method, target: &str, form: &str) -> (u16, Json) {
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .unwrap();
    let service = TowerToHyperService::new(router.clone());
    let answer = service.call(request).await.unwrap();
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let json = serde_json::from_slice(&body).unwrap_or(Json::Null);
    (status.as_u16(), json)
}

async fn ask(target: &str) -> (u16, Json) {
    send(&known(4), Method::GET, target, "").await
}

#[tokio::test]
async fn a_query_is_asked_by_address_or_form() {
    let expected = json!({
        "status": "success",
        "data": {"resultType": "string", "result": [1.5, "up + 1 Some(60000)"]},
        "warnings": ["records were lost"],
    });
    let target = "/api/v1/query?query=up%20%2B%201&time=1.5&lookback_delta=1m";
    assert_eq!(ask(target).await, (200, expected.clone()));
    let form = "query=up+%2B+1&time=1970-01-01T00:00:01.5Z&lookback_delta=60";
    let posted = send(&known(4), Method::POST, "/api/v1/query?query=other", form).await;
    assert_eq!(posted, (200, expected));
}

#[tokio::test]
async fn a_range_has_every_step() {
    let (status, json) = ask("/api/v1/query_range?query=up&start=1&end=3&step=1").await;
    assert_eq!(status, 200);
    assert_eq!(
        json["data"],
        json!({"resultType": "matrix", "result": [
            {"metric": {"asked": "up"}, "values": [[1, "1"], [2, "1"], [3, "1"]]}
        ]})
    );
}

#[tokio::test]
async fn what_is_wrong_is_told_in_prometheus_words() {
    for (target, status, kind, words) in [
        ("query?query=(", 400, "bad_data", "parse error"),
        (
            "query?query=up&time=x",
            400,
            "bad_data",
            "invalid parameter \"time\": cannot parse \"x\" to a valid timestamp",
        ),
        (
            "query?query=up&timeout=x",
            400,
            "bad_data",
            "invalid parameter \"timeout\"",
        ),
        (
            "query_range?query=up&start=1&end=2",
            400,
            "bad_data",
            "invalid parameter \"step\": cannot parse \"\"",
        ),
        (
            "query_range?query=up&start=2&end=1&step=1",
            400,
            "bad_data",
            "end timestamp must not be before start time",
        ),
        (
            "query_range?query=up&start=1&end=2&step=0",
            400,
            "bad_data",
            "zero or negative query resolution",
        ),
        (
            "query_range?query=up&start=0&end=11001&step=1",
            400,
            "bad_data",
            "11,000 points",
        ),
        (
            "query_range?query=up&start=-9000000000000&end=9000000000000&step=0.001",
            400,
            "bad_data",
            "11,000 points",
        ),
        ("series", 400, "bad_data", "no match[]"),
        (
            "labels?limit=-1",
            400,
            "bad_data",
            "limit must be non-negative",
        ),
        (
            "rules?type=x",
            400,
            "bad_data",
            "invalid parameter \"type\"",
        ),
        ("query?query=large", 422, "execution", "larger than"),
        ("query?query=panic", 500, "internal", "broke off"),
    ] {
        let (told, json) = ask(&format!("/api/v1/{target}")).await;
        assert_eq!(told, status, "{target}: {json}");
        assert_eq!(json["status"], "error", "{target}");
        assert_eq!(json["errorType"], kind, "{target}");
        assert!(
            json["error"].as_str().unwrap().contains(words),
            "{target}: {json}"
        );
    }
}

#[tokio::test]
async fn too_many_queries_and_too_long_ones_are_refused() {
    let gate = Arc::new(Barrier::new(2));
    let router = gated(1, Some(gate.clone()));
    let held = "/api/v1/query?query=held&timeout=1ms";
    let (status, json) = send(&router, Method::GET, held, "").await;
    assert_eq!((status, &json["errorType"]), (503, &json!("timeout")));
    assert_eq!(json["error"], "query timed out after 1ms");
    // Its client has gone, but it still runs.
    let (status, json) = send(&router, Method::GET, "/api/v1/query?query=up", "").await;
    assert_eq!((status, &json["errorType"]), (503, &json!("unavailable")));
    tokio::task::spawn_blocking(move || gate.wait())
        .await
        .unwrap();
    let long = format!("query={}", "x".repeat(MAX_REQUEST));
    let (status, _) = send(&known(1), Method::POST, "/api/v1/query", &long).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE.as_u16());
    assert_eq!(ask("/api/v1/nothing").await.0, 404);
}

#[tokio::test]
async fn grafana_finds_metrics_and_labels() {
    for (target, data) in [
        ("labels", json!(["__name__", "service"])),
        ("label/service/values", json!(["db", "web"])),
        ("label/service/values?match[]=up", json!(["web"])),
        ("label/__name__/values?limit=1", json!(["down"])),
        ("label/none/values", json!([])),
        (
            "series?match%5B%5D=up",
            json!([{"__name__": "up", "service": "web"}]),
        ),
        (
            "metadata?metric=up",
            json!({"up": [{"type": "gauge", "help": "Whether it runs.", "unit": ""}]}),
        ),
        ("query_exemplars?query=up", json!([])),
    ] {
        let (status, json) = ask(&format!("/api/v1/{target}")).await;
        assert_eq!((status, &json["data"]), (200, &data), "{target}");
    }
    let (_, limited) = ask("/api/v1/metadata?limit=1").await;
    assert_eq!(limited["data"].as_object().unwrap().len(), 1);
    let (_, build) = ask("/api/v1/status/buildinfo").await;
    assert_eq!(build["data"]["application"], "weir");
}

#[tokio::test]
async fn rules_and_alerts_are_told_as_prometheus_does() {
    let alert = json!({
        "labels": {"alertname": "Down"}, "annotations": {}, "state": "firing",
        "activeAt": "1970-01-01T00:00:01.000Z", "value": "1e+00",
    });
    let (_, rules) = ask("/api/v1/rules?type=alert").await;
    assert_eq!(
        rules["data"],
        json!({"groups": [{
            "name": "g", "file": "rules.yaml", "interval": 15.0, "limit": 0,
            "evaluationTime": 0.002, "lastEvaluation": "1970-01-01T00:00:01.500Z",
            "rules": [{
                "type": "alerting", "name": "Down", "query": "up == 0", "labels": {},
                "annotations": {"summary": "{{ $value }}"}, "duration": 60.0, "keepFiringFor": 0.0,
                "health": "ok", "evaluationTime": 0.001,
                "lastEvaluation": "1970-01-01T00:00:01.500Z", "state": "firing",
                "alerts": [alert],
            }],
        }]})
    );
    let (_, recorded) = ask("/api/v1/rules?type=record&rule_group[]=g").await;
    assert_eq!(
        recorded["data"]["groups"][0]["rules"][0]["type"],
        "recording"
    );
    let (_, none) = ask("/api/v1/rules?rule_name[]=other").await;
    assert_eq!(none["data"], json!({"groups": []}));
    let (_, bare) = ask("/api/v1/rules?exclude_alerts=true&file[]=rules.yaml").await;
    assert_eq!(bare["data"]["groups"][0]["rules"][0]["alerts"], json!([]));
    let (_, alerts) = ask("/api/v1/alerts").await;
    assert_eq!(alerts["data"], json!({"alerts": [alert]}));
}
