//! One function for each path.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::Response;
use serde::Serialize;
use serde_json::json;

use super::alert::{ActiveAlert, Group, RuleKind};
use super::answer::{Failure, Kind, failure, success};
use super::argument::Arguments;
use super::engine::{Answer, Engine, Query};
use super::{Api, time};

/// The version of Prometheus whose API this is: clients choose by it what they ask for.
const PROMETHEUS: &str = "3.14.0";

type Shared = State<Arc<Api>>;

pub(super) async fn query(api: Shared, RawQuery(query): RawQuery, form: Bytes) -> Response<Body> {
    let arguments = Arguments::read(query.as_deref(), &form);
    let answer = api.ask(arguments, |engine, arguments, deadline| {
        let at_ms = arguments.time("time", now_ms())?;
        engine.instant(expression(arguments, deadline)?, at_ms)
    });
    told(answer.await)
}

pub(super) async fn query_range(
    api: Shared,
    RawQuery(query): RawQuery,
    form: Bytes,
) -> Response<Body> {
    let arguments = Arguments::read(query.as_deref(), &form);
    let answer = api.ask(arguments, |engine, arguments, deadline| {
        let span = arguments.span()?;
        engine.range(expression(arguments, deadline)?, span)
    });
    told(answer.await)
}

fn told(answer: Result<Answer, Failure>) -> Response<Body> {
    match answer {
        Ok(answer) => success(&answer.value, &answer.warnings, &answer.infos),
        Err(why) => failure(&why),
    }
}

fn expression(arguments: &Arguments, deadline: Instant) -> Result<Query<'_>, Failure> {
    let lookback_ms = arguments.duration("lookback_delta")?;
    if lookback_ms.is_some_and(|lookback| lookback <= 0) {
        return Err(Failure::parameter("lookback_delta", "must be positive"));
    }
    Ok(Query {
        text: arguments.one("query"),
        deadline,
        lookback_ms,
    })
}

pub(super) async fn series(api: Shared, RawQuery(query): RawQuery, form: Bytes) -> Response<Body> {
    let arguments = Arguments::read(query.as_deref(), &form);
    let found = api.ask(arguments, |engine, arguments, _| {
        let selectors = arguments.all("match[]");
        if selectors.is_empty() {
            return Err(Failure::bad_data("no match[] parameter provided"));
        }
        engine.series(&selectors, arguments.between()?, arguments.limit()?)
    });
    listed(found.await)
}

pub(super) async fn labels(api: Shared, RawQuery(query): RawQuery, form: Bytes) -> Response<Body> {
    let arguments = Arguments::read(query.as_deref(), &form);
    let found = api.ask(arguments, |engine, arguments, _| {
        let series = engine.series(&arguments.all("match[]"), arguments.between()?, 0)?;
        let names = series.into_iter().flat_map(|labels| labels.into_keys());
        cut(names.collect(), arguments)
    });
    listed(found.await)
}

