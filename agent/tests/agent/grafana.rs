//! The calls that Grafana's Prometheus data source makes, by curl: the agent answers them in the shape
//! in which a real Prometheus does that scrapes it and has the same rules.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;

use crate::running::{Agent, PATIENCE};
use crate::server::{PROGRAM, Prometheus};

/// `Silent` is why the agent keeps a past of what is recorded.
const RULES: &str = r#"
groups:
- name: walk
  interval: 1s
  rules:
  - {record: "walk:weir_services", expr: weir_services, labels: {from: rule}}
  - alert: Walked
    expr: weir_build_info == 1
    labels: {severity: warning}
    annotations: {summary: "it is {{ $value }}"}
  - {alert: Silent, expr: "count_over_time(walk:weir_services[1m]) > 1000", for: 5m}
"#;

/// What is asked: method, path, form.
type Call<'a> = (&'a str, &'a str, Vec<(&'a str, String)>);

/// Status and body.
fn curl(server: SocketAddr, (method, path, form): &Call<'_>) -> (String, Json) {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--write-out",
        "\n%{http_code} %{content_type}",
    ]);
    if *method == "GET" {
        curl.arg("--get");
    }
    for (name, value) in form {
        curl.arg("--data-urlencode").arg(format!("{name}={value}"));
    }
    let output = curl
        .arg(format!("http://{server}/api/v1/{path}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{path}: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|why| panic!("{path}: {why}: {body}"));
    (status.replace("; charset=utf-8", ""), body)
}

fn calls(now: u64) -> Vec<Call<'static>> {
    let query = |text: &str| ("query", text.to_owned());
    let matching = |text: &str| ("match[]", text.to_owned());
    let span = || {
        [
            ("start", (now - 60).to_string()),
            ("end", (now + 60).to_string()),
        ]
    };
    let step = ("step", "15".to_owned());
    let with = |more: &[(&'static str, String)]| [&span()[..], more].concat();
    vec![
        ("POST", "query", vec![query("1+1")]),
        ("GET", "query", vec![query("weir_build_info")]),
        (
            "POST",
            "query",
            // Of series that no rule looks back at, the last value is known and none before.
            vec![query("ALERTS"), ("time", (now + 1).to_string())],
        ),
        ("GET", "query", vec![query("\"text\"")]),
        ("GET", "query", vec![query("weir_services[1m]")]),
        ("GET", "query", vec![query("none_of_these")]),
        (
            "POST",
            "query_range",
            with(&[query("weir_services"), step.clone()]),
        ),
        (
            "GET",
            "query_range",
            with(&[query("sum(rate(weir_scrapes_total[1m]))"), step.clone()]),
        ),
        ("POST", "labels", span().to_vec()),
        ("GET", "labels", with(&[matching("weir_build_info")])),
        ("GET", "label/__name__/values", span().to_vec()),
        (
            "GET",
            "label/probe/values",
            with(&[matching("weir_probe_attached")]),
        ),
        ("GET", "label/none/values", span().to_vec()),
        ("POST", "series", with(&[matching("weir_probe_attached")])),
        ("GET", "series", with(&[matching("{from=\"rule\"}")])),
        (
            "GET",
            "metadata",
            vec![("metric", "weir_build_info".to_owned())],
        ),
        ("GET", "metadata", vec![("metric", "none".to_owned())]),
        ("GET", "rules", vec![]),
        ("GET", "rules", vec![("type", "alert".to_owned())]),
        ("GET", "alerts", vec![]),
        ("GET", "status/buildinfo", vec![]),
        ("GET", "query_exemplars", with(&[query("weir_build_info")])),
        ("POST", "query", vec![query("sum(")]),
        (
            "POST",
            "query",
            vec![query("up"), ("time", "soon".to_owned())],
        ),
        ("GET", "query_range", with(&[query("up")])),
        (
            "GET",
            "query_range",
            with(&[query("up"), ("step", "0".to_owned())]),
        ),
        ("GET", "series", vec![]),
        ("GET", "series", vec![matching("{")]),
        ("GET", "labels", vec![matching("{}")]),
    ]
}

/// What promtool is asked for: words before the server's address, and after it.
fn questions(now: u64) -> Vec<(Vec<String>, Vec<&'static str>)> {
    let own =
        |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
    let (start, end) = (format!("--start={}", now - 60), format!("--end={now}"));
    let probes = "--match=weir_probe_attached";
    vec![
        (own(&["instant"]), vec!["1 + 1"]),
        (own(&["instant"]), vec!["sum(weir_build_info)"]),
        (own(&["instant"]), vec!["none_of_these"]),
        (own(&["instant"]), vec!["sum("]),
        (
            own(&["range", &start, &end, "--step=15s"]),
            vec!["count(weir_build_info)"],
        ),
        (own(&["series", &start, &end, probes]), vec![]),
        (own(&["labels", &start, &end]), vec!["probe"]),
        (own(&["labels"]), vec!["none"]),
    ]
}

/// Whether promtool was content, and what it printed, without times.
fn promtool(server: SocketAddr, (before, after): &(Vec<String>, Vec<&str>)) -> (bool, String) {
    let mut promtool = Command::new("promtool");
    promtool.arg("query").args(before);
    promtool.arg(format!("http://{server}")).args(after);
    let output = promtool.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines();
    let lines = lines.map(|line| line.split_once(" @[").map_or(line, |(what, _)| what));
    (
        output.status.success(),
        lines.collect::<Vec<_>>().join("\n"),
    )
}

/// promtool speaks the same API, through the client of other Go programs.
fn ask_by_promtool(servers: [SocketAddr; 2], now: u64) {
    for question in questions(now) {
        let [ours, theirs] = servers.map(|server| promtool(server, &question));
        assert_eq!(ours.0, theirs.0, "{question:?}: {ours:?} {theirs:?}");
        match question.0[0].as_str() {
            "instant" | "labels" => assert_eq!(ours.1, theirs.1, "{question:?}"),
            _ => assert_eq!(ours.1.is_empty(), theirs.1.is_empty(), "{question:?}"),
        }
    }
}

/// Maps from what users or metrics are called to text.
const NAMED: [&str; 3] = ["metric", "labels", "annotations"];

/// Every key that theirs has is in ours, with a value of the same kind.
fn fits(theirs: &Json, ours: &Json, place: &str) {
    match (theirs, ours) {
        (Json::Object(theirs), Json::Object(ours)) => {
            let last = place.rsplit('.').next().unwrap();
            if NAMED.contains(&last) {
                assert!(ours.values().all(Json::is_string), "{place}: {ours:?}");
                return;
            }
            for (key, value) in theirs {
                let place = format!("{place}.{key}");
                fits(
                    value,
                    ours.get(key).unwrap_or_else(|| panic!("no {place}")),
                    &place,
                );
            }
        }
        (Json::Array(theirs), Json::Array(ours)) => {
            assert_eq!(
                theirs.is_empty(),
                ours.is_empty(),
                "{place}: {theirs:?} {ours:?}"
            );
            // The same things, or some of one kind.
            let are_same = theirs.len() == ours.len();
            for (number, one) in ours.iter().enumerate() {
                let other = if are_same { number } else { 0 };
                fits(&theirs[other], one, &format!("{place}[{number}]"));
            }
        }
        _ => {
            let same = std::mem::discriminant(theirs) == std::mem::discriminant(ours);
            assert!(same, "{place}: {theirs} and {ours}");
        }
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn grafana_finds_in_the_agent_what_it_finds_in_prometheus() {
    if !Path::new(PROGRAM).exists() || Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIP curl or {PROGRAM} is missing (Debian: curl, prometheus)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("walk.yaml");
    std::fs::write(&file, RULES).unwrap();
    let agent = Agent::start(&format!(
        "[alert]\nrule_files = ['{}']\nstate_dir = ''\nevaluation_seconds = 1.0\n\
         external_labels = {{ job = 'beside', instance = 'here' }}\n",
        file.display()
    ));
    let prometheus = Prometheus::start(agent.address, RULES);
    let servers = [agent.address, prometheus.address];
    for server in servers {
        until("it listens", || {
            std::net::TcpStream::connect(server).is_ok()
        });
        // Both a rule's series with two samples and an alert.
        let query =
            "count_over_time(walk:weir_services[1m]) > 1 and on () ALERTS{alertstate=\"firing\"}";
        let call = ("GET", "query", vec![("query", query.to_owned())]);
        until("it has evaluated", || {
            let (_, json) = curl(server, &call);
            json["data"]["result"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
        });
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    ask_by_promtool(servers, now);
    for call in calls(now) {
        let [ours, theirs] = servers.map(|server| curl(server, &call));
        let place = format!("{} {} {:?}", call.0, call.1, call.2);
        assert_eq!(ours.0, theirs.0, "{place}: {} {}", ours.1, theirs.1);
        fits(&theirs.1, &ours.1, &place);
        for key in ["status", "errorType"] {
            assert_eq!(
                ours.1[key], theirs.1[key],
                "{place}: {} {}",
                ours.1, theirs.1
            );
        }
        assert_eq!(
            ours.1["data"]["resultType"], theirs.1["data"]["resultType"],
            "{place}"
        );
    }
}