pub(super) async fn label_values(
    api: Shared,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response<Body> {
    let arguments = Arguments::read(query.as_deref(), &[]);
    let found = api.ask(arguments, move |engine, arguments, _| {
        if name.is_empty() {
            return Err(Failure::bad_data("invalid label name: \"\""));
        }
        let series = engine.series(&arguments.all("match[]"), arguments.between()?, 0)?;
        let values = series
            .into_iter()
            .filter_map(|mut labels| labels.remove(&name));
        cut(values.collect(), arguments)
    });
    listed(found.await)
}

/// Sorted, as many as asked for.
fn cut(found: BTreeSet<String>, arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let limit = arguments.limit()?;
    let length = if limit == 0 { found.len() } else { limit };
    Ok(found.into_iter().take(length).collect())
}

fn listed<T: Serialize>(found: Result<Vec<T>, Failure>) -> Response<Body> {
    match found {
        Ok(found) => success(found, &[], &[]),
        Err(why) => failure(&why),
    }
}

pub(super) async fn metadata(api: Shared, RawQuery(query): RawQuery) -> Response<Body> {
    let arguments = Arguments::read(query.as_deref(), &[]);
    let found = api.ask(arguments, |engine, arguments, _| {
        let (wanted, limit) = (arguments.one("metric"), arguments.limit()?);
        let mut all = engine.metadata();
        all.retain(|name, _| wanted.is_empty() || name == wanted);
        if limit > 0
            && let Some(first) = all.keys().nth(limit).cloned()
        {
            all.split_off(&first);
        }
        Ok(all)
    });
    match found.await {
        Ok(found) => success(found, &[], &[]),
        Err(why) => failure(&why),
    }
}

/// There are none; Grafana asks all the same.
pub(super) async fn exemplars() -> Response<Body> {
    success(json!([]), &[], &[])
}

pub(super) async fn rules(api: Shared, RawQuery(query): RawQuery) -> Response<Body> {
    let arguments = Arguments::read(query.as_deref(), &[]);
    let groups = api.ask(arguments, |engine, arguments, _| {
        chosen(engine.groups(), arguments)
    });
    match groups.await {
        Ok(groups) => success(json!({ "groups": groups }), &[], &[]),
        Err(why) => failure(&why),
    }
}

fn chosen(mut groups: Vec<Group>, arguments: &Arguments) -> Result<Vec<Group>, Failure> {
    let wants_alerts = match arguments.one("type") {
        "" => None,
        "alert" => Some(true),
        "record" => Some(false),
        other => {
            let why = format!("not supported value {other:?}");
            return Err(Failure::parameter("type", why));
        }
    };
    let without_alerts = match arguments.one("exclude_alerts") {
        "" | "false" => false,
        "true" => true,
        other => {
            let why = format!("{other:?} is not a boolean");
            return Err(Failure::parameter("exclude_alerts", why));
        }
    };
    let [names, files, rules] =
        ["rule_group[]", "file[]", "rule_name[]"].map(|key| arguments.all(key));
    let is_wanted = |wanted: &[String], name: &String| wanted.is_empty() || wanted.contains(name);
    groups.retain(|group| is_wanted(&names, &group.name) && is_wanted(&files, &group.file));
    for group in &mut groups {
        group.rules.retain(|rule| {
            let is_alerting = matches!(rule.kind, RuleKind::Alerting { .. });
            is_wanted(&rules, &rule.name) && wants_alerts.is_none_or(|wanted| wanted == is_alerting)
        });
        for rule in &mut group.rules {
            if let RuleKind::Alerting { alerts, .. } = &mut rule.kind
                && without_alerts
            {
                alerts.clear();
            }
        }
    }
    groups.retain(|group| !group.rules.is_empty());
    Ok(groups)
}

pub(super) async fn alerts(api: Shared) -> Response<Body> {
    let alerts = api.ask(Arguments::default(), |engine, _, _| {
        let groups = engine.groups();
        let rules = groups.iter().flat_map(|group| &group.rules);
        let alerts = rules.flat_map(|rule| rule.alerts().iter().cloned());
        Ok(alerts.collect::<Vec<ActiveAlert>>())
    });
    match alerts.await {
        Ok(alerts) => success(json!({ "alerts": alerts }), &[], &[]),
        Err(why) => failure(&why),
    }
}

pub(super) async fn build_info() -> Response<Body> {
    let info = json!({
        "version": PROMETHEUS,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "weir",
        "applicationVersion": env!("CARGO_PKG_VERSION"),
    });
    success(info, &[], &[])
}

impl Api {
    /// Lets the engine work on a thread of its own, within the bounds. A place is free again when
    /// the work has ended, however long ago its client was told that it takes too long.
    async fn ask<T: Send + 'static>(
        &self,
        arguments: Arguments,
        work: impl FnOnce(&dyn Engine, &Arguments, Instant) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            return Err(Failure {
                kind: Kind::Unavailable,
                message: "too many queries at once; see [alert] max_queries".to_owned(),
            });
        };
        let asked = arguments.one("timeout");
        let asked = match time::duration(asked) {
            Some(ms) if ms > 0 => std::time::Duration::from_millis(ms.unsigned_abs()),
            None if !asked.is_empty() => {
                let why = format!("cannot parse {asked:?} to a valid duration");
                return Err(Failure::parameter("timeout", why));
            }
            _ => self.timeout,
        };
        let limit = self.timeout.min(asked);
        let (engine, deadline) = (Arc::clone(&self.engine), Instant::now() + limit);
        let work = tokio::task::spawn_blocking(move || {
            let done = work(&*engine, &arguments, deadline);
            drop(permit);
            done
        });
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Failure {
                kind: Kind::Internal,
                message: "the query broke off; its cause is in the agent's log".to_owned(),
            }),
            Err(_) => Err(Failure {
                kind: Kind::Timeout,
                message: format!("query timed out after {limit:?}"),
            }),
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
